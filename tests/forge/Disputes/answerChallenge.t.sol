// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {CreditDisputeSteps} from "../support/CreditDisputeSteps.sol";
import {IDisputes} from "../../../contracts/interfaces/IDisputes.sol";

/// @notice Disputes.answerChallenge: the provider itself, in time.
contract DisputesAnswerChallengeTest is CreditDisputeSteps {
    function test_onlyTheProviderAnswers() public eachAsset {
        vm.prank(providerAccount(0));
        vm.expectRevert(IDisputes.NotChallenged.selector);
        disputes.answerChallenge(0, 0, keccak256("mine"));
        _challenge(0, 0);
        vm.prank(providerAccount(0));
        disputes.answerChallenge(0, 0, keccak256("mine"));
        vm.prank(providerAccount(1));
        vm.expectRevert(IDisputes.NotProvider.selector);
        disputes.answerChallenge(0, 0, keccak256("not mine"));
        _judge(0, 0, false);
        vm.prank(providerAccount(0));
        vm.expectRevert(IDisputes.NotChallenged.selector);
        disputes.answerChallenge(0, 0, keccak256("too late"));
    }

    function test_answerAndVerdictInTheLastSecond() public eachAsset {
        _challenge(0, 0);
        vm.warp(block.timestamp + 2_000);
        vm.prank(providerAccount(0));
        disputes.answerChallenge(0, 0, keccak256("just in time"));
        _judge(0, 0, true);
        (,, bool judged, bool convicted) = disputes.challengeOf(0, 0);
        ok(judged && convicted, "judged");
    }

    function test_nothingIsAnsweredAfterAConviction() public eachAsset {
        _challenge(0, 0);
        _judge(0, 0, true);
        vm.prank(providerAccount(0));
        vm.expectRevert(IDisputes.NotChallenged.selector);
        disputes.answerChallenge(0, 0, keccak256("too late"));
    }
}
