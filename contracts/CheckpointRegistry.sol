// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ICheckpointRegistry} from "./interfaces/ICheckpointRegistry.sol";
import {Checkpoint} from "./interfaces/Types.sol";
import {RunConstants} from "./libraries/RunConstants.sol";

/// @title CheckpointRegistry
/// @notice The append-only chain of attested checkpoints.
contract CheckpointRegistry is ICheckpointRegistry {
    struct Entry {
        bytes32 manifestSha256;
        uint64 epoch;
        uint64 round;
        uint64 lossMicro;
    }

    Entry[] internal _entries;
    mapping(bytes32 => bool) public isAttested;

    function append(uint64 epoch, uint64 round, bytes32 manifestSha256, uint64 lossMicro) external {
        if (msg.sender != RunConstants.oracle()) revert NotOracle();
        uint256 position = _entries.length;
        bytes32 parent = position == 0 ? bytes32(0) : _entries[position - 1].manifestSha256;
        if (manifestSha256 == bytes32(0) || manifestSha256 == parent) return;
        _entries.push(Entry(manifestSha256, epoch, round, lossMicro));
        isAttested[manifestSha256] = true;
        emit CheckpointAttested(position, epoch, round, manifestSha256, parent, lossMicro);
    }

    function count() external view returns (uint256) {
        return _entries.length;
    }

    function checkpointAt(uint256 position) external view returns (Checkpoint memory) {
        if (position >= _entries.length) revert UnknownCheckpoint(position);
        Entry memory entry = _entries[position];
        return Checkpoint({
            epoch: entry.epoch,
            round: entry.round,
            lossMicro: entry.lossMicro,
            manifestSha256: entry.manifestSha256,
            parent: position == 0 ? bytes32(0) : _entries[position - 1].manifestSha256
        });
    }
}
