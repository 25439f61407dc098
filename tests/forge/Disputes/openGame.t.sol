// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {RootGameSteps} from "../support/RootGameSteps.sol";
import {IDisputes} from "../../../contracts/interfaces/IDisputes.sol";
import {Report} from "../../../contracts/interfaces/Types.sol";

/// @notice Disputes.openGame: in the original window, or within a dispute period after a default.
contract DisputesOpenGameTest is RootGameSteps {
    function test_openGameRefuses() public eachAsset {
        _honest();
        Report memory other = bad;
        other.round += 1;
        uint256 value = ready(carol, address(disputes), CHALLENGE_BOND);
        vm.prank(carol);
        vm.expectRevert(IDisputes.WrongReport.selector);
        disputes.openGame{value: value}(other);
        vm.warp(oracle.epochInfo(1).openUntil);
        vm.prank(carol);
        vm.expectRevert(IDisputes.WindowOver.selector);
        disputes.openGame{value: value}(bad);
        oracle.finalizeEpoch(accepted);
        vm.prank(carol);
        vm.expectRevert(IDisputes.NotPending.selector);
        disputes.openGame{value: value}(bad);
    }

    function test_lateGamesEndWithTheDisputePeriod() public eachAsset {
        _hide();
        uint256 game = _open(bob);
        vm.warp(block.timestamp + 20);
        disputes.timeoutAnswer(game);
        vm.warp(block.timestamp + 499);
        uint256 last = _open(dave);
        vm.warp(block.timestamp + 1);
        uint256 value = ready(carol, address(disputes), CHALLENGE_BOND);
        vm.prank(carol);
        vm.expectRevert(IDisputes.NotPending.selector);
        disputes.openGame{value: value}(bad);
        disputes.closeGame(game);
        eq(oracle.owedTo(bob), 3 * (BOND / 10), "fraud by default");
        disputes.closeGame(last);
        eq(disputes.owedTo(dave), CHALLENGE_BOND, "bond back");
    }

    /// Once a default has become fraud nothing is left to ask.
    function test_noGameOnProvenFraud() public eachAsset {
        _hide();
        uint256 game = _open(carol);
        vm.warp(block.timestamp + 20);
        disputes.timeoutAnswer(game);
        _answer(6, 0);
        _descend(game, 6, 0, 16);
        _answer(1, 16);
        _prove(33);
        uint256 value = ready(bob, address(disputes), CHALLENGE_BOND);
        vm.prank(bob);
        vm.expectRevert(IDisputes.NotPending.selector);
        disputes.openGame{value: value}(bad);
    }
}
