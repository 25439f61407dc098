// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {IRevenueDistributor} from "../../../contracts/interfaces/IRevenueDistributor.sol";

/// @notice RevenueDistributor.receiveWages: wages are given out whole, their excess carried.
contract DistributorReceiveWagesTest is Base {
    function test_onlyTheCampaignPaysWages() public {
        vm.expectRevert(IRevenueDistributor.NotCampaign.selector);
        distributor.receiveWages(0, 0);
    }

    function test_excessOverTheScaledSumIsCarried() public eachAsset {
        uint256 value = ready(address(campaign), address(distributor), 10);
        vm.prank(address(campaign));
        distributor.receiveWages{value: value}(10, 7);
        eq(distributor.computeReceived(), 10, "received");
        eq(distributor.pendingCompute(), 0, "given out");
        eq(distributor.computeCarry(), 7, "carried");
    }

    /// Excess that adds up to whole units goes back to what is pending.
    function test_wholeUnitsOfExcessArePending() public eachAsset {
        for (uint256 i = 0; i < 3; ++i) {
            uint256 value = ready(address(campaign), address(distributor), 10);
            vm.prank(address(campaign));
            distributor.receiveWages{value: value}(10, 1 << 63);
        }
        eq(distributor.pendingCompute(), 1, "a unit and a half");
        eq(distributor.computeCarry(), 1 << 63, "the half");
    }
}
