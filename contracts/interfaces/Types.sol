// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @notice The value types that the contracts of one run share. All amounts are in the smallest unit of the run's asset
/// (wei when the asset is native ETH), all times in Unix seconds, all rates in basis points, all scaled values times 2^64.

/// @notice A step of the campaign that unlocks part of the escrow. Met when, at the final report of an epoch not later than
/// `deadlineEpoch`, the ledger's sum is at least `minCredits` and the evaluation loss at most `maxLossMicro`. One with
/// `minCredits` 0 and `maxLossMicro` at its maximum is met from the start.
struct Milestone {
    uint64 deadlineEpoch;
    uint64 minCredits;
    uint64 maxLossMicro;
    uint16 trancheBps;
}

/// @notice Everything that is fixed when a run is created.
struct RunParams {
    address asset;
    uint256 goal;
    uint256 cap;
    uint64 depositDeadline;
    uint16 capitalBps;
    uint256 wagePerCredit;
    uint16 oracleBps;
    uint16 serverBps;
    uint64 epochStart;
    uint64 epochLength;
    uint64 lastEpoch;
    uint64 tailEpochs;
    uint64 reportSpan;
    uint64 attemptLength;
    uint64 challengeWindow;
    uint64 answerTime;
    uint64 disputePeriod;
    uint64 anchorWindow;
    uint64 rotationDelay;
    uint64 withdrawalDelay;
    uint64 maxCreditsPerEpoch;
    uint64 anchorEvery;
    uint64 evidenceRetention;
    uint256 providerStake;
    uint256 signerBond;
    uint256 challengeBond;
    uint256 disputeBond;
    uint16 quorum;
    address[] signers;
    address[] transmitters;
    bytes32 configSha256;
    string configCid;
    string name;
    string dataLicence;
    string weightsLicence;
    Milestone[] milestones;
}

/// @notice The contracts of one run. The campaign's address names the run.
struct RunAddresses {
    address campaign;
    address registry;
    address oracle;
    address ledger;
    address checkpoints;
    address distributor;
    address payments;
    address disputes;
}

/// @notice What a quorum of signers signs for an epoch.
struct Report {
    bytes32 configDigest;
    uint64 epoch;
    uint32 attempt;
    bytes32 prevRoot;
    bytes32 root;
    uint256 sum;
    uint8 depth;
    uint64 epochCredits;
    bytes32 creditsHash;
    string evidenceCid;
    bytes32 evidenceSha256;
    bytes32 checkpoint;
    string checkpointCid;
    uint64 round;
    uint64 lossMicro;
    uint64 blockNumber;
    bytes32 blockHash;
}

/// @notice What a quorum of signers signs to ban a provider until a time.
struct Ban {
    uint32 index;
    bytes32 evidenceSha256;
    uint64 until;
}

/// @notice What a quorum of signers signs to replace the signer set. Arrays are parallel, signers strictly ascending.
struct Rotation {
    uint16 quorum;
    address[] signers;
    address[] transmitters;
}

/// @notice What a quorum of signers signs to judge the credits of a provider in an epoch.
struct Verdict {
    uint64 epoch;
    uint32 index;
    bool convicted;
    bytes32 evidenceSha256;
}

/// @notice A node of a Merkle-sum tree next to a path.
struct Sibling {
    bytes32 hash;
    uint256 sum;
}

/// @notice A provider's cumulative credits C, scaled reward debt D and scaled wages W.
struct Leaf {
    uint32 index;
    address provider;
    uint256 C;
    uint256 D;
    uint256 W;
}

enum EpochState {
    None,
    Closed,
    Reported,
    Final,
    Void
}

/// @notice Where an epoch stands. `epochCredits`, `acc`, `wage`, `unlockedEscrow` and `reportDigest` are those of the open
/// epoch or of a final one; a void epoch keeps none of them.
struct EpochInfo {
    EpochState state;
    uint64 closedAt;
    uint64 openUntil;
    uint64 settledAt;
    uint32 providerCount;
    uint32 attempt;
    uint32 rotation;
    uint32 signerMask;
    uint64 epochCredits;
    uint256 acc;
    uint256 wage;
    uint256 unlockedEscrow;
    bytes32 reportDigest;
}

/// @notice A final epoch in the ledger: the tree, and the snapshots that credits of this epoch entered at.
struct FinalEpoch {
    bytes32 root;
    uint256 sum;
    uint8 depth;
    uint64 epochCredits;
    uint64 finalAt;
    uint256 acc;
    uint256 wage;
    bytes32 reportDigest;
}

/// @notice What was revoked from an index: `credits` is rC, `accWeighted` is rA, `lastEpoch` the last revoked epoch.
struct Revocation {
    uint64 credits;
    uint64 lastEpoch;
    bool any;
    uint256 accWeighted;
}

struct Checkpoint {
    uint64 epoch;
    uint64 round;
    uint64 lossMicro;
    bytes32 manifestSha256;
    bytes32 parent;
}

struct Provider {
    address account;
    address signingKey;
    address payout;
    uint64 registeredAt;
    uint64 exitAt;
    uint64 bannedUntil;
    uint256 stake;
    string peer;
}

struct Channel {
    address payer;
    address server;
    uint64 delay;
    uint64 withdrawalAt;
    uint256 deposited;
    uint256 settled;
    uint256 withdrawalAmount;
}

/// @notice What a server settles on a channel: the payer signed the ceiling `cumulative`, `amount` is the channel's new total.
struct VoucherClaim {
    bytes32 channelId;
    uint256 cumulative;
    uint256 amount;
    bytes signature;
}
