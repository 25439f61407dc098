// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {DisputeSteps} from "../support/DisputeSteps.sol";
import {TreeModel} from "../support/TreeModel.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";
import {EpochInfo, Report} from "../../../contracts/interfaces/Types.sol";

/// @notice Attacks on the tree: whatever is false in it is one wrong leaf, and falls.
contract FalseTreeAttackTest is DisputeSteps {
    function test_attack_omission() public {
        _prepare(4);
        TreeModel.Account memory a = before.account(2);
        lie.put(2, a.provider, a.C, a.D, a.W);
        TreeModel.Account memory b = lie.account(0);
        lie.put(0, b.provider, b.C + 7, b.D, b.W);
        _submitLie(12);
        _prove(2);
        _fell();
    }

    function test_attack_omissionOfHistory() public {
        _prepare(4);
        lie.put(1, address(0), 0, 0, 0);
        TreeModel.Account memory b = lie.account(0);
        lie.put(0, b.provider, b.C + 20, b.D, b.W);
        _submitLie(12);
        _prove(1);
        _fell();
    }

    function test_attack_alteredHistory() public {
        _prepare(4);
        TreeModel.Account memory a = lie.account(1);
        lie.put(1, a.provider, a.C + 1, a.D, a.W);
        TreeModel.Account memory b = lie.account(0);
        lie.put(0, b.provider, b.C - 1, b.D, b.W);
        _submitLie(12);
        _prove(1);
        _fell();
    }

    function test_attack_wrongProvider() public {
        _prepare(4);
        TreeModel.Account memory a = lie.account(0);
        lie.put(0, alice, a.C, a.D, a.W);
        _submitLie(12);
        _prove(0);
        _fell();
    }

    function test_attack_debtWithNoNewCredits() public {
        _prepare(4);
        TreeModel.Account memory a = lie.account(1);
        lie.put(1, a.provider, a.C, a.D + 1, a.W);
        _submitLie(12);
        _prove(1);
        _fell();
    }

    function test_attack_wageWithNoNewCredits() public {
        _prepare(4);
        TreeModel.Account memory a = lie.account(1);
        lie.put(1, a.provider, a.C, a.D, a.W + 1);
        _submitLie(12);
        _prove(1);
        _fell();
    }

    function test_attack_lowerDebtOfNewCredits() public {
        _prepare(4);
        TreeModel.Account memory a = lie.account(2);
        lie.put(2, a.provider, a.C, a.D - 1, a.W);
        _submitLie(12);
        _prove(2);
        _fell();
    }

    function test_attack_unregisteredIndex() public {
        _prepare(4);
        clearList();
        list(0, 5);
        list(2, 6);
        list(9, 1);
        TreeModel.Account memory a = lie.account(2);
        EpochInfo memory info = oracle.epochInfo(1);
        uint256 wage = wageModel(info.unlockedEscrow, 12);
        lie.put(2, a.provider, a.C - 1, a.D - info.acc, a.W - wage);
        lie.put(3, providerAccount(3), 1, 0, 0);
        _submitLie(12);
        // Index 9 lies beyond the tree; the leaf that carries its credits is the wrong one.
        _prove(3);
        _fell();
    }

    /// An index that has room in the tree but no provider can never be right once it is listed.
    function test_attack_unregisteredIndexWithinTheTree() public {
        _prepare(3);
        clearList();
        list(0, 5);
        list(2, 6);
        list(3, 1);
        TreeModel.Account memory a = lie.account(2);
        EpochInfo memory info = oracle.epochInfo(1);
        uint256 wage = wageModel(info.unlockedEscrow, 12);
        lie.put(2, a.provider, a.C - 1, a.D - info.acc, a.W - wage);
        lie.put(3, address(0), 1, info.acc, wage);
        _submitLie(12);
        _prove(3);
        _fell();
    }

    function test_attack_registeredAfterTheClose() public {
        _prepare(3);
        registerOne(3);
        clearList();
        list(0, 5);
        list(2, 6);
        list(3, 1);
        TreeModel.Account memory a = lie.account(2);
        EpochInfo memory info = oracle.epochInfo(1);
        uint256 wage = wageModel(info.unlockedEscrow, 12);
        lie.put(2, a.provider, a.C - 1, a.D - info.acc, a.W - wage);
        lie.put(3, providerAccount(3), 1, info.acc, wage);
        _submitLie(12);
        _prove(3);
        _fell();
    }

    function test_attack_listedSumThatTheTreeDoesNotHold() public {
        _prepare(4);
        // The list says 12, the report 20: some leaf has the difference.
        TreeModel.Account memory a = lie.account(3);
        lie.put(3, providerAccount(3), a.C + 8, 0, 0);
        _submitLie(20);
        _prove(3);
        _fell();
    }

    /// An index that has no place in the tree, left out of the sum too, so that no leaf is wrong: the list is false by that entry.
    function test_attack_listedIndexBeyondTheTree() public {
        _prepare(4);
        list(9, 1);
        _submitLie(12);
        vm.prank(carol);
        disputes.proveBadList(bad, badList, 2);
        _fell();
    }

    /// A smaller tree would drop providers, a larger one would hide leaves out of reach: the contract computes the depth.
    function test_attack_otherDepth() public {
        _prepare(4);
        Report memory r = reportOn(1, lie, 12);
        bytes memory credits = packedList();
        for (uint8 depth = 0; depth < 5; ++depth) {
            if (depth == 2) continue;
            r.depth = depth;
            if (depth != 0) (r.root,) = lie.rootOf(depth);
            bytes[] memory sigs = signAll(digestOf(r), 3);
            vm.expectRevert(abi.encodeWithSelector(ICreditOracle.WrongDepth.selector, 2));
            oracle.submitReport(r, credits, sigs);
        }
    }
}
