// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Checkpoint} from "./Types.sol";

/// @title ICheckpointRegistry
/// @notice The append-only chain of attested checkpoints. Storage holds digests; the CID of a checkpoint stands in the
/// `ReportSubmitted` event of its epoch.
interface ICheckpointRegistry {
    error NotOracle();
    error UnknownCheckpoint(uint256 position);

    event CheckpointAttested(
        uint256 indexed position,
        uint64 indexed epoch,
        uint64 round,
        bytes32 indexed manifestSha256,
        bytes32 parent,
        uint64 lossMicro
    );

    /// @notice Appends a checkpoint; one equal to the last, or zero, appends nothing. Only the oracle.
    function append(uint64 epoch, uint64 round, bytes32 manifestSha256, uint64 lossMicro) external;

    function count() external view returns (uint256);
    function checkpointAt(uint256 position) external view returns (Checkpoint memory);
    function isAttested(bytes32 manifestSha256) external view returns (bool);
}
