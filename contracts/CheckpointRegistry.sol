// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {ICheckpointRegistry} from "./interfaces/ICheckpointRegistry.sol";
import {IRunPart} from "./interfaces/IRunPart.sol";
import {Checkpoint, RunAddresses, RunParams} from "./interfaces/Types.sol";

/// @title CheckpointRegistry
/// @notice The append-only chain of attested checkpoints.
contract CheckpointRegistry is ICheckpointRegistry, IRunPart, Initializable {
    struct Entry {
        bytes32 manifestSha256;
        uint64 epoch;
        uint64 round;
        uint64 lossMicro;
    }

    address internal _oracle;
    Entry[] internal _entries;
    mapping(bytes32 => bool) public isAttested;

    constructor() {
        _disableInitializers();
    }

    function initialize(RunParams calldata, RunAddresses calldata a) external initializer {
        _oracle = a.oracle;
    }

    function append(uint64 epoch, uint64 round, bytes32 manifestSha256, uint64 lossMicro) external {
        if (msg.sender != _oracle) revert NotOracle();
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
