// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {IRevenueDistributor} from "../../../contracts/interfaces/IRevenueDistributor.sol";

/// @notice RevenueDistributor.finish: after the last settlement revenue is shared on arrival.
contract DistributorFinishTest is Base {
    function test_afterTheRunRevenueIsSharedOnArrival() public eachAsset {
        launch(2);
        ok(!distributor.finished(), "not yet");
        list(0, 100);
        list(1, 300);
        runEpoch(0);
        for (uint64 e = 1; e < 7; ++e) {
            lapseEpoch(e);
        }
        close(7);
        pay(10_000);
        eq(distributor.pendingCompute(), 6_000, "came after the last close");
        vm.warp(block.timestamp + 300);
        oracle.voidEpoch(7);
        ok(distributor.finished(), "finished");
        eq(distributor.pendingCompute(), 0, "what was pending is given out");
        pay(10_000);
        eq(distributor.pendingCompute(), 0, "on arrival");
        claimCompute(0);
        claimCompute(1);
        eq(balance(payoutAddress(0)), 1_000 + 3_000, "a quarter");
        eq(balance(payoutAddress(1)), 3_000 + 9_000, "three quarters");
    }

    function test_afterARunWithoutCreditsAllGoesToCapital() public eachAsset {
        launch(1);
        for (uint64 e = 0; e < 7; ++e) {
            lapseEpoch(e);
        }
        pay(10_000);
        lapseEpoch(7);
        eq(distributor.capitalReceived(), 10_000, "what was pending too");
        eq(distributor.computePaid(), 6_000, "left the compute pool");
        pay(10_000);
        eq(distributor.capitalReceived(), 20_000, "all");
        eq(distributor.computeReceived(), 6_000, "no more to compute");
    }

    /// What would overfill the capital pool stays pending: nobody can stop the last settlement by paying too much.
    function test_attack_fullPoolAtTheLastSettlement() public eachAsset {
        launch(1);
        for (uint64 e = 0; e < 7; ++e) {
            lapseEpoch(e);
        }
        uint256 value = ready(carol, address(distributor), (1 << 127) - 500);
        vm.prank(carol);
        distributor.payCapital{value: value}((1 << 127) - 500);
        pay(100);
        pay(1_000);
        lapseEpoch(7);
        ok(campaign.ended(), "the run ends");
        eq(distributor.pendingCompute(), 660, "stays pending");
    }

    function test_onlyTheOracleFinishes() public {
        vm.expectRevert(IRevenueDistributor.NotOracle.selector);
        distributor.finish();
    }

    /// To the unit: a pool that would be full keeps what is pending out, one that has room for it takes it.
    function test_pendingMovesIfThePoolHasRoom() public {
        launch(1);
        pay(1_000);
        uint256 room = (1 << 127) - 1 - 400;
        uint256 value = ready(carol, address(distributor), room - 599);
        uint256 snapshot = vm.snapshotState();
        vm.prank(carol);
        distributor.payCapital{value: value}(room - 599);
        _finish();
        eq(distributor.pendingCompute(), 600, "one unit too many");
        eq(distributor.capitalReceived(), (1 << 127) - 600, "capital as before");
        vm.revertToState(snapshot);
        vm.prank(carol);
        distributor.payCapital{value: value - 1}(room - 600);
        _finish();
        eq(distributor.pendingCompute(), 0, "fits");
        eq(distributor.capitalReceived(), (1 << 127) - 1, "the fullest pool");
    }

    function _finish() internal {
        vm.prank(address(oracle));
        distributor.finish();
        ok(distributor.finished(), "finished");
    }

    /// What is left when all credits are revoked joins what was paid before.
    function test_pendingAfterARevocationOfAll() public eachAsset {
        launch(1);
        list(0, 10);
        runEpoch(0);
        claimCompute(0);
        eq(distributor.computePaid(), 100, "wages");
        vm.prank(address(disputes));
        ledger.revoke(0, 0, 10, 0);
        pay(1_000);
        for (uint64 e = 1; e < 8; ++e) {
            lapseEpoch(e);
        }
        eq(distributor.capitalReceived(), 1_000, "all to the funders");
        eq(distributor.computePaid(), 700, "out of the compute pool");
    }
}
