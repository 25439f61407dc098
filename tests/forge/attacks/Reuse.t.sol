// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {DisputeSteps} from "../support/DisputeSteps.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";
import {IDisputes} from "../../../contracts/interfaces/IDisputes.sol";
import {IRevenueDistributor} from "../../../contracts/interfaces/IRevenueDistributor.sol";
import {Leaf, Report, Sibling} from "../../../contracts/interfaces/Types.sol";
import {MeddlingToken, PausableToken} from "../../../contracts/mocks/Tokens.sol";

/// @notice Attacks that use a thing twice, take another's place, or meet at the edge of a range or a time.
contract ReuseAttackTest is DisputeSteps {
    /// The same two reports take a bond once, however often it is paid again; the next attempt's take it again.
    function test_attack_equivocationProvedTwice() public eachAsset {
        launch(2);
        close(0);
        (Report memory a, Report memory b) = (honestReport(0), honestReport(0));
        b.lossMicro += 1;
        _equivocate(a, b);
        (bytes memory sigA, bytes memory sigB) = (signWith(signerKeys[1], digestOf(a)), signWith(signerKeys[1], digestOf(b)));
        vm.expectRevert(ICreditOracle.AlreadyProved.selector);
        oracle.proveEquivocation(b, sigB, a, sigA);
        (a.attempt, b.attempt) = (1, 1);
        _equivocate(a, b);
    }

    /// A signer that proves its own equivocations to come while its bond is one unit has paid for none of them.
    function test_attack_equivocationPaidForInAdvance() public eachAsset {
        launch(2);
        close(0);
        uint256 key = 0x5151;
        (Report memory a, Report memory b) = (honestReport(0), honestReport(0));
        b.lossMicro += 1;
        (bytes memory sigA, bytes memory sigB) = (signWith(key, digestOf(a)), signWith(key, digestOf(b)));
        for (uint256 i = 0; i < 2; ++i) {
            postBond(vm.addr(key), i == 0 ? 1 : BOND - 1);
            oracle.proveEquivocation(a, sigA, b, sigB);
            eq(oracle.bondOf(vm.addr(key)), 0, "what there is of the bond");
        }
        postBond(vm.addr(key), BOND);
        vm.prank(carol);
        oracle.proveEquivocation(a, sigA, b, sigB);
        eq(oracle.bondOf(vm.addr(key)), 0, "the whole bond");
        eq(oracle.owedTo(carol), BOND / 10, "to whom it is due");
        postBond(vm.addr(key), BOND);
        vm.expectRevert(ICreditOracle.AlreadyProved.selector);
        oracle.proveEquivocation(a, sigA, b, sigB);
    }

    function _equivocate(Report memory a, Report memory b) internal {
        oracle.proveEquivocation(a, signWith(signerKeys[1], digestOf(a)), b, signWith(signerKeys[1], digestOf(b)));
        eq(oracle.bondOf(vm.addr(signerKeys[1])), 0, "slashed");
        postBond(vm.addr(signerKeys[1]), BOND);
    }

    /// One transmitter names junk as the records of rounds to come: the true records still find their place in the events.
    function test_attack_junkRecords() public {
        vm.warp(T0 + 200);
        for (uint64 round = 1; round < 4; ++round) {
            vm.prank(address(0x7000));
            oracle.anchorRound(0, uint64(block.timestamp) - 1, bytes32(0), round, keccak256("junk"));
        }
        vm.warp(T0 + 900);
        vm.prank(address(0x7001));
        vm.expectEmit(true, true, true, true, address(oracle));
        emit ICreditOracle.RoundAnchored(4, 0, T0 + 899, bytes32(uint256(1)), 3, keccak256("true"), address(0x7001));
        oracle.anchorRound(4, T0 + 899, bytes32(uint256(1)), 3, keccak256("true"));
        eq(oracle.recordOf(3), keccak256("junk"), "the first is kept as the first");
    }

    /// Leaves count wages from the epoch's end on. While the asset keeps the wages from moving, nobody draws them from what others earned.
    function test_attack_wagesDrawnBeforeTheyMove() public {
        PausableToken token = new PausableToken();
        asset = address(token);
        createRun(defaultParams());
        launch(2);
        list(0, 100);
        list(1, 100);
        runEpoch(0);
        pay(10_000);
        close(1);
        token.block_(address(distributor), true);
        clearList();
        list(0, 600);
        submit(honestReport(1));
        finalizeNow(1);
        eq(campaign.wagesDue(), 6_000, "the wages of epoch 1 cannot move");
        Leaf memory leaf = tree.leaf(0);
        Sibling[] memory proof = tree.proofOf(1, 0);
        vm.expectRevert(IRevenueDistributor.WagesMissing.selector);
        distributor.claimCompute(1, leaf, proof);
        eq(distributor.claimableCompute(1, leaf), 0, "nothing for now");
        token.block_(address(distributor), false);
        campaign.payWages();
        uint256 other = distributor.claimableCompute(1, tree.leaf(1));
        eq(other, 1_000 + 3_000, "wages and revenue of the other");
        claimCompute(0);
        eq(distributor.claimableCompute(1, tree.leaf(1)), other, "are whole");
        claimCompute(1);
    }

    /// A token that calls into the run while an epoch's wages move finds books that are right, and leaves them right.
    function test_attack_tokenClosesAnEpochWhileWagesMove() public {
        MeddlingToken token = _wagesAboutToMove();
        token.meddle(address(oracle), abi.encodeCall(ICreditOracle.closeEpoch, (2)));
        oracle.finalizeEpoch(accepted);
        eq(oracle.nextEpoch(), 3, "closed in between");
        eq(campaign.wagesDue(), 0, "the wages have moved");
        claimCompute(0);
        claimCompute(1);
        eq(balance(payoutAddress(0)), 7_000 + 428, "a seventh of the later revenue");
        eq(balance(payoutAddress(1)), 6_000 + 2_571, "the rest, and the wages");
        eq(distributor.pendingCompute(), 0, "all is given out");
    }

    /// What it claims in between makes the wages fail to arrive, and so is not paid.
    function test_attack_tokenClaimsWhileWagesMove() public {
        MeddlingToken token = _wagesAboutToMove();
        bytes memory claim = abi.encodeCall(IRevenueDistributor.claimCompute, (1, tree.leaf(1), tree.proofOf(1, 1)));
        token.meddle(address(distributor), claim);
        oracle.finalizeEpoch(accepted);
        eq(balance(payoutAddress(1)), 0, "nothing out of what the other earned");
        eq(campaign.wagesDue(), 6_000, "the wages wait");
        token.meddle(address(0), "");
        vm.expectRevert(IRevenueDistributor.WagesMissing.selector);
        this.claimOfFirst();
        campaign.payWages();
        claimCompute(0);
        claimCompute(1);
        eq(balance(payoutAddress(0)), 7_000, "wages and revenue");
        eq(balance(payoutAddress(1)), 6_000, "wages");
    }

    /// Wages of an epoch that it makes final in between, and does not let move, stay due, and claims wait for them.
    function test_attack_tokenFinalisesAnEpochWhileWagesMove() public {
        MeddlingToken token = _wagesAboutToMove();
        token.meddle(address(token), "");
        oracle.finalizeEpoch(accepted);
        eq(campaign.wagesDue(), 6_000, "held back");
        close(2);
        clearList();
        list(0, 10);
        submit(honestReport(2));
        vm.warp(oracle.epochInfo(2).openUntil);
        token.alone();
        token.meddle(address(oracle), abi.encodeCall(ICreditOracle.finalizeEpoch, (accepted)));
        campaign.payWages();
        eq(campaign.wagesDue(), 100, "those of the third");
        vm.expectRevert(IRevenueDistributor.WagesMissing.selector);
        this.claimOfFirst();
        campaign.payWages();
        eq(campaign.wagesDue(), 0, "none is lost");
        claimCompute(0);
        claimCompute(1);
    }

    function claimOfFirst() external {
        claimCompute(0);
    }

    /// @dev Epoch 1 is reported and ready to be final, epoch 2 is over, and revenue waits for it.
    function _wagesAboutToMove() internal returns (MeddlingToken token) {
        token = new MeddlingToken();
        asset = address(token);
        createRun(defaultParams());
        launch(2);
        list(0, 100);
        runEpoch(0);
        pay(10_000);
        close(1);
        list(1, 600);
        submit(honestReport(1));
        pay(5_000);
        vm.warp(epochEnd(2));
    }

    /// A capital pool at the end of its range takes no debt; the debtor's other earnings go through, and the debt stays.
    function test_attack_fullPoolAgainstADebtor() public eachAsset {
        launch(1);
        list(0, 100);
        runEpoch(0);
        vm.prank(address(disputes));
        distributor.addDebt(0, 10);
        uint256 value = ready(carol, address(distributor), (1 << 127) - 1);
        vm.prank(carol);
        distributor.payCapital{value: value}((1 << 127) - 1);
        eq(distributor.claimableCompute(0, tree.leaf(0)), 990, "all but the debt");
        claimCompute(0);
        eq(distributor.debtOf(0), 10, "the debt stays");
        eq(distributor.claimedBy(0), 990, "and what would pay it");
    }

    /// In the second in which a stake may leave, nobody can doubt its credits any more.
    function test_attack_stakeLeavesWhileChallengeable() public eachAsset {
        launch(2);
        vm.prank(providerAccount(1));
        registry.exit();
        list(1, 5);
        runEpoch(0);
        vm.warp(block.timestamp + 500);
        vm.prank(providerAccount(1));
        registry.withdrawStake(0);
        uint256 value = ready(carol, address(disputes), 1_000);
        vm.prank(carol);
        vm.expectRevert(IDisputes.NotJudgeable.selector);
        disputes.challengeCredits{value: value}(0, 1, 0);
    }
}
