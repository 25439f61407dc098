// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {RootGameSteps} from "../support/RootGameSteps.sol";
import {IDisputes} from "../../../contracts/interfaces/IDisputes.sol";
import {Sibling} from "../../../contracts/interfaces/Types.sol";

/// @notice Disputes.descend: the challenger goes on, in time and on a report that stands.
contract DisputesDescendTest is RootGameSteps {
    /// A game on a report that fell cannot hold up the next one.
    function test_noMoveOnAFallenReport() public eachAsset {
        _hide();
        uint256 game = _open(carol);
        _answer(6, 0);
        vm.expectRevert(IDisputes.AlreadyAnswered.selector);
        disputes.timeoutAnswer(game);
        _prove(33);
        Sibling[] memory d = lie.descendants(6, 0, 5);
        vm.prank(carol);
        vm.expectRevert(IDisputes.NotPending.selector);
        disputes.descend(game, d, 16);
        disputes.closeGame(game);
        eq(disputes.owedTo(carol), CHALLENGE_BOND, "bond back");
    }
}
