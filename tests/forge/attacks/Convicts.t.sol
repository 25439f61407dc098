// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {CreditDisputeSteps} from "../support/CreditDisputeSteps.sol";
import {TreeModel} from "../support/TreeModel.sol";
import {IProviderRegistry} from "../../../contracts/interfaces/IProviderRegistry.sol";
import {IRevenueDistributor} from "../../../contracts/interfaces/IRevenueDistributor.sol";
import {Leaf, Report, Sibling} from "../../../contracts/interfaces/Types.sol";

/// @notice Attacks by providers that are judged.
contract ConvictAttackTest is CreditDisputeSteps {
    function test_attack_claimBeforeConviction() public eachAsset {
        finalizeNow(0);
        claimCompute(0);
        _challenge(0, 0);
        _judge(0, 0, true);
        disputes.enforceVerdict(good, goodList, 0);
        eq(distributor.debtOf(0), 600, "debt remains");
        list(0, 100);
        close(1);
        submit(honestReport(1));
        finalizeNow(1);
        claimCompute(0);
        eq(balance(payoutAddress(0)), 600 + 400, "later wages pay the debt first");
        eq(distributor.capitalReceived(), 600, "to the capital pool");
    }

    /// A stake cannot leave while a challenge is open, however long the exit is past.
    function test_attack_exitWhileChallenged() public eachAsset {
        finalizeNow(0);
        vm.prank(providerAccount(0));
        registry.exit();
        list(1, 5);
        close(1);
        submit(honestReport(1));
        finalizeNow(1);
        _challenge(1, 0);
        vm.warp(block.timestamp + 2_000);
        vm.prank(providerAccount(0));
        vm.expectRevert(IProviderRegistry.StakeLocked.selector);
        registry.withdrawStake(1);
    }

    /// Claiming on a root from before a conviction is refused.
    function test_attack_claimOnARootBeforeTheConviction() public eachAsset {
        finalizeNow(0);
        TreeModel old = newTree();
        old.copyFrom(tree);
        list(0, 30);
        close(1);
        Report memory second = honestReport(1);
        bytes memory secondList = packedList();
        submit(second);
        finalizeNow(1);
        _challenge(1, 0);
        _judge(1, 0, true);
        disputes.enforceVerdict(second, secondList, 0);
        Leaf memory leaf = old.leaf(0);
        Sibling[] memory proof = old.proofOf(1, 0);
        vm.expectRevert(abi.encodeWithSelector(IRevenueDistributor.RootTooOld.selector, 1));
        distributor.claimCompute(0, leaf, proof);
        claimCompute(0);
        eq(balance(payoutAddress(0)), 600, "what epoch 0 earned; the wages of epoch 1 are the debt");
    }
}
