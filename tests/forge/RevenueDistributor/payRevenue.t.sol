// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {ICampaign} from "../../../contracts/interfaces/ICampaign.sol";
import {IRevenueDistributor} from "../../../contracts/interfaces/IRevenueDistributor.sol";

/// @notice RevenueDistributor.payRevenue: split by the run, the remainder of the division to compute.
contract DistributorPayRevenueTest is Base {
    function test_revenueIsRefusedBeforeDepositsClose() public eachAsset {
        fund(alice, GOAL);
        uint256 value = ready(bob, address(distributor), 10);
        vm.prank(bob);
        vm.expectRevert(ICampaign.DepositsOpen.selector);
        distributor.payRevenue{value: value}(10);
        vm.prank(bob);
        vm.expectRevert(ICampaign.DepositsOpen.selector);
        distributor.payCapital{value: value}(10);
        vm.warp(T0 + 100);
        vm.prank(bob);
        distributor.payRevenue{value: value}(10);
    }

    function test_revenueSplitsAndTheRemainderGoesToCompute() public eachAsset {
        eq(distributor.accCapital() + distributor.claimableCapital(alice), 0, "nothing before the first payment");
        launch(1);
        pay(9_999);
        eq(distributor.capitalReceived(), 3_999, "40 % rounded down");
        eq(distributor.computeReceived(), 6_000, "the rest");
        eq(distributor.pendingCompute(), 6_000, "waits");
        vm.expectRevert(IRevenueDistributor.ZeroAmount.selector);
        distributor.payRevenue(0);
        vm.expectRevert(IRevenueDistributor.ZeroAmount.selector);
        distributor.payCapital(0);
    }

    function test_pendingWaitsForLiveCredits() public eachAsset {
        launch(1);
        pay(10_000);
        close(0);
        eq(distributor.pendingCompute(), 6_000, "no live credits yet");
        list(0, 100);
        submit(honestReport(0));
        finalizeNow(0);
        close(1);
        eq(distributor.pendingCompute(), 0, "given to the first ones");
        claimCompute(0);
        eq(balance(payoutAddress(0)), 7_000, "wages and revenue");
    }

    function test_receiptsStayInRange() public eachAsset {
        launch(1);
        uint256 huge = (1 << 127) - 1;
        pay(huge);
        uint256 value = ready(bob, address(distributor), 1 << 127);
        vm.prank(bob);
        vm.expectRevert(IRevenueDistributor.PoolFull.selector);
        distributor.payRevenue{value: value}(1 << 127);
        list(0, 1);
        runEpoch(0);
        close(1);
        claimCompute(0);
        distributor.claimCapital(alice);
        eq(balance(payoutAddress(0)), huge - huge * 4 / 10 + 10, "the ends of the ranges work");
    }

    /// The split is whole and rounds down for capital, whatever the amount.
    function test_splitIsWhole(uint96 amount) public eachAsset {
        launch(1);
        pay(uint256(amount) + 1);
        eq(distributor.capitalReceived(), (uint256(amount) + 1) * 4_000 / 10_000, "capital");
        eq(distributor.capitalReceived() + distributor.computeReceived(), uint256(amount) + 1, "whole");
    }

    /// The compute pool is full to the unit.
    function test_fullestComputePool() public eachAsset {
        launch(1);
        uint256 amount = (uint256(1) << 127) * 10 / 6;
        while (amount - amount * 4_000 / 10_000 < 1 << 127) ++amount;
        eq(amount - amount * 4_000 / 10_000, 1 << 127, "one unit too many");
        uint256 value = ready(bob, address(distributor), amount);
        vm.prank(bob);
        vm.expectRevert(IRevenueDistributor.PoolFull.selector);
        distributor.payRevenue{value: value}(amount);
        pay(amount - 2);
        eq(distributor.computeReceived(), (1 << 127) - 1, "fits");
    }
}
