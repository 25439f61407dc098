// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {TreeModel} from "../support/TreeModel.sol";
import {ICreditLedger} from "../../../contracts/interfaces/ICreditLedger.sol";

/// @notice CreditLedger: proofs of leaves and what was before any report.
contract LedgerViewsTest is Base {
    function test_verifyLeafOfAnyFinalEpoch() public {
        launch(3);
        list(0, 10);
        list(1, 20);
        runEpoch(0);
        TreeModel old = newTree();
        old.copyFrom(tree);
        list(1, 5);
        runEpoch(1);
        ok(ledger.verifyLeaf(0, old.leaf(1), old.proofOf(2, 1)), "old root");
        ok(ledger.verifyLeaf(1, tree.leaf(1), tree.proofOf(2, 1)), "new root");
        ok(!ledger.verifyLeaf(1, old.leaf(1), old.proofOf(2, 1)), "not across");
        ok(ledger.verifyLeaf(1, tree.leaf(2), tree.proofOf(2, 2)), "empty leaf");
        eq(ledger.liveCredits(), 35, "live");
        eq(ledger.rootOf(1), ledger.finalEpoch(1).root, "root");
        vm.expectRevert(abi.encodeWithSelector(ICreditLedger.NotFinal.selector, 2));
        ledger.rootOf(2);
        eq(ledger.finalAt(2), 0, "not final");
    }

    function test_latestBeforeAnyReport() public view {
        (uint64 epoch, bool any, bytes32 root, uint256 sum, uint8 depth) = ledger.latest();
        eq(epoch, 0, "epoch");
        ok(!any, "none");
        eq(root, bytes32(0), "root");
        eq(sum + depth, 0, "sum and depth");
    }
}
