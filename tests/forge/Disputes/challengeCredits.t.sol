// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {CreditDisputeSteps} from "../support/CreditDisputeSteps.sol";
import {IDisputes} from "../../../contracts/interfaces/IDisputes.sol";
import {PlainToken} from "../../../contracts/mocks/Tokens.sol";

/// @notice Disputes.challengeCredits: with a bond, while it can be judged.
contract DisputesChallengeCreditsTest is CreditDisputeSteps {
    function test_challengeWithinADisputePeriodOfFinality() public eachAsset {
        uint256 value = ready(carol, address(disputes), 10 * DISPUTE_BOND);
        vm.startPrank(carol);
        if (asset != address(0)) PlainToken(asset).approve(address(disputes), type(uint256).max);
        uint256 bond = asset == address(0) ? DISPUTE_BOND : 0;
        value;
        vm.expectRevert(IDisputes.NotJudgeable.selector);
        disputes.challengeCredits{value: bond}(0, 2, 0);
        vm.expectRevert(IDisputes.NotJudgeable.selector);
        disputes.challengeCredits{value: bond}(1, 0, 0);
        vm.stopPrank();
        finalizeNow(0);
        vm.warp(block.timestamp + 1_999);
        vm.startPrank(carol);
        disputes.challengeCredits{value: bond}(0, 0, 0);
        vm.warp(block.timestamp + 1);
        vm.expectRevert(IDisputes.NotJudgeable.selector);
        disputes.challengeCredits{value: bond}(0, 1, 0);
        vm.stopPrank();
    }

    function test_whatIsOpenIsNotOpenedAgain() public eachAsset {
        for (uint256 i = 0; i < 2; ++i) {
            uint256 value = ready(carol, address(disputes), DISPUTE_BOND);
            vm.prank(carol);
            if (i == 1) vm.expectRevert(IDisputes.AlreadyChallenged.selector);
            disputes.challengeCredits{value: value}(0, 0, 0);
        }
        eq(registry.openChallenges(0), 1, "one lock");
    }

    function _notJudgeable(uint64 epoch) internal {
        uint256 value = ready(carol, address(disputes), DISPUTE_BOND);
        vm.prank(carol);
        vm.expectRevert(IDisputes.NotJudgeable.selector);
        disputes.challengeCredits{value: value}(epoch, 0, 0);
    }

    function test_closedAndVoidEpochsHaveNoCreditsToJudge() public {
        finalizeNow(0);
        close(1);
        _notJudgeable(1);
        vm.warp(block.timestamp + 300);
        oracle.voidEpoch(1);
        _notJudgeable(1);
        eq(registry.openChallenges(0), 0, "no lock");
    }
}
