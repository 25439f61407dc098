// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {DisputeSteps} from "../support/DisputeSteps.sol";
import {IDisputes} from "../../../contracts/interfaces/IDisputes.sol";
import {Report} from "../../../contracts/interfaces/Types.sol";

/// @notice Disputes.proveBadList: a malformed list is fraud by its position.
contract DisputesProveBadListTest is DisputeSteps {
    function test_badListsFallByPosition() public {
        _prepare(4);
        uint256 snapshot = vm.snapshotState();
        listIndices[1] = 0;
        _listFalls(1);
        vm.revertToState(snapshot);
        listCredits[1] = 0;
        _listFalls(1);
        vm.revertToState(snapshot);
        listCredits[0] = 0;
        _listFalls(0);
        vm.revertToState(snapshot);
        bad = reportOn(1, lie, 12);
        badList = abi.encodePacked(packedList(), uint8(1));
        bad.creditsHash = keccak256(badList);
        submitWith(bad, badList, signAll(digestOf(bad), 3));
        vm.prank(carol);
        disputes.proveBadList(bad, badList, 77);
        _fell();
    }

    function _listFalls(uint256 position) internal {
        _submitLie(12);
        vm.prank(carol);
        disputes.proveBadList(bad, badList, position);
        _fell();
    }

    /// An index beyond the tree, with credits that the sum leaves out, makes no leaf wrong: the entry itself is the fraud.
    function test_unregisteredIndexFallsByItsPosition() public {
        _prepare(4);
        uint256 snapshot = vm.snapshotState();
        list(4, 5);
        _listFalls(listIndices.length - 1);
        vm.revertToState(snapshot);
        list(1_000, 5);
        _listFalls(listIndices.length - 1);
    }

    function test_goodListsStand() public {
        _prepare(4);
        _submitLie(12);
        for (uint256 i = 0; i < 3; ++i) {
            vm.expectRevert(IDisputes.NotFraud.selector);
            disputes.proveBadList(bad, badList, i);
        }
        vm.expectRevert(IDisputes.WrongList.selector);
        disputes.proveBadList(bad, "", 0);
        Report memory other = bad;
        other.round += 1;
        vm.expectRevert(IDisputes.WrongReport.selector);
        disputes.proveBadList(other, badList, 0);
    }
}
