// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Base} from "../support/Base.sol";
import {ICampaign} from "../../../contracts/interfaces/ICampaign.sol";
import {Leaf, RunParams, Sibling, VoucherClaim} from "../../../contracts/interfaces/Types.sol";
import {ForceEther} from "../../../contracts/mocks/Receivers.sol";

/// @notice Attacks on the pools and the escrow.
contract MoneyAttackTest is Base {
    /// Revenue before deposits close would change hands with every later deposit: refused.
    function test_attack_revenueBeforeDepositsClose() public eachAsset {
        fund(alice, GOAL);
        uint256 value = ready(bob, address(distributor), 10);
        vm.prank(bob);
        vm.expectRevert(ICampaign.DepositsOpen.selector);
        distributor.payRevenue{value: value}(10);
    }

    /// Thousands of tiny payments lose nobody a unit: the remainder is carried.
    function test_attack_roundingTheft() public {
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

    /// Claiming for others a unit at a time takes nothing from them.
    function test_attack_dustGriefing() public eachAsset {
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

    /// What moves between the contracts of a run is allowed to the unit, so that the distributor can take nothing else from them.
    function test_attack_allowancesLeftOver() public eachAsset {
        launch(1);
        list(0, 100);
        runEpoch(0);
        address server = address(0x5E44E4);
        uint256 value = ready(alice, address(payments), 1_000);
        vm.prank(alice);
        bytes32 id = payments.deposit{value: value}(vm.addr(0xFACE), server, 50, 1_000);
        VoucherClaim[] memory claims = new VoucherClaim[](1);
        claims[0] = VoucherClaim(id, 900, 900, signWith(0xFACE, payments.voucherHash(id, 900)));
        vm.prank(server);
        payments.settle(claims);
        eq(distributor.computeReceived(), 1_000 + 432, "wages, and three fifths of what the server left of 900");
        if (asset == address(0)) return;
        eq(IERC20(asset).allowance(address(campaign), address(distributor)), 0, "left over from wages");
        eq(IERC20(asset).allowance(address(payments), address(distributor)), 0, "left over from revenue");
    }

    function test_attack_lateCredit() public eachAsset {
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

    /// Whatever a corrupt quorum signs, it mints no more than the cap and takes nothing of the funders' revenue.
    function test_attack_corruptQuorum(uint64 credits, uint256 debt, uint256 wage, uint64 revenue) public {
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
            try distributor.claimCompute(1, leaf, proof) {} catch {} // only the pools matter here
        }
        ok(distributor.computePaid() <= distributor.computeReceived(), "no more than the compute pool received");
        uint256 capital = paid * 4_000 / 10_000 * 2;
        eq(distributor.capitalReceived(), capital, "funders' part");
        if (distributor.claimableCapital(alice) != 0) distributor.claimCapital(alice);
        if (distributor.claimableCapital(bob) != 0) distributor.claimCapital(bob);
        ok(balance(alice) + balance(bob) + 2 >= capital, "funders are whole");
        ok(campaign.released() <= campaign.raised(), "escrow");
    }

    /// The widest figures that the rules let in do not overflow a claim.
    function test_attack_overflowAtTheEndsOfTheRanges() public eachAsset {
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

    /// The steepest accumulator: all that a pool can receive shared by one credit, and then as many credits as there can be.
    function test_attack_steepestAccumulator() public eachAsset {
        RunParams memory p = defaultParams();
        p.maxCreditsPerEpoch = type(uint64).max;
        p.capitalBps = 0;
        createRun(p);
        launch(2);
        list(0, 1);
        runEpoch(0);
        // Room is left for the second epoch's wages.
        uint256 room = (1 << 127) - 1 - distributor.computeReceived() - 2_000_000;
        pay(room);
        list(1, type(uint64).max - 1);
        runEpoch(1);
        ok(distributor.accCompute() >> 190 == 1, "steep");
        claimCompute(0);
        eq(balance(payoutAddress(0)), room + 10, "all of it to the one credit");
        eq(distributor.claimableCompute(1, tree.leaf(1)), ledger.finalEpoch(1).wage * (type(uint64).max - 1) >> 64, "the late ones get their wages");
        claimCompute(1);
        ok(distributor.computePaid() <= distributor.computeReceived(), "covered");
    }

    function test_attack_forcedEther() public {
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
