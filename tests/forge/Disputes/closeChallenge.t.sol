// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {CreditDisputeSteps} from "../support/CreditDisputeSteps.sol";
import {IDisputes} from "../../../contracts/interfaces/IDisputes.sol";
import {Verdict} from "../../../contracts/interfaces/Types.sol";

/// @notice Disputes.closeChallenge: no verdict in time, or a void epoch, gives the bond back.
contract DisputesCloseChallengeTest is CreditDisputeSteps {
    function test_noVerdictInTimeChangesNothing() public eachAsset {
        finalizeNow(0);
        _challenge(0, 0);
        uint256 until = block.timestamp + 2_000;
        vm.warp(until);
        vm.expectRevert(IDisputes.TooEarly.selector);
        disputes.closeChallenge(0, 0);
        vm.warp(until + 1);
        (Verdict memory v, bytes[] memory sigs) = _verdict(0, 0, true);
        vm.expectRevert(IDisputes.NotChallenged.selector);
        disputes.submitVerdict(v, sigs);
        vm.prank(providerAccount(0));
        vm.expectRevert(IDisputes.NotChallenged.selector);
        disputes.answerChallenge(0, 0, 0);
        disputes.closeChallenge(0, 0);
        eq(disputes.owedTo(carol), DISPUTE_BOND, "bond back");
        eq(ledger.liveCredits(), 100, "nothing changed");
        eq(registry.openChallenges(0), 0, "lock gone");
    }

    /// Who was convicted cannot have the stake freed by waiting: the verdict has to be carried out.
    function test_convictedChallengeWaitsForItsVerdictsEffect() public eachAsset {
        finalizeNow(0);
        _challenge(0, 0);
        _judge(0, 0, true);
        vm.warp(block.timestamp + 2_001);
        vm.expectRevert(IDisputes.TooEarly.selector);
        disputes.closeChallenge(0, 0);
        eq(registry.openChallenges(0), 1, "still locked");
    }

    function test_voidEpochReturnsTheBond() public eachAsset {
        _challenge(0, 0);
        _judge(0, 0, true);
        vm.prank(address(disputes));
        oracle.voidUnanswered();
        disputes.closeChallenge(0, 0);
        eq(disputes.owedTo(carol), DISPUTE_BOND, "bond back");
        eq(registry.providerAt(0).stake, STAKE, "stake untouched");
        vm.expectRevert(IDisputes.NotConvicted.selector);
        disputes.enforceVerdict(good, goodList, 0);
    }

    /// The time for answers and verdicts still runs, but what they were about is gone.
    function test_nothingIsAnsweredOrJudgedAfterAVoidEpochsClose() public eachAsset {
        _challenge(0, 0);
        vm.prank(address(disputes));
        oracle.voidUnanswered();
        disputes.closeChallenge(0, 0);
        vm.prank(providerAccount(0));
        vm.expectRevert(IDisputes.NotChallenged.selector);
        disputes.answerChallenge(0, 0, keccak256("for nothing"));
        (Verdict memory v, bytes[] memory sigs) = _verdict(0, 0, true);
        vm.expectRevert(IDisputes.NotChallenged.selector);
        disputes.submitVerdict(v, sigs);
    }
}
