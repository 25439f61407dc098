// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Ban, EpochInfo, Report, Rotation} from "./Types.sol";

/// @title ICreditOracle
/// @notice Signers, round anchors and the epoch machine: close, report, settle. A quorum of signers lists credits up to a cap an
/// epoch and can neither rewrite the ledger nor touch the funders' revenue.
/// Assumptions: the block's time is honest within the run's windows; a report's block is at most 256 blocks old.
interface ICreditOracle {
    error NotDisputes();
    error NotAnchorer();
    error NothingToAnchor();
    error OutsideAnchorWindow();
    error OutsideTraining();
    error CampaignNotSucceeded();
    error WrongEpoch(uint64 expected);
    error EpochNotOver(uint64 until);
    error NotClosed();
    error NotReported();
    error NotSettled(uint64 epoch);
    error WrongReport();
    error ReportSpanOver();
    error ReportSpanOpen(uint64 until);
    error StillOpen(uint64 until);
    error WrongConfig(bytes32 expected);
    error WrongAttempt(uint32 expected);
    error WrongPrevRoot(bytes32 expected);
    error WrongSum(uint256 expected);
    error WrongDepth(uint8 expected);
    error TooManyCredits(uint256 limit);
    error ListTooLong();
    error CidTooLong();
    error WrongListHash();
    error WrongBlock();
    error WrongSignatureOrder(uint256 position);
    error NotSigner(address recovered);
    error BondNotFull(address signer);
    error TooFewSignatures(uint256 quorum);
    error BadSignerSet();
    error RotationPending();
    error NotProposed();
    error RotationNotDue(uint64 at);
    error NotEquivocation();
    error AlreadyProved();
    error ZeroAmount();
    error BondLocked();
    error NothingDue();

    event RoundAnchored(
        uint64 indexed round,
        uint64 indexed epoch,
        uint64 deadline,
        bytes32 commitmentsRoot,
        uint64 recordRound,
        bytes32 recordHash,
        address anchorer
    );
    event EpochClosed(uint64 indexed epoch, uint256 acc, uint256 unlockedEscrow, uint32 providerCount, uint64 closedAt);
    event ReportSubmitted(
        uint64 indexed epoch,
        uint32 attempt,
        bytes32 digest,
        Report report,
        bytes credits,
        address[] signers,
        bytes[] signatures,
        uint256 wage
    );
    event EpochFinal(uint64 indexed epoch, bytes32 root, uint256 sum, uint64 epochCredits, uint256 acc, uint256 wage);
    event EpochVoided(uint64 indexed epoch, bool fraud);
    event BondPosted(address indexed signer, uint256 amount, uint256 bond);
    event BondSlashed(address indexed signer, address indexed prover, uint256 amount);
    event BondWithdrawn(address indexed signer, uint256 amount);
    event RotationProposed(uint32 indexed rotation, uint16 quorum, address[] signers, address[] transmitters, uint64 at);
    event SignerSetChanged(uint32 indexed rotation, bytes32 configDigest, uint16 quorum, address[] signers, address[] transmitters);

    /*//////////////////////////////////////////////////////////////
                                ANCHORS
    //////////////////////////////////////////////////////////////*/

    /// @notice Anchors the receipted commitments of a round, the record of an earlier one, or both, within the window after
    /// `deadline`. By a signer or transmitter of the current set. Several may be anchored for a round, and none takes another's place:
    /// its record is that of the coordinator who planned it, whoever anchors it (docs/protocol.md, section 12).
    /// @param commitmentsRoot zero: only a record is anchored, which may happen after the last epoch too
    /// @param recordHash zero: no record
    function anchorRound(uint64 round, uint64 deadline, bytes32 commitmentsRoot, uint64 recordRound, bytes32 recordHash) external;

    /*//////////////////////////////////////////////////////////////
                                 EPOCHS
    //////////////////////////////////////////////////////////////*/

    /// @notice Closes the next epoch after its end, once the one before it is settled; voids that one if it lapsed. Anyone.
    function closeEpoch(uint64 epoch) external;

    /// @notice Submits the report on the closed epoch. Anyone; signatures ascend by signer and reach the quorum.
    /// @param report its CIDs of at most 128 bytes each, so that a transaction has room for any proof against it
    /// @param credits packed list of uint32 index and uint64 credits, big-endian; a malformed list is fraud, not a revert
    function submitReport(Report calldata report, bytes calldata credits, bytes[] calldata signatures) external;

    /// @notice Makes a reported epoch final once its window is over and no game holds it open. Anyone.
    /// @param report the pending report as `ReportSubmitted` emitted it: of reports storage keeps only the digest
    function finalizeEpoch(Report calldata report) external;

    /// @notice Voids a closed epoch that got no report within the span. Anyone.
    function voidEpoch(uint64 epoch) external;

    /*//////////////////////////////////////////////////////////////
                             BONDS AND BANS
    //////////////////////////////////////////////////////////////*/

    /// @notice Adds to the bond of `signer`. Anyone.
    function postBond(address signer, uint256 amount) external payable;

    /// @notice Pays the bond of a signer that has left the set back to it, once every report that it can have signed has been
    /// settled for a dispute period; or a dispute period after the run's last settlement; or at once if the campaign failed. Not
    /// while a root game is open. Only the signer or its transmitter.
    function withdrawBond(address signer) external;

    /// @notice Records a quorum's ban of a provider; it must end later than any ban before it.
    function banProvider(Ban calldata b, bytes[] calldata signatures) external;

    /*//////////////////////////////////////////////////////////////
                         ROTATION, EQUIVOCATION
    //////////////////////////////////////////////////////////////*/

    /// @notice Announces a new signer set, signed by a quorum of the current one, which takes over after the run's delay.
    function proposeRotation(Rotation calldata r, bytes[] calldata signatures) external;

    /// @notice Puts the announced set in office once the delay is over. Anyone.
    function applyRotation(Rotation calldata r) external;

    /// @notice Takes the bond of a signer of two different reports for one epoch and attempt: a tenth to the caller, the rest to
    /// the capital pool. Voids nothing. Anyone, at any time, until a full bond has been taken for that signer, epoch and attempt.
    function proveEquivocation(Report calldata a, bytes calldata signatureA, Report calldata b, bytes calldata signatureB) external;

    /*//////////////////////////////////////////////////////////////
                                DISPUTES
    //////////////////////////////////////////////////////////////*/

    /// @notice Voids the pending report by fraud: every signer of it loses its bond, a tenth to `prover`, the rest to the capital
    /// pool. Only the disputes contract.
    function voidByFraud(address prover) external;

    /// @notice Voids the pending report because a node of its tree was not answered in time; whether that was fraud is decided later.
    /// Only the disputes contract.
    function voidUnanswered() external;

    /// @notice Keeps the pending report open at least until `until`. Only the disputes contract.
    function holdReport(uint64 until) external;

    /// @notice Slashes the signers of `mask` in the set of `rotation`, as fraud does. Only the disputes contract.
    function slashSigners(uint32 rotation, uint32 mask, address prover) external;

    /*//////////////////////////////////////////////////////////////
                                 VIEWS
    //////////////////////////////////////////////////////////////*/

    /// @notice Reverts unless `signatures` over the struct hash are a quorum of fully bonded signers of the current set.
    function requireQuorum(bytes32 structHash, bytes[] calldata signatures) external view;
    function epochInfo(uint64 epoch) external view returns (EpochInfo memory);
    /// @notice The lowest epoch that has not been closed.
    function nextEpoch() external view returns (uint64);
    function currentAttempt(uint64 epoch) external view returns (uint32);
    /// @notice What of the escrow the open epoch holds: all that was unlocked at its close, or wages and fee of its accepted report.
    function reservedEscrow() external view returns (uint256);
    /// @notice What the open epoch's credits may sum to: the cap, added up over void epochs in a row.
    function creditsLimit() external view returns (uint256);
    /// @notice Whether the run's last epoch has been settled, and when.
    function finishedAt() external view returns (uint64);
    function isAnchored(uint64 round, uint64 deadline, bytes32 commitmentsRoot) external view returns (bool);
    /// @notice When a root was anchored and in which block, zeros if it was not.
    function anchorOf(uint64 round, uint64 deadline, bytes32 commitmentsRoot) external view returns (uint64 time, uint64 blockNumber);
    /// @notice The first hash that was anchored as the record of a round; the events have all of them.
    function recordOf(uint64 round) external view returns (bytes32);
    function rotation() external view returns (uint32);
    function configDigest() external view returns (bytes32);
    function signers() external view returns (address[] memory);
    function signersAt(uint32 rotation) external view returns (address[] memory);
    function quorum() external view returns (uint16);
    function transmitterOf(address signer) external view returns (address);
    function bondOf(address signer) external view returns (uint256);
    /// @notice The EIP-712 digest of a report.
    function reportHash(Report calldata report) external view returns (bytes32);
    function domainSeparator() external view returns (bytes32);
}
