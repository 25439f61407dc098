// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {CreditDisputeSteps} from "../support/CreditDisputeSteps.sol";
import {EventLog} from "../support/EventLog.sol";
import {ICreditLedger} from "../../../contracts/interfaces/ICreditLedger.sol";
import {IDues} from "../../../contracts/interfaces/IDues.sol";
import {IDisputes} from "../../../contracts/interfaces/IDisputes.sol";
import {Report} from "../../../contracts/interfaces/Types.sol";

/// @notice Disputes.enforceVerdict: a conviction takes what was earned, and nobody else's.
contract DisputesEnforceVerdictTest is CreditDisputeSteps, EventLog {
    function test_convictionTakesWhatWasEarned() public eachAsset {
        finalizeNow(0);
        pay(10_000);
        close(1);
        _challenge(0, 0);
        eq(registry.openChallenges(0), 1, "stake is locked");
        _judge(0, 0, true);
        disputes.enforceVerdict(good, goodList, 0);
        eq(ledger.liveCredits(), 40, "out of the denominator");
        eq(distributor.debtOf(0), 600 + 3_600, "its wages and revenue are a debt");
        eq(registry.providerAt(0).stake, 0, "stake slashed");
        eq(registry.owedTo(carol), STAKE / 10, "a tenth to the challenger");
        eq(disputes.owedTo(carol), DISPUTE_BOND, "bond back");
        eq(registry.openChallenges(0), 0, "lock gone");
        distributor.claimCompute(0, tree.leaf(0), tree.proofOf(1, 0));
        eq(balance(payoutAddress(0)), 0, "all goes to the debt");
        eq(distributor.capitalReceived(), 4_000 + 4_200, "to the capital pool");
        distributor.claimCompute(0, tree.leaf(1), tree.proofOf(1, 1));
        eq(balance(payoutAddress(1)), 400 + 2_400, "nobody else's epoch is touched");
        // What comes later goes to the live credits alone.
        pay(1_000);
        vm.warp(block.timestamp + 300);
        close(2);
        distributor.claimCompute(0, tree.leaf(1), tree.proofOf(1, 1));
        eq(balance(payoutAddress(1)), 400 + 2_400 + 600, "alone in the denominator");
        eq(distributor.claimableCompute(0, tree.leaf(0)), 0, "the convicted earn no more");
    }

    function test_verdictTakesEffectOnlyWhenFinal() public eachAsset {
        _challenge(0, 0);
        _judge(0, 0, true);
        vm.expectRevert(abi.encodeWithSelector(ICreditLedger.NotFinal.selector, 0));
        disputes.enforceVerdict(good, goodList, 0);
        vm.expectRevert(IDisputes.TooEarly.selector);
        disputes.closeChallenge(0, 0);
        finalizeNow(0);
        Report memory other = good;
        other.round += 1;
        vm.expectRevert(IDisputes.WrongReport.selector);
        disputes.enforceVerdict(other, goodList, 0);
        vm.expectRevert(IDisputes.WrongList.selector);
        disputes.enforceVerdict(good, "", 0);
        disputes.enforceVerdict(good, goodList, 0);
        eq(ledger.liveCredits(), 40, "revoked");
        vm.expectRevert(IDisputes.NotConvicted.selector);
        disputes.enforceVerdict(good, goodList, 0);
    }

    /// Convicting an index that the list does not credit changes nothing.
    function test_convictionOfNothing() public eachAsset {
        registerOne(2);
        finalizeNow(0);
        list(0, 10);
        close(1);
        good = honestReport(1);
        goodList = packedList();
        submit(good);
        finalizeNow(1);
        _challenge(1, 2);
        _judge(1, 2, true);
        _listen();
        disputes.enforceVerdict(good, goodList, 2);
        _logged();
        _by(address(disputes));
        emit IDisputes.Convicted(1, 2, 0, 0, 0);
        _by(address(disputes));
        emit IDues.Owed(carol, DISPUTE_BOND);
        _by(address(disputes));
        emit IDisputes.ChallengeClosed(1, 2);
        _same();
        eq(registry.providerAt(2).stake, STAKE, "stake untouched");
        eq(disputes.owedTo(carol), DISPUTE_BOND, "bond back");
    }

    /// Work of an epoch that began when much had been distributed owes only what has come since.
    function test_debtCountsFromTheEpochsOwnAccumulator() public eachAsset {
        finalizeNow(0);
        pay(10_000);
        list(1, 50);
        close(1);
        good = honestReport(1);
        goodList = packedList();
        submit(good);
        finalizeNow(1);
        pay(15_000);
        close(2);
        _challenge(1, 1);
        _judge(1, 1, true);
        disputes.enforceVerdict(good, goodList, 1);
        eq(distributor.debtOf(1), 500 + 3_000, "wages, and a third of the second payment's compute half");
    }

    /// Wages and revenue are summed before they are rounded: here 713784.86 and 3000.19 units make 716785.
    function test_debtIsRoundedOnce() public eachAsset {
        finalizeNow(0);
        list(0, 500_001);
        list(1, 499_998);
        close(1);
        good = honestReport(1);
        goodList = packedList();
        submit(good);
        finalizeNow(1);
        pay(10_001);
        close(2);
        _challenge(1, 1);
        _judge(1, 1, true);
        disputes.enforceVerdict(good, goodList, 1);
        eq(distributor.debtOf(1), 716_785, "one rounding");
    }

    /// A false list that nobody contested cannot make a conviction take more than the epoch credited in all.
    function test_convictionTakesNoMoreThanTheEpochsCredits() public eachAsset {
        finalizeNow(0);
        list(0, 10);
        close(1);
        good = honestReport(1);
        clearList();
        list(0, 1_000);
        goodList = packedList();
        good.creditsHash = keccak256(goodList);
        submit(good);
        finalizeNow(1);
        _challenge(1, 0);
        _judge(1, 0, true);
        disputes.enforceVerdict(good, goodList, 0);
        eq(ledger.liveCredits(), 100, "ten are gone");
    }
}
