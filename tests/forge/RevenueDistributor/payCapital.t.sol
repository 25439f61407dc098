// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {ICampaign} from "../../../contracts/interfaces/ICampaign.sol";
import {IRevenueDistributor} from "../../../contracts/interfaces/IRevenueDistributor.sol";

/// @notice RevenueDistributor.payCapital: all of it to the capital pool.
contract DistributorPayCapitalTest is Base {
    function _payCapital(uint256 amount) internal {
        uint256 value = ready(carol, address(distributor), amount);
        vm.prank(carol);
        distributor.payCapital{value: value}(amount);
    }

    function test_allGoesToCapital() public eachAsset {
        launch(1);
        _payCapital(1_000);
        eq(distributor.capitalReceived(), 1_000, "capital");
        eq(distributor.computeReceived(), 0, "compute");
        vm.expectRevert(IRevenueDistributor.ZeroAmount.selector);
        distributor.payCapital(0);
    }

    function test_capitalIsRefusedBeforeDepositsClose() public eachAsset {
        fund(alice, GOAL);
        uint256 value = ready(carol, address(distributor), 1);
        vm.prank(carol);
        vm.expectRevert(ICampaign.DepositsOpen.selector);
        distributor.payCapital{value: value}(1);
    }

    function test_capitalStaysInRange() public eachAsset {
        launch(1);
        _payCapital((1 << 127) - 1);
        uint256 value = ready(carol, address(distributor), 1);
        vm.prank(carol);
        vm.expectRevert(IRevenueDistributor.PoolFull.selector);
        distributor.payCapital{value: value}(1);
    }
}
