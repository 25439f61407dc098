// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";
import {EpochInfo, EpochState} from "../../../contracts/interfaces/Types.sol";

/// @notice CreditOracle.closeEpoch: in order, after the end, with the one before settled.
contract OracleCloseEpochTest is Base {
    function test_closeInOrderAfterTheEnd() public {
        launch(3);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.WrongEpoch.selector, 0));
        oracle.closeEpoch(1);
        vm.warp(epochEnd(0) - 1);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.EpochNotOver.selector, epochEnd(0)));
        oracle.closeEpoch(0);
        vm.warp(epochEnd(0));
        oracle.closeEpoch(0);
        EpochInfo memory info = oracle.epochInfo(0);
        eq(uint256(info.state), uint256(EpochState.Closed), "closed");
        eq(info.providerCount, 3, "providers");
        eq(info.unlockedEscrow, 1_500_001, "escrow");
        eq(oracle.nextEpoch(), 1, "next");
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.WrongEpoch.selector, 1));
        oracle.closeEpoch(0);
    }

    function test_closeNeedsASucceededCampaign() public {
        fund(alice, GOAL - 1);
        vm.warp(epochEnd(0));
        vm.expectRevert(ICreditOracle.CampaignNotSucceeded.selector);
        oracle.closeEpoch(0);
    }

    function test_closeVoidsALapsedEpochBefore() public {
        launch(1);
        list(0, 5);
        close(0);
        submit(honestReport(0));
        clearList();
        finalizeNow(0);
        close(1);
        close(2);
        eq(uint256(oracle.epochInfo(1).state), uint256(EpochState.Void), "void");
    }

    /// Even when nobody acted for long, the next close waits for the open epoch's own windows.
    function test_closeWaitsForAnOpenEpoch() public {
        launch(1);
        vm.warp(epochEnd(3));
        oracle.closeEpoch(0);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.ReportSpanOpen.selector, epochEnd(3) + 300));
        oracle.closeEpoch(1);
        vm.roll(block.number + 1);
        submit(honestReport(0));
        vm.warp(epochEnd(3) + 100);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.NotSettled.selector, 0));
        oracle.closeEpoch(1);
        oracle.finalizeEpoch(accepted);
        oracle.closeEpoch(1);
    }

    function test_noEpochAfterTheTail() public {
        launch(1);
        for (uint64 e = 0; e < 8; ++e) {
            lapseEpoch(e);
        }
        eq(oracle.finishedAt(), block.timestamp, "finished");
        vm.warp(epochEnd(8));
        vm.expectRevert(ICreditOracle.OutsideTraining.selector);
        oracle.closeEpoch(8);
    }
}
