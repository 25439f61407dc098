// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {TreeModel} from "../support/TreeModel.sol";
import {ICreditLedger} from "../../../contracts/interfaces/ICreditLedger.sol";
import {IRevenueDistributor} from "../../../contracts/interfaces/IRevenueDistributor.sol";
import {Leaf, Sibling} from "../../../contracts/interfaces/Types.sol";

/// @notice RevenueDistributor.claimCompute: what a leaf has earned, by any final root.
contract DistributorClaimComputeTest is Base {
    function test_oneProofCoversManyEpochs() public eachAsset {
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

    function test_claimOnAnOldRoot() public eachAsset {
        launch(2);
        list(0, 10);
        list(1, 10);
        runEpoch(0);
        TreeModel old = newTree();
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

    function test_claimRefusesFalseLeaves() public eachAsset {
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
    function test_leafOutOfRangeIsRefused() public eachAsset {
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
    function test_computePoolNeverPaysMoreThanItReceived() public eachAsset {
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

    function test_debtIsPaidFirst() public eachAsset {
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

    function test_revokedCreditsEarnNoMore() public eachAsset {
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

    function test_rootOlderThanARevocationIsRefused() public eachAsset {
        launch(1);
        list(0, 10);
        runEpoch(0);
        TreeModel old = newTree();
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

    /// The pool is bounded over all claims together.
    function test_secondClaimBeyondThePoolGetsNothing() public eachAsset {
        launch(2);
        tree.put(0, providerAccount(0), 500_000, 0, uint256(500_000) * 10 << 64);
        tree.put(1, providerAccount(1), 500_000, 0, uint256(500_000) * 10 << 64);
        list(0, 1_000);
        _force(0, tree, 1_000_000);
        uint256 received = distributor.computeReceived();
        claimCompute(0);
        eq(balance(payoutAddress(0)), received, "all that was given out");
        Leaf memory leaf = tree.leaf(1);
        Sibling[] memory proof = tree.proofOf(1, 1);
        vm.expectRevert(IRevenueDistributor.NothingDue.selector);
        distributor.claimCompute(0, leaf, proof);
    }

    /// A debt leaves one unit, or nothing that would have to be sent.
    function test_whatADebtLeaves() public {
        launch(2);
        list(0, 100);
        list(1, 100);
        runEpoch(0);
        vm.startPrank(address(disputes));
        distributor.addDebt(0, 999);
        distributor.addDebt(1, 1_000);
        vm.stopPrank();
        claimCompute(0);
        eq(balance(payoutAddress(0)), 1, "one unit");
        vm.etch(payoutAddress(1), address(ledger).code);
        claimCompute(1);
        eq(distributor.debtOf(1), 0, "paid by who can receive nothing");
    }

    /// A debt that would fill the capital pool to its end waits.
    function test_debtOfOneUnitAgainstAPoolWithRoomForNone() public eachAsset {
        launch(1);
        list(0, 100);
        runEpoch(0);
        vm.prank(address(disputes));
        distributor.addDebt(0, 1);
        uint256 value = ready(carol, address(distributor), (1 << 127) - 1);
        vm.prank(carol);
        distributor.payCapital{value: value}((1 << 127) - 1);
        claimCompute(0);
        eq(balance(payoutAddress(0)), 999, "the rest");
        eq(distributor.debtOf(0), 1, "waits");
    }

    /// Convictions by a false list can revoke more than a leaf holds: nothing is paid on it, by name.
    function test_moreRevokedThanTheLeafHolds() public eachAsset {
        launch(1);
        list(0, 10);
        runEpoch(0);
        vm.prank(address(disputes));
        ledger.revoke(0, 0, 11, 0);
        Leaf memory leaf = tree.leaf(0);
        Sibling[] memory proof = tree.proofOf(1, 0);
        vm.expectRevert(IRevenueDistributor.LeafOutOfRange.selector);
        distributor.claimCompute(0, leaf, proof);
    }
}
