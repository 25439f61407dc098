// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {CreditDisputeSteps} from "../support/CreditDisputeSteps.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";
import {IDisputes} from "../../../contracts/interfaces/IDisputes.sol";
import {Verdict} from "../../../contracts/interfaces/Types.sol";

/// @notice Disputes.submitVerdict: a quorum, in time, once for each epoch and index.
contract DisputesSubmitVerdictTest is CreditDisputeSteps {
    function test_acquittalGivesTheBondToTheProvider() public eachAsset {
        finalizeNow(0);
        _challenge(0, 0);
        vm.prank(providerAccount(0));
        disputes.answerChallenge(0, 0, keccak256("mine"));
        vm.prank(carol);
        vm.expectRevert(IDisputes.NotProvider.selector);
        disputes.answerChallenge(0, 0, keccak256("not mine"));
        _judge(0, 0, false);
        eq(disputes.owedTo(payoutAddress(0)), DISPUTE_BOND, "to the provider");
        eq(ledger.liveCredits(), 100, "nothing changed");
        eq(registry.openChallenges(0), 0, "lock gone");
        uint256 value = ready(carol, address(disputes), DISPUTE_BOND);
        vm.prank(carol);
        vm.expectRevert(IDisputes.AlreadyChallenged.selector);
        disputes.challengeCredits{value: value}(0, 0, 0);
        vm.expectRevert(IDisputes.NotConvicted.selector);
        disputes.enforceVerdict(good, goodList, 0);
        vm.expectRevert(IDisputes.NotChallenged.selector);
        disputes.closeChallenge(0, 0);
    }

    function test_verdictNeedsAQuorum() public eachAsset {
        finalizeNow(0);
        (Verdict memory v, bytes[] memory sigs) = _verdict(0, 0, true);
        vm.expectRevert(IDisputes.NotChallenged.selector);
        disputes.submitVerdict(v, sigs);
        _challenge(0, 0);
        v.convicted = false;
        (bool accepted, bytes memory why) = address(disputes).call(abi.encodeCall(IDisputes.submitVerdict, (v, sigs)));
        deadSignatures(accepted, why);
        v.convicted = true;
        bytes[] memory two = new bytes[](2);
        (two[0], two[1]) = (sigs[0], sigs[1]);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.TooFewSignatures.selector, 3));
        disputes.submitVerdict(v, two);
        disputes.submitVerdict(v, sigs);
        vm.expectRevert(IDisputes.NotChallenged.selector);
        disputes.submitVerdict(v, sigs);
        (, , bool judged, bool convicted) = disputes.challengeOf(0, 0);
        ok(judged && convicted, "judged once");
    }
}
