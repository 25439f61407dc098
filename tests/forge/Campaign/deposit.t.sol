// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {ICampaign} from "../../../contracts/interfaces/ICampaign.sol";
import {Assets} from "../../../contracts/libraries/Assets.sol";
import {PlainToken} from "../../../contracts/mocks/Tokens.sol";

/// @notice Campaign.deposit: credited whole, up to the cap, before the deadline.
contract CampaignDepositTest is Base {
    function test_depositCredits() public eachAsset {
        fund(alice, 700);
        fund(alice, 300);
        fund(bob, 5);
        eq(campaign.contributionOf(alice), 1_000, "alice");
        eq(campaign.contributionOf(bob), 5, "bob");
        eq(campaign.raised(), 1_005, "raised");
        eq(balance(address(campaign)), 1_005, "held");
    }

    function test_depositRefusesZero() public eachAsset {
        vm.expectRevert(ICampaign.ZeroAmount.selector);
        campaign.deposit(0);
    }

    function test_depositRefusesOtherValue() public {
        vm.deal(alice, 10);
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(Assets.WrongValue.selector, 9));
        campaign.deposit{value: 10}(9);
    }

    function test_etherIsRefusedByATokenRun() public {
        asset = address(new PlainToken());
        createRun(defaultParams());
        vm.deal(alice, 1);
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(Assets.WrongValue.selector, 0));
        campaign.deposit{value: 1}(1);
    }

    function test_depositFillsCapAndCloses() public eachAsset {
        fund(alice, CAP - 1);
        ok(!campaign.depositsClosed(), "open");
        uint256 value = ready(bob, address(campaign), 2);
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(ICampaign.CapExceeded.selector, 1));
        campaign.deposit{value: value}(2);
        fund(bob, 1);
        ok(campaign.depositsClosed() && campaign.succeeded(), "closed at the cap");
        value = ready(carol, address(campaign), 1);
        vm.prank(carol);
        vm.expectRevert(ICampaign.DepositsClosed.selector);
        campaign.deposit{value: value}(1);
    }

    function test_depositEndsAtDeadline() public eachAsset {
        vm.warp(T0 + 99);
        fund(alice, 1);
        vm.warp(T0 + 100);
        uint256 value = ready(bob, address(campaign), 1);
        vm.prank(bob);
        vm.expectRevert(ICampaign.DepositsClosed.selector);
        campaign.deposit{value: value}(1);
    }
}
