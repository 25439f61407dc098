// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {ICheckpointRegistry} from "../../../contracts/interfaces/ICheckpointRegistry.sol";
import {Checkpoint, Report} from "../../../contracts/interfaces/Types.sol";

/// @notice CheckpointRegistry.append: one checkpoint for each final report that brings a new one.
contract CheckpointAppendTest is Base {
    function test_onlyOracle() public {
        vm.expectRevert(ICheckpointRegistry.NotOracle.selector);
        checkpoints.append(0, 0, bytes32(uint256(1)), 0);
    }

    function test_finalReportsAppend() public {
        launch(1);
        runEpoch(0);
        eq(checkpoints.count(), 1, "one");
        close(1);
        Report memory r = honestReport(1);
        r.checkpoint = keccak256(abi.encode("checkpoint", uint64(0)));
        submit(r);
        finalizeNow(1);
        eq(checkpoints.count(), 1, "an equal one appends nothing");
        lapseEpoch(2);
        eq(checkpoints.count(), 1, "a void epoch appends nothing");
        runEpoch(3);
        eq(checkpoints.count(), 2, "two");
        Checkpoint memory c = checkpoints.checkpointAt(1);
        eq(c.epoch, 3, "epoch");
        eq(c.round, 9, "round");
        eq(c.lossMicro, 3_000_000, "loss");
        eq(c.parent, checkpoints.checkpointAt(0).manifestSha256, "parent");
        eq(checkpoints.checkpointAt(0).parent, bytes32(0), "the first has none");
        ok(checkpoints.isAttested(c.manifestSha256), "attested");
        ok(!checkpoints.isAttested(keccak256("other")), "others are not");
        vm.expectRevert(abi.encodeWithSelector(ICheckpointRegistry.UnknownCheckpoint.selector, 2));
        checkpoints.checkpointAt(2);
    }

    function test_zeroAppendsNothing() public {
        launch(1);
        close(0);
        Report memory r = honestReport(0);
        r.checkpoint = 0;
        submit(r);
        finalizeNow(0);
        eq(checkpoints.count(), 0, "none");
        ok(!checkpoints.isAttested(0), "zero is not attested");
    }

    function test_pendingIsNotAttested() public {
        launch(1);
        close(0);
        Report memory r = honestReport(0);
        submit(r);
        ok(!checkpoints.isAttested(r.checkpoint), "not before it is final");
    }
}
