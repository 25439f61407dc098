// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "./Base.sol";
import {TreeModel} from "./TreeModel.sol";
import {IDisputes} from "../../../contracts/interfaces/IDisputes.sol";
import {EpochState, Leaf, Report, Sibling} from "../../../contracts/interfaces/Types.sol";

/// @notice Steps that the dispute tests share: an honest history of one epoch, then a report that may lie.
abstract contract DisputeSteps is Base {
    TreeModel internal before;
    TreeModel internal lie;
    Report internal bad;
    bytes internal badList;

    /// @dev Epoch 0 is honest and final: index i has 10 * (i + 1) credits. Epoch 1 is closed; `lie` starts as the true tree of epoch 1
    /// for the list {0: 5, 2: 7}.
    function _prepare(uint32 providers) internal {
        launch(providers);
        _history();
    }

    function _history() internal {
        for (uint32 i = 0; i < 3; ++i) {
            list(i, 10 * (i + 1));
        }
        runEpoch(0);
        pay(1_000);
        close(1);
        before = newTree();
        before.copyFrom(tree);
        list(0, 5);
        list(2, 7);
        honestReport(1);
        lie = newTree();
        lie.copyFrom(tree);
    }

    /// @dev Submits a report on `lie` that claims the list's sum, whatever the tree really holds.
    function _submitLie(uint64 credits) internal {
        bad = reportOn(1, lie, credits);
        badList = packedList();
        submitWith(bad, badList, signAll(digestOf(bad), 3));
    }

    function _prove(uint32 index) internal {
        vm.startPrank(carol);
        _proveCall(index);
        vm.stopPrank();
    }

    function _proveCall(uint32 index) internal {
        Sibling memory at = lie.leafNode(index);
        Sibling[] memory proof = lie.proofOf(bad.depth, index);
        uint8 oldDepth = ledger.finalEpoch(0).depth;
        Sibling[] memory lastProof = index >> oldDepth == 0 ? before.proofOf(oldDepth, index) : new Sibling[](0);
        disputes.proveWrongLeaf(bad, badList, index, at.hash, at.sum, proof, before.leaf(index), lastProof);
    }

    function _fell() internal view {
        eq(uint256(oracle.epochInfo(1).state), uint256(EpochState.Void), "void");
        _slashed();
    }

    function _slashed() internal view {
        for (uint256 i = 0; i < 3; ++i) {
            eq(oracle.bondOf(vm.addr(signerKeys[i])), 0, "signer lost its bond");
        }
        eq(oracle.bondOf(vm.addr(signerKeys[3])), BOND, "who did not sign keeps it");
        eq(oracle.owedTo(carol), 3 * (BOND / 10), "a tenth to the prover");
        eq(oracle.owedTo(address(distributor)), 3 * (BOND - BOND / 10), "the rest to the capital pool");
    }

    function _notFraud(uint32 index) internal {
        Sibling memory at = lie.leafNode(index);
        Sibling[] memory proof = lie.proofOf(bad.depth, index);
        uint8 oldDepth = ledger.finalEpoch(0).depth;
        Sibling[] memory lastProof = index >> oldDepth == 0 ? before.proofOf(oldDepth, index) : new Sibling[](0);
        Leaf memory last = before.leaf(index);
        vm.expectRevert(IDisputes.NotFraud.selector);
        disputes.proveWrongLeaf(bad, badList, index, at.hash, at.sum, proof, last, lastProof);
    }
}
