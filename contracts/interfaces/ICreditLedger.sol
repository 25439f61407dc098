// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {FinalEpoch, Leaf, Revocation, Sibling} from "./Types.sol";

/// @title ICreditLedger
/// @notice The final epochs of a run and what was revoked from them. Nothing in it can be rewritten.
interface ICreditLedger {
    error NotOracle();
    error NotDisputes();
    error NotFinal(uint64 epoch);

    event EpochRecorded(uint64 indexed epoch, bytes32 root, uint256 sum, uint8 depth);
    event CreditsRevoked(uint32 indexed index, uint64 indexed epoch, uint64 credits, uint256 acc);

    /// @notice Records a final epoch. Only the oracle.
    function record(uint64 epoch, FinalEpoch calldata entry) external;
    /// @notice Takes `credits` of `index`, earned in the final `epoch`, out of the denominator at accumulator `acc`. Only the disputes contract.
    function revoke(uint32 index, uint64 epoch, uint64 credits, uint256 acc) external;

    function latest() external view returns (uint64 epoch, bool any, bytes32 root, uint256 sum, uint8 depth);
    function finalEpoch(uint64 epoch) external view returns (FinalEpoch memory);
    function rootOf(uint64 epoch) external view returns (bytes32);
    /// @notice When the epoch became final, 0 if it is not.
    function finalAt(uint64 epoch) external view returns (uint64);
    /// @notice Whether `leaf` is in the final tree of `epoch`. An index at or beyond 2^depth is empty and needs no proof.
    function verifyLeaf(uint64 epoch, Leaf calldata leaf, Sibling[] calldata proof) external view returns (bool);
    /// @notice Final credits less revoked ones: the denominator of the compute pool.
    function liveCredits() external view returns (uint256);
    function revoked(uint32 index) external view returns (Revocation memory);
    /// @notice What a claim by `index` on `epoch` is checked against, in one call. Reverts `NotFinal`.
    function claimBasis(uint64 epoch, uint32 index)
        external
        view
        returns (bytes32 root, uint256 sum, uint8 depth, Revocation memory revocation);
}
