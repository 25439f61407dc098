// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {EventLog} from "../support/EventLog.sol";
import {ICheckpointRegistry} from "../../../contracts/interfaces/ICheckpointRegistry.sol";

/// @notice What the checkpoint registry logs.
contract CheckpointRegistryEventsTest is Base, EventLog {
    function test_append() public {
        _listen();
        vm.startPrank(address(oracle));
        checkpoints.append(3, 9, keccak256("first"), 27);
        checkpoints.append(4, 8, keccak256("second"), 26);
        // Neither the last one again nor none is a checkpoint.
        checkpoints.append(5, 7, keccak256("second"), 25);
        checkpoints.append(6, 5, 0, 24);
        vm.stopPrank();
        _logged();
        _by(address(checkpoints));
        emit ICheckpointRegistry.CheckpointAttested(0, 3, 9, keccak256("first"), 0, 27);
        _by(address(checkpoints));
        emit ICheckpointRegistry.CheckpointAttested(1, 4, 8, keccak256("second"), keccak256("first"), 26);
        _same();
    }
}
