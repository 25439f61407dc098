// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {ICampaign} from "../../../contracts/interfaces/ICampaign.sol";

/// @notice Campaign.refund: below the goal everyone takes back exactly what they put in.
contract CampaignRefundTest is Base {
    function test_refundOnlyBelowGoalAfterDeadline() public eachAsset {
        fund(alice, GOAL - 1);
        vm.prank(alice);
        vm.expectRevert(ICampaign.NotFailed.selector);
        campaign.refund();
        vm.warp(T0 + 100);
        vm.prank(alice);
        campaign.refund();
        eq(balance(alice), GOAL - 1, "whole contribution");
        eq(balance(address(campaign)), 0, "nothing left");
        vm.prank(alice);
        vm.expectRevert(ICampaign.NothingDue.selector);
        campaign.refund();
    }

    function test_noRefundAtGoal() public eachAsset {
        fund(alice, GOAL);
        vm.warp(T0 + 100);
        vm.prank(alice);
        vm.expectRevert(ICampaign.NotFailed.selector);
        campaign.refund();
    }

    /// Failed: the sum of refunds is what was raised, whatever the amounts.
    function test_refundsSumToRaised(uint256[5] memory amounts) public eachAsset {
        uint256 total = 0;
        for (uint160 i = 0; i < 5; ++i) {
            uint256 amount = bound(amounts[i], 1, (GOAL - 1) / 5);
            fund(address(0x5000 + i), amount);
            total += amount;
        }
        eq(campaign.raised(), total, "raised");
        vm.warp(T0 + 100);
        uint256 paid = 0;
        for (uint160 i = 0; i < 5; ++i) {
            vm.prank(address(0x5000 + i));
            campaign.refund();
            paid += balance(address(0x5000 + i));
        }
        eq(paid, total, "refunds");
        eq(balance(address(campaign)), 0, "held");
    }
}
