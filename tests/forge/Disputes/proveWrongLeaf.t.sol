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

    /// A place of the tree that no provider has is rightly empty.
    function test_emptyPlaceBeyondTheProvidersStands() public {
        _prepare(3);
        _submitLie(12);
        _notFraud(3);
    }

    /// Before its first credits an index has no leaf, and whoever claims a debt or wages for it proves nothing.
    function test_inventedHistoryOfAnEmptyLeafProvesNothing() public {
        _prepare(4);
        list(3, 4);
        lie.add(3, providerAccount(3), 4, oracle.epochInfo(1).acc, uint256(10) << 64);
        _submitLie(16);
        Sibling memory at = lie.leafNode(3);
        Sibling[] memory proof = lie.proofOf(2, 3);
        Sibling[] memory lastProof = before.proofOf(2, 3);
        vm.expectRevert(IDisputes.NotFraud.selector);
        disputes.proveWrongLeaf(bad, badList, 3, at.hash, at.sum, proof, Leaf(3, address(0xBAD), 0, 5, 7), lastProof);
    }

    /// A false leaf that became final, made so large that the right sum wraps, does not keep the next report from falling.
    function test_historyThatWrapsStillFalls() public {
        launch(4);
        close(0);
        list(0, 10);
        before = newTree();
        before.put(0, providerAccount(0), 10, type(uint256).max, type(uint256).max);
        submitWith(reportOn(0, before, 10), packedList(), signAll(digestOf(reportOn(0, before, 10)), 3));
        finalizeNow(0);
        clearList();
        pay(1_000);
        close(1);
        list(0, 5);
        lie = newTree();
        lie.put(0, providerAccount(0), 15, 0, 0);
        _submitLie(5);
        _prove(0);
        _fell();
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

    /// Before any final epoch every last leaf is empty, and its proof too.
    function test_firstReportOfARun() public {
        launch(4);
        lapseEpoch(0);
        close(1);
        list(0, 5);
        list(2, 7);
        honestReport(1);
        lie = newTree();
        lie.copyFrom(tree);
        TreeModel.Account memory a = lie.account(0);
        lie.put(0, a.provider, a.C - 3, a.D, a.W);
        lie.put(1, providerAccount(1), 3, 0, 0);
        _submitLie(12);
        Sibling memory at = lie.leafNode(1);
        Sibling[] memory proof = lie.proofOf(bad.depth, 1);
        Leaf memory full = lie.leaf(1);
        Leaf memory empty = Leaf(1, address(0), 0, 0, 0);
        vm.expectRevert(IDisputes.InvalidProof.selector);
        disputes.proveWrongLeaf(bad, badList, 1, at.hash, at.sum, proof, full, new Sibling[](0));
        vm.expectRevert(IDisputes.InvalidProof.selector);
        disputes.proveWrongLeaf(bad, badList, 1, at.hash, at.sum, proof, empty, proof);
        vm.prank(carol);
        disputes.proveWrongLeaf(bad, badList, 1, at.hash, at.sum, proof, empty, new Sibling[](0));
        _fell();
    }

    /// @dev Index 0 has earlier debt and wages and new credits, 1 has no new ones, 2 has wages alone, 3 has nothing.
    function _withHistory() internal {
        launch(4);
        for (uint32 i = 0; i < 3; ++i) {
            list(i, 10 * (i + 1));
        }
        runEpoch(0);
        pay(1_000);
        list(0, 5);
        list(1, 7);
        runEpoch(1);
        pay(700);
        close(2);
        before = newTree();
        before.copyFrom(tree);
        list(0, 3);
        honestReport(2);
        lie = newTree();
        lie.copyFrom(tree);
    }

    function _submitThird() internal {
        bad = reportOn(2, lie, 3);
        badList = packedList();
        submitWith(bad, badList, signAll(digestOf(bad), 3));
    }

    function test_earlierDebtAndWagesAreNoFraud() public {
        _withHistory();
        ok(before.leaf(0).D != 0 && before.leaf(1).D != 0 && before.leaf(2).W != 0, "a history");
        _submitThird();
        for (uint32 i = 0; i < 4; ++i) {
            _notFraud(i);
        }
    }

    /// Debt and wages add to what was there: neither may be lost, with new credits or without.
    function test_lostDebtAndWagesAreFraud() public {
        _withHistory();
        uint256 snapshot = vm.snapshotState();
        for (uint32 i = 0; i < 4; ++i) {
            uint32 index = i / 2;
            TreeModel.Account memory a = lie.account(index);
            if (i % 2 == 0) lie.put(index, a.provider, a.C, a.D - before.leaf(index).D, a.W);
            else lie.put(index, a.provider, a.C, a.D, a.W - before.leaf(index).W);
            _submitThird();
            _prove(index);
            _slashed();
            vm.revertToState(snapshot);
        }
    }
}
