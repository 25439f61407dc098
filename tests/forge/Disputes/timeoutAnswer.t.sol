// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {RootGameSteps} from "../support/RootGameSteps.sol";
import {IDisputes} from "../../../contracts/interfaces/IDisputes.sol";
import {EpochState} from "../../../contracts/interfaces/Types.sol";

/// @notice Disputes.timeoutAnswer: no answer in time voids at once.
contract DisputesTimeoutAnswerTest is RootGameSteps {
    function test_lateAnswersClearAnHonestReport() public eachAsset {
        vm.fee(0);
        _honest();
        uint256 game = _open(carol);
        vm.warp(block.timestamp + 20);
        disputes.timeoutAnswer(game);
        vm.warp(block.timestamp + 400);
        _answer(6, 0);
        vm.expectRevert(IDisputes.TooEarly.selector);
        disputes.closeGame(game);
        _descend(game, 6, 0, 0);
        _answer(1, 0);
        _notFraud(0);
        vm.warp(block.timestamp + 20);
        disputes.closeGame(game);
        eq(oracle.bondOf(vm.addr(signerKeys[0])), BOND, "no fraud");
        eq(disputes.owedTo(carol), 0, "the challenger lost");
        eq(uint256(oracle.epochInfo(1).state), uint256(EpochState.Void), "void all the same");
    }

    /// The dispute period counts from the void, however late that was called.
    function test_aLateDefaultLeavesTheWholePeriodToAnswer() public eachAsset {
        _honest();
        uint256 game = _open(carol);
        vm.warp(block.timestamp + 39);
        disputes.timeoutAnswer(game);
        vm.warp(block.timestamp + 499);
        vm.expectRevert(IDisputes.TooEarly.selector);
        disputes.closeGame(game);
        _answer(6, 0);
        vm.warp(block.timestamp + 20);
        disputes.closeGame(game);
        eq(oracle.bondOf(vm.addr(signerKeys[0])), BOND, "no fraud");
    }

    /// A question that nobody defaulted on before the report was final costs nobody anything.
    function test_unansweredButFinalReturnsTheBond() public eachAsset {
        _honest();
        uint256 game = _open(carol);
        vm.warp(oracle.epochInfo(1).openUntil);
        oracle.finalizeEpoch(accepted);
        vm.expectRevert(IDisputes.NotPending.selector);
        disputes.timeoutAnswer(game);
        disputes.closeGame(game);
        eq(disputes.owedTo(carol), CHALLENGE_BOND, "bond back");
    }
}
