// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {DisputeSteps} from "../support/DisputeSteps.sol";
import {TreeModel} from "../support/TreeModel.sol";
import {IDisputes} from "../../../contracts/interfaces/IDisputes.sol";
import {Leaf, Report, Sibling} from "../../../contracts/interfaces/Types.sol";

/// @notice Disputes.proveWrongLeaf: true reports stand; the attacks on a tree are in attacks/FalseTree.t.sol.
contract DisputesProveWrongLeafTest is DisputeSteps {
    function test_honestReportStands() public {
        _prepare(4);
        _submitLie(12);
        for (uint32 i = 0; i < 4; ++i) {
            _notFraud(i);
        }
        vm.expectRevert(IDisputes.NotFraud.selector);
        disputes.proveBadList(bad, badList, 0);
        vm.expectRevert(IDisputes.NotFraud.selector);
        disputes.proveBadList(bad, badList, 1);
        vm.expectRevert(IDisputes.NotFraud.selector);
        disputes.proveBadList(bad, badList, 2);
        finalizeNow(1);
    }

    /// A sum without a leaf, or beside a right leaf's hash, is as wrong as a wrong leaf.
    function test_sumThatIsNotTheLeafs() public {
        _prepare(4);
        uint256 snapshot = vm.snapshotState();
        TreeModel.Account memory a = lie.account(0);
        lie.put(0, a.provider, a.C - 3, a.D, a.W);
        lie.forge(3, 0, 3);
        _submitLie(12);
        _prove(3);
        _fell();
        vm.revertToState(snapshot);
        lie.forge(1, lie.leafNode(1).hash, lie.leafNode(1).sum + 3);
        lie.put(0, a.provider, a.C - 3, a.D, a.W);
        _submitLie(12);
        _prove(1);
        _fell();
    }

    function test_proofsMustBeOnThePendingReport() public {
        _prepare(4);
        _submitLie(12);
        Report memory other = bad;
        other.lossMicro += 1;
        Sibling memory at = lie.leafNode(0);
        Sibling[] memory proof = lie.proofOf(2, 0);
        Sibling[] memory lastProof = before.proofOf(2, 0);
        Leaf memory last = before.leaf(0);
        vm.expectRevert(IDisputes.WrongReport.selector);
        disputes.proveWrongLeaf(other, badList, 0, at.hash, at.sum, proof, last, lastProof);
        vm.expectRevert(IDisputes.WrongList.selector);
        disputes.proveWrongLeaf(bad, "", 0, at.hash, at.sum, proof, last, lastProof);
        vm.expectRevert(IDisputes.WrongList.selector);
        disputes.proveBadList(bad, "", 0);
        vm.expectRevert(IDisputes.InvalidProof.selector);
        disputes.proveWrongLeaf(bad, badList, 0, at.hash, at.sum + 1, proof, last, lastProof);
        vm.expectRevert(IDisputes.InvalidProof.selector);
        disputes.proveWrongLeaf(bad, badList, 4, 0, 0, new Sibling[](0), Leaf(4, address(0), 0, 0, 0), new Sibling[](0));
        Leaf memory another = before.leaf(1);
        Sibling[] memory anotherProof = before.proofOf(2, 1);
        vm.expectRevert(IDisputes.InvalidProof.selector);
        disputes.proveWrongLeaf(bad, badList, 0, at.hash, at.sum, proof, another, anotherProof);
        last.C += 1;
        vm.expectRevert(IDisputes.InvalidProof.selector);
        disputes.proveWrongLeaf(bad, badList, 0, at.hash, at.sum, proof, last, lastProof);
        finalizeNow(1);
        last.C -= 1;
        vm.expectRevert(IDisputes.NotPending.selector);
        disputes.proveWrongLeaf(bad, badList, 0, at.hash, at.sum, proof, last, lastProof);
    }

    /// No honest report falls, whatever the credits are and however the pools stand.
    function test_noHonestReportFalls(uint32[4] memory credits, uint64 revenue) public {
        launch(4);
        for (uint32 i = 0; i < 4; ++i) {
            if (credits[i] % 250_000 != 0) list(i, uint64(credits[i] % 250_000));
        }
        runEpoch(0);
        pay(uint256(revenue) + 1);
        close(1);
        before = newTree();
        before.copyFrom(tree);
        for (uint32 i = 0; i < 4; i += 2) {
            if (credits[i + 1] % 250_000 != 0) list(i, uint64(credits[i + 1] % 250_000));
        }
        Report memory r = honestReport(1);
        lie = tree;
        bad = r;
        badList = packedList();
        submit(r);
        for (uint32 i = 0; i < 4; ++i) {
            _notFraud(i);
        }
    }

    /// The work of a voided epoch can be credited in the next one, and history goes on from the last final root.
    function test_nextEpochGoesOnFromTheLastFinalRoot() public {
        _prepare(4);
        TreeModel.Account memory a = lie.account(0);
        lie.put(0, alice, a.C, a.D, a.W);
        _submitLie(12);
        _prove(0);
        tree.copyFrom(before);
        postBonds();
        runEpochAgain();
    }

    function runEpochAgain() internal {
        close(2);
        submit(honestReport(2));
        finalizeNow(2);
        eq(ledger.liveCredits(), 72, "60 of epoch 0 and the 12 carried over");
    }
}
