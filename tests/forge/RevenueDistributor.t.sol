// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base, TreeModel} from "./Base.sol";
import {ICampaign} from "../../contracts/interfaces/ICampaign.sol";
import {ICreditLedger} from "../../contracts/interfaces/ICreditLedger.sol";
import {IRevenueDistributor} from "../../contracts/interfaces/IRevenueDistributor.sol";
import {Leaf, Report, RunParams, Sibling} from "../../contracts/interfaces/Types.sol";
import {Assets} from "../../contracts/libraries/Assets.sol";
import {Actor, ForceEther} from "../../contracts/mocks/Receivers.sol";
import {PlainToken} from "../../contracts/mocks/Tokens.sol";

/// @notice RevenueDistributor: receiving revenue and claiming it.
contract DistributorTest is Base {
    function test_revenueIsRefusedBeforeDepositsClose() public {
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

    function test_revenueSplitsAndTheRemainderGoesToCompute() public {
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

    function test_capitalClaimsPayByShare() public {
        launch(1);
        pay(1_000_000);
        eq(distributor.claimableCapital(alice), uint256(400_000) * 1_000_000 / 1_500_001, "alice");
        distributor.claimCapital(alice);
        distributor.claimCapital(bob);
        eq(distributor.capitalClaimedBy(alice), balance(alice), "told by the view");
        eq(distributor.capitalPaid(), balance(alice) + balance(bob), "paid out");
        eq(distributor.accCapital(), (uint256(400_000) << 64) / 1_500_001, "accumulator");
        eq(balance(alice), uint256(400_000) * 1_000_000 / 1_500_001, "paid");
        eq(balance(bob), uint256(400_000) * 500_001 / 1_500_001, "paid");
        vm.expectRevert(IRevenueDistributor.NothingDue.selector);
        distributor.claimCapital(alice);
        vm.expectRevert(IRevenueDistributor.NothingDue.selector);
        distributor.claimCapital(carol);
    }

    /// Thousands of tiny payments lose nobody a unit: the remainder is carried.
    function test_tinyPaymentsAddUp() public {
        launch(1);
        for (uint256 i = 0; i < 10_000; ++i) {
            pay(1 + i % 5);
        }
        uint256 received = distributor.capitalReceived();
        distributor.claimCapital(alice);
        distributor.claimCapital(bob);
        uint256 acc = (received << 64) / 1_500_001;
        eq(balance(alice), (acc * 1_000_000) >> 64, "as if it had come at once");
        ok(received - balance(alice) - balance(bob) <= 2, "dust at most one unit a funder");
    }

    function test_claimsAtAnyTimeGiveTheSame(uint16[8] memory payments_, uint8 mask) public {
        launch(1);
        uint256 total = 0;
        for (uint256 i = 0; i < 8; ++i) {
            pay(uint256(payments_[i]) + 1);
            total = distributor.capitalReceived();
            if (mask >> i & 1 == 1 && distributor.claimableCapital(alice) != 0) distributor.claimCapital(alice);
        }
        if (distributor.claimableCapital(alice) != 0) distributor.claimCapital(alice);
        eq(balance(alice), (((total << 64) / 1_500_001) * 1_000_000) >> 64, "same as one claim");
    }

    function test_lateCreditsNeverTakeEarlierRevenue() public {
        launch(2);
        list(0, 100);
        runEpoch(0);
        pay(10_000);
        list(1, 100);
        runEpoch(1);
        claimCompute(0);
        eq(balance(payoutAddress(0)), 1_000 + 6_000, "wages and all of the revenue");
        claimCompute(1);
        eq(balance(payoutAddress(1)), 1_000, "wages only");
        pay(10_000);
        close(2);
        claimCompute(0);
        claimCompute(1);
        eq(balance(payoutAddress(0)), 7_000 + 3_000, "half each from now on");
        eq(balance(payoutAddress(1)), 1_000 + 3_000, "half each from now on");
    }

    function test_pendingWaitsForLiveCredits() public {
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

    function test_afterTheRunRevenueIsSharedOnArrival() public {
        launch(2);
        list(0, 100);
        list(1, 300);
        runEpoch(0);
        for (uint64 e = 1; e < 7; ++e) {
            lapseEpoch(e);
        }
        close(7);
        pay(10_000);
        eq(distributor.pendingCompute(), 6_000, "came after the last close");
        vm.warp(block.timestamp + 300);
        oracle.voidEpoch(7);
        ok(distributor.finished(), "finished");
        eq(distributor.pendingCompute(), 0, "what was pending is given out");
        pay(10_000);
        eq(distributor.pendingCompute(), 0, "on arrival");
        claimCompute(0);
        claimCompute(1);
        eq(balance(payoutAddress(0)), 1_000 + 3_000, "a quarter");
        eq(balance(payoutAddress(1)), 3_000 + 9_000, "three quarters");
    }

    function test_afterARunWithoutCreditsAllGoesToCapital() public {
        launch(1);
        for (uint64 e = 0; e < 7; ++e) {
            lapseEpoch(e);
        }
        pay(10_000);
        lapseEpoch(7);
        eq(distributor.capitalReceived(), 10_000, "what was pending too");
        eq(distributor.computePaid(), 6_000, "left the compute pool");
        pay(10_000);
        eq(distributor.capitalReceived(), 20_000, "all");
        eq(distributor.computeReceived(), 6_000, "no more to compute");
    }

    function test_oneProofCoversManyEpochs() public {
        launch(1);
        list(0, 10);
        runEpoch(0);
        pay(1_000);
        list(0, 20);
        runEpoch(1);
        pay(1_000);
        list(0, 30);
        runEpoch(2);
        close(3);
        claimCompute(0);
        eq(balance(payoutAddress(0)), 600 + 1_200, "60 credits' wages and both payments");
    }

    function test_claimOnAnOldRoot() public {
        launch(2);
        list(0, 10);
        list(1, 10);
        runEpoch(0);
        TreeModel old = new TreeModel();
        old.copyFrom(tree);
        list(0, 90);
        runEpoch(1);
        pay(11_000);
        close(2);
        distributor.claimCompute(0, old.leaf(0), old.proofOf(1, 0));
        eq(balance(payoutAddress(0)), 100 + 600, "its old credits at today's accumulator");
        claimCompute(0);
        eq(balance(payoutAddress(0)), 1_000 + 6_000, "the rest by the new root");
    }

    function test_claimRefusesFalseLeaves() public {
        launch(2);
        list(0, 10);
        runEpoch(0);
        Leaf memory leaf = tree.leaf(0);
        Sibling[] memory proof = tree.proofOf(1, 0);
        leaf.C += 1;
        vm.expectRevert(IRevenueDistributor.InvalidProof.selector);
        distributor.claimCompute(0, leaf, proof);
        leaf.C -= 1;
        leaf.index = 1;
        vm.expectRevert(IRevenueDistributor.InvalidProof.selector);
        distributor.claimCompute(0, leaf, proof);
        leaf.index = 0;
        vm.expectRevert(abi.encodeWithSelector(ICreditLedger.NotFinal.selector, 1));
        distributor.claimCompute(1, leaf, proof);
        distributor.claimCompute(0, leaf, proof);
        vm.expectRevert(IRevenueDistributor.NothingDue.selector);
        distributor.claimCompute(0, leaf, proof);
        vm.expectRevert(IRevenueDistributor.NothingDue.selector);
        distributor.claimCompute(0, Leaf(5, address(0), 0, 0, 0), new Sibling[](0));
    }

    /// @dev Makes `t` final as a corrupt quorum would, with `credits` new ones.
    function _force(uint64 e, TreeModel t, uint64 credits) internal {
        close(e);
        submit(reportOn(e, t, credits));
        finalizeNow(e);
    }

    /// A corrupt quorum's W or D beyond what any rule allows is refused at the claim.
    function test_leafOutOfRangeIsRefused() public {
        launch(2);
        tree.put(0, providerAccount(0), 10, 0, (uint256(10) * 10 << 64) + 1);
        tree.put(1, providerAccount(1), 10, 1, 0);
        list(0, 10);
        list(1, 10);
        _force(0, tree, 20);
        Leaf memory leaf = tree.leaf(0);
        Sibling[] memory proof = tree.proofOf(1, 0);
        vm.expectRevert(IRevenueDistributor.LeafOutOfRange.selector);
        distributor.claimCompute(0, leaf, proof);
        leaf = tree.leaf(1);
        proof = tree.proofOf(1, 1);
        vm.expectRevert(IRevenueDistributor.LeafOutOfRange.selector);
        distributor.claimCompute(0, leaf, proof);
    }

    /// A corrupt quorum that gives a leaf more than the pool has gets what the pool gave out, and the capital pool is untouched.
    function test_computePoolNeverPaysMoreThanItReceived() public {
        launch(2);
        tree.put(0, providerAccount(0), 1_000_000, 0, uint256(1_000_000) * 10 << 64);
        list(0, 1_000);
        // The wages of this report are paid on what it says it credits: bounded by the escrow, while its W says more.
        _force(0, tree, 1_000_000);
        uint256 received = distributor.computeReceived();
        ok(received < 10_000_000, "less than the leaf says");
        pay(1_000_000);
        claimCompute(0);
        eq(balance(payoutAddress(0)), received, "no more than was given out");
        eq(distributor.computePaid(), received, "paid");
        distributor.claimCapital(alice);
        distributor.claimCapital(bob);
        ok(balance(alice) + balance(bob) >= 400_000 - 1, "funders' revenue is whole");
    }

    function test_onlyOthersOfTheRun() public {
        vm.expectRevert(IRevenueDistributor.NotOracle.selector);
        distributor.closeEpoch();
        vm.expectRevert(IRevenueDistributor.NotOracle.selector);
        distributor.finish();
        vm.expectRevert(IRevenueDistributor.NotCampaign.selector);
        distributor.receiveWages(0, 0);
        vm.expectRevert(IRevenueDistributor.NotDisputes.selector);
        distributor.addDebt(0, 1);
    }

    function test_receiptsStayInRange() public {
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

    function test_debtIsPaidFirst() public {
        launch(1);
        list(0, 100);
        runEpoch(0);
        vm.prank(address(disputes));
        distributor.addDebt(0, 300);
        eq(distributor.claimableCompute(0, tree.leaf(0)), 700, "view");
        claimCompute(0);
        eq(balance(payoutAddress(0)), 700, "rest");
        eq(distributor.capitalReceived(), 300, "to the capital pool");
        eq(distributor.computePaid(), 1_000, "out of the compute pool");
        eq(distributor.debtOf(0), 0, "settled");
        vm.prank(address(disputes));
        distributor.addDebt(0, 5_000);
        pay(1_000);
        close(1);
        claimCompute(0);
        eq(balance(payoutAddress(0)), 700, "all goes to the debt");
        eq(distributor.debtOf(0), 4_400, "the rest of the debt stays");
    }

    function test_revokedCreditsEarnNoMore() public {
        launch(2);
        list(0, 100);
        list(1, 100);
        runEpoch(0);
        pay(1_000);
        close(1);
        uint256 acc = distributor.accCompute();
        vm.prank(address(disputes));
        ledger.revoke(0, 0, 60, acc);
        eq(ledger.liveCredits(), 140, "live");
        eq(ledger.revoked(0).credits, 60, "rC");
        eq(ledger.revoked(0).accWeighted, 60 * acc, "rA");
        pay(1_400);
        vm.warp(block.timestamp + 300);
        close(2);
        claimCompute(0);
        claimCompute(1);
        eq(balance(payoutAddress(0)), 1_000 + 300 + 240, "wages, half of the first, 40 of 140 of the second");
        eq(balance(payoutAddress(1)), 1_000 + 300 + 600, "100 of 140");
    }

    function test_rootOlderThanARevocationIsRefused() public {
        launch(1);
        list(0, 10);
        runEpoch(0);
        TreeModel old = new TreeModel();
        old.copyFrom(tree);
        list(0, 10);
        runEpoch(1);
        vm.prank(address(disputes));
        ledger.revoke(0, 1, 10, 0);
        Leaf memory leaf = old.leaf(0);
        Sibling[] memory proof = old.proofOf(1, 0);
        vm.expectRevert(abi.encodeWithSelector(IRevenueDistributor.RootTooOld.selector, 1));
        distributor.claimCompute(0, leaf, proof);
        claimCompute(0);
    }
}

contract DistributorTokenTest is DistributorTest {
    function setUp() public override {
        asset = address(new PlainToken());
        super.setUp();
    }
}

/// @notice RevenueDistributor against receivers with code and forced ETH.
contract DistributorHostileTest is Base {
    function test_refusingFunderBlocksOnlyItself() public {
        Actor actor = new Actor();
        vm.deal(address(this), GOAL);
        actor.act{value: GOAL}(address(campaign), GOAL, abi.encodeCall(ICampaign.deposit, (GOAL)));
        fund(bob, GOAL);
        vm.warp(T0 + 100);
        pay(1_000);
        actor.set(Actor.Mood.Refuse);
        vm.expectRevert(abi.encodeWithSelector(Assets.PaymentRefused.selector, address(actor)));
        distributor.claimCapital(address(actor));
        distributor.claimCapital(bob);
        eq(bob.balance, 199, "bob, his half rounded down");
    }

    function test_gasBurningFunderBlocksOnlyItself() public {
        Actor actor = new Actor();
        vm.deal(address(this), GOAL);
        actor.act{value: GOAL}(address(campaign), GOAL, abi.encodeCall(ICampaign.deposit, (GOAL)));
        fund(bob, GOAL);
        vm.warp(T0 + 100);
        pay(1_000);
        actor.set(Actor.Mood.Burn);
        try distributor.claimCapital{gas: 300_000}(address(actor)) {
            revert NotTrue("paid a gas burner");
        } catch {}
        distributor.claimCapital(bob);
        eq(bob.balance, 199, "bob, his half rounded down");
    }

    function test_reentryClaimsNothingMore() public {
        Actor actor = new Actor();
        vm.deal(address(this), GOAL);
        actor.act{value: GOAL}(address(campaign), GOAL, abi.encodeCall(ICampaign.deposit, (GOAL)));
        fund(bob, GOAL);
        vm.warp(T0 + 100);
        pay(1_000);
        actor.onCallback(address(distributor), abi.encodeCall(IRevenueDistributor.claimCapital, (address(actor))));
        distributor.claimCapital(address(actor));
        eq(actor.hooks(), 1, "called back");
        ok(!actor.callbackSucceeded(), "second claim");
        eq(address(actor).balance, 199, "once");
    }

    function test_forcedEtherChangesNothing() public {
        launch(1);
        list(0, 100);
        runEpoch(0);
        pay(1_000);
        vm.deal(address(this), 10_000);
        new ForceEther{value: 5_000}(payable(address(distributor)));
        new ForceEther{value: 5_000}(payable(address(campaign)));
        eq(distributor.capitalReceived(), 400, "capital");
        eq(distributor.computeReceived(), 1_600, "compute");
        eq(campaign.raised(), 1_500_001, "raised");
        claimCompute(0);
        eq(balance(payoutAddress(0)), 1_000, "wages");
    }
}
