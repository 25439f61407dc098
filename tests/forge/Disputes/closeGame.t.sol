// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {RootGameSteps} from "../support/RootGameSteps.sol";
import {IDisputes} from "../../../contracts/interfaces/IDisputes.sol";
import {Sibling} from "../../../contracts/interfaces/Types.sol";

/// @notice Disputes.closeGame: who lost, and where the bond goes.
contract DisputesCloseGameTest is RootGameSteps {
    function test_silentChallengerLosesAndAnswersArePaid() public eachAsset {
        vm.fee(1);
        _honest();
        uint256 game = _open(carol);
        _answer(6, 0);
        vm.warp(block.timestamp + 19);
        vm.expectRevert(IDisputes.TooEarly.selector);
        disputes.closeGame(game);
        vm.warp(block.timestamp + 1);
        Sibling[] memory d = lie.descendants(6, 0, 5);
        vm.prank(carol);
        vm.expectRevert(IDisputes.TooLate.selector);
        disputes.descend(game, d, 0);
        disputes.closeGame(game);
        // The gas is worth more than half of this small bond: the answerer gets that half.
        eq(disputes.owedTo(dave), asset == address(0) ? 500 : 125, "answerer");
        eq(disputes.owedTo(address(distributor)), asset == address(0) ? 500 : 875, "capital pool");
        disputes.payOwed(address(distributor));
        vm.warp(oracle.epochInfo(1).openUntil);
        oracle.finalizeEpoch(accepted);
    }

    function test_noGameWithoutItsNumber() public eachAsset {
        vm.expectRevert(IDisputes.GameOver.selector);
        disputes.closeGame(1);
        vm.expectRevert(IDisputes.GameOver.selector);
        disputes.timeoutAnswer(1);
    }
}
