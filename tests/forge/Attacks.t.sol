// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base, ICampaign, ICreditOracle} from "./Base.sol";
import "../../contracts/interfaces/Types.sol";

/// @notice Attacks that cut across the contracts. docs/threat-model.md lists every attack with the test that tries it.
contract AttackTest is Base {
    /// A report of one run does not pass in another with the same signers and parameters.
    function test_attack_replayAcrossRuns() public {
        launch(2);
        address other = factory.createRun(_sameParams());
        close(0);
        list(0, 7);
        Report memory r = honestReport(0);
        bytes[] memory sigs = signAll(digestOf(r), 3);
        bytes memory credits = packedList();
        address first = address(campaign);
        bindRun(other);
        fund(alice, GOAL);
        registerMany(2);
        postBonds();
        vm.warp(epochEnd(3));
        vm.roll(block.number + 1);
        oracle.closeEpoch(0);
        r.attempt = 0;
        vm.expectRevert();
        oracle.submitReport(r, credits, sigs);
        bindRun(first);
    }

    function _sameParams() internal returns (RunParams memory p) {
        p = defaultParams();
        p.depositDeadline = uint64(epochEnd(2));
        p.epochStart = uint64(epochEnd(2));
    }

    /// A final report, or one that fell, cannot be brought again.
    function test_attack_resubmittedReport() public {
        launch(2);
        close(0);
        list(0, 7);
        Report memory r = honestReport(0);
        bytes memory credits = packedList();
        bytes[] memory sigs = signAll(digestOf(r), 3);
        submitWith(r, credits, sigs);
        vm.expectRevert(ICreditOracle.NotClosed.selector);
        oracle.submitReport(r, credits, sigs);
        finalizeNow(0);
        vm.expectRevert(ICreditOracle.NotClosed.selector);
        oracle.submitReport(r, credits, sigs);
        close(1);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.WrongEpoch.selector, 1));
        oracle.submitReport(r, credits, sigs);
        r.epoch = 1;
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.WrongPrevRoot.selector, r.root));
        oracle.submitReport(r, credits, sigs);
    }

    /// An oracle that stops for good holds nobody's money: epochs lapse, the unspent returns, final credits are claimed.
    function test_attack_lapsedOracle() public {
        launch(2);
        list(0, 100);
        runEpoch(0);
        for (uint64 e = 1; e < 8; ++e) {
            vm.warp(epochEnd(e) + 301);
            oracle.closeEpoch(e);
        }
        vm.warp(block.timestamp + 300);
        oracle.voidEpoch(7);
        ok(campaign.ended(), "ended");
        vm.prank(alice);
        campaign.claimUnspent();
        vm.prank(bob);
        campaign.claimUnspent();
        pay(10_000);
        claimCompute(0);
        distributor.claimCapital(alice);
        ok(balance(payoutAddress(0)) == 1_000 + 6_000, "wages and revenue");
    }

    /// Claiming for others a unit at a time takes nothing from them.
    function test_attack_dustGriefing() public {
        launch(1);
        for (uint256 i = 0; i < 200; ++i) {
            pay(7);
            if (distributor.claimableCapital(alice) != 0) distributor.claimCapital(alice);
            if (distributor.claimableCapital(bob) != 0) distributor.claimCapital(bob);
        }
        uint256 acc = (distributor.capitalReceived() << 64) / 1_500_001;
        eq(balance(alice), (acc * 1_000_000) >> 64, "alice has what one claim would give");
        eq(balance(bob), (acc * 500_001) >> 64, "bob too");
    }

    /// Whatever a corrupt quorum signs, it mints no more than the cap and takes nothing of the funders' revenue.
    function test_attack_corruptQuorum(uint64 credits, uint128 debt, uint128 wage, uint64 revenue) public {
        launch(2);
        uint256 paid = uint256(revenue) + 2;
        pay(paid);
        credits = uint64(bound(credits, 1, 1_000_000));
        list(0, credits);
        runEpoch(0);
        pay(paid);
        close(1);
        uint256 limit = oracle.creditsLimit();
        eq(limit, 1_000_000, "cap");
        tree.put(1, providerAccount(1), limit, debt, wage);
        clearList();
        list(1, uint64(limit));
        submit(reportOn(1, tree, uint64(limit)));
        finalizeNow(1);
        for (uint32 i = 0; i < 2; ++i) {
            Leaf memory leaf = tree.leaf(i);
            Sibling[] memory proof = tree.proofOf(1, i);
            try distributor.claimCompute(1, leaf, proof) {} catch {}
        }
        ok(distributor.computePaid() <= distributor.computeReceived(), "no more than the compute pool received");
        uint256 capital = paid * 4_000 / 10_000 * 2;
        eq(distributor.capitalReceived(), capital, "funders' part");
        if (distributor.claimableCapital(alice) != 0) distributor.claimCapital(alice);
        if (distributor.claimableCapital(bob) != 0) distributor.claimCapital(bob);
        ok(balance(alice) + balance(bob) + 2 >= capital, "funders are whole");
        ok(campaign.released() <= campaign.raised(), "escrow");
    }

    /// An index is never reused: the account of an exited provider cannot register again, and its index stays.
    function test_attack_indexReused() public {
        launch(2);
        vm.prank(providerAccount(1));
        registry.exit();
        uint256 value = ready(providerAccount(1), address(registry), STAKE);
        vm.prank(providerAccount(1));
        vm.expectRevert();
        registry.register{value: value}(address(0x9999), alice, "", STAKE);
        registerOne(2);
        eq(registry.indexOf(providerAccount(1)), 1, "old index");
        eq(registry.indexOf(providerAccount(2)), 2, "next index");
    }

    /// Nobody can put off an epoch by calling things: closing twice, voiding early, finalising early.
    function test_attack_timersDoNotReset() public {
        launch(1);
        close(0);
        uint256 closedAt = oracle.epochInfo(0).closedAt;
        vm.warp(closedAt + 299);
        vm.expectRevert();
        oracle.closeEpoch(0);
        vm.expectRevert();
        oracle.closeEpoch(1);
        eq(oracle.epochInfo(0).closedAt, closedAt, "unchanged");
        vm.warp(closedAt + 300);
        oracle.voidEpoch(0);
    }

    /// Revenue before deposits close would change hands with every later deposit: refused.
    function test_attack_revenueBeforeDepositsClose() public {
        fund(alice, GOAL);
        uint256 value = ready(bob, address(distributor), 10);
        vm.prank(bob);
        vm.expectRevert(ICampaign.DepositsOpen.selector);
        distributor.payRevenue{value: value}(10);
    }

    /// The widest figures that the rules let in do not overflow a claim.
    function test_attack_overflowAtTheEndsOfTheRanges() public {
        RunParams memory p = defaultParams();
        p.maxCreditsPerEpoch = type(uint64).max;
        p.wagePerCredit = (1 << 80) - 1;
        p.cap = (1 << 127) - 1;
        p.goal = 1;
        p.depositDeadline = uint64(block.timestamp) + 100;
        createRun(p);
        fund(alice, (1 << 127) - 1 - (1 << 100));
        registerMany(2);
        postBonds();
        vm.warp(T0 + 100);
        close(0);
        list(0, 1);
        list(1, type(uint64).max - 2);
        uint256 budget = oracle.epochInfo(0).unlockedEscrow * 10_000 / 10_500;
        uint256 wage = (budget << 64) / (type(uint64).max - 1);
        tree.add(0, providerAccount(0), 1, 0, wage);
        tree.add(1, providerAccount(1), type(uint64).max - 2, 0, wage);
        submit(reportOn(0, tree, type(uint64).max - 1));
        finalizeNow(0);
        claimCompute(0);
        claimCompute(1);
        ok(distributor.computeReceived() - distributor.computePaid() <= 2, "all but dust is paid");
        uint256 room = (1 << 127) - 1 - distributor.computeReceived();
        pay(room);
        close(1);
        claimCompute(1);
        claimCompute(0);
        distributor.claimCapital(alice);
    }
}
