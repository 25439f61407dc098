// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {RootGameSteps} from "../support/RootGameSteps.sol";
import {TreeModel} from "../support/TreeModel.sol";
import {IDisputes} from "../../../contracts/interfaces/IDisputes.sol";
import {Sibling} from "../../../contracts/interfaces/Types.sol";

/// @notice Disputes.answerNode: descendants that hash and sum to what was asked, in time.
contract DisputesAnswerNodeTest is RootGameSteps {
    function test_answersMustHashAndSum() public eachAsset {
        _honest();
        uint256 game = _open(carol);
        bytes32 digest = digestOf(bad);
        Sibling[] memory d = lie.descendants(6, 0, 5);
        vm.expectRevert(IDisputes.UnknownNode.selector);
        disputes.answerNode(digest, 1, 0, d);
        d[3].sum += 1;
        vm.expectRevert(IDisputes.WrongAnswer.selector);
        disputes.answerNode(digest, 6, 0, d);
        vm.expectRevert(IDisputes.WrongAnswer.selector);
        disputes.answerNode(digest, 6, 0, new Sibling[](16));
        // Fewer levels would fold to the same root, and name other places.
        Sibling[] memory near = lie.descendants(6, 0, 1);
        vm.expectRevert(IDisputes.WrongAnswer.selector);
        disputes.answerNode(digest, 6, 0, near);
        d[3].sum -= 1;
        d[3].hash ^= bytes32(uint256(1));
        vm.expectRevert(IDisputes.WrongAnswer.selector);
        disputes.answerNode(digest, 6, 0, d);
        d[3].hash ^= bytes32(uint256(1));
        vm.prank(carol);
        vm.expectRevert(IDisputes.NotAnswered.selector);
        disputes.descend(game, d, 0);
        disputes.answerNode(digest, 6, 0, d);
        vm.startPrank(carol);
        vm.expectRevert(IDisputes.WrongAnswer.selector);
        disputes.descend(game, d, 32);
        d[0].hash = 0;
        vm.expectRevert(IDisputes.WrongAnswer.selector);
        disputes.descend(game, d, 0);
        vm.stopPrank();
        _descend(game, 6, 0, 3);
        (, address challenger, uint8 level, uint32 position,, bool closed) = disputes.gameAt(game);
        eq(challenger, carol, "challenger");
        eq(level, 1, "level");
        eq(position, 3, "position");
        ok(!closed, "open");
        (, uint256 sum, uint64 askedAt, uint64 answeredAt,, address answerer) = disputes.nodeAt(digest, 6, 0);
        eq(sum, bad.sum, "root's sum");
        eq(askedAt, answeredAt, "same block");
        eq(answerer, address(this), "answerer");
        _answer(1, 3);
        Sibling[] memory leaves = lie.descendants(1, 3, 1);
        vm.prank(carol);
        vm.expectRevert(IDisputes.AtLeaf.selector);
        disputes.descend(game, leaves, 0);
    }

    /// A root that commits to other sums than its leaves have cannot be answered.
    function test_rootWhoseSumIsNotItsLeavesCannotBeAnswered() public eachAsset {
        _prepare(40);
        TreeModel.Account memory a = lie.account(0);
        lie.put(0, a.provider, a.C + 1, a.D, a.W);
        _submitLie(12);
        uint256 game = _open(carol);
        vm.expectRevert(IDisputes.WrongAnswer.selector);
        this.answerAgain();
        vm.warp(block.timestamp + 20);
        disputes.timeoutAnswer(game);
        vm.warp(block.timestamp + 500);
        disputes.closeGame(game);
        _slashed();
    }

    function test_tooLateToAnswer() public eachAsset {
        _honest();
        _open(carol);
        vm.warp(block.timestamp + 20);
        vm.expectRevert(IDisputes.TooLate.selector);
        this.answerAgain();
    }

    function test_oneAnswerServesAllGames() public eachAsset {
        vm.fee(0);
        _hide();
        uint256 first = _open(carol);
        _answer(6, 0);
        uint256 second = _open(alice);
        vm.expectRevert(IDisputes.AlreadyAnswered.selector);
        this.answerAgain();
        _descend(first, 6, 0, 16);
        Sibling[] memory d = lie.descendants(6, 0, 5);
        vm.prank(carol);
        vm.expectRevert(IDisputes.NotChallenger.selector);
        disputes.descend(second, d, 16);
        vm.prank(alice);
        disputes.descend(second, d, 16);
        _answer(1, 16);
        _prove(33);
        disputes.closeGame(first);
        disputes.closeGame(second);
        eq(disputes.owedTo(carol), CHALLENGE_BOND, "both bonds come back");
        eq(disputes.owedTo(alice), CHALLENGE_BOND, "both bonds come back");
    }

    /// A question of the dispute period's last seconds has its whole time, beyond that period.
    function test_lateQuestionHasItsTime() public eachAsset {
        _hide();
        uint256 game = _open(carol);
        vm.warp(block.timestamp + 20);
        disputes.timeoutAnswer(game);
        uint256 voidedAt = block.timestamp;
        vm.warp(voidedAt + 490);
        _answer(6, 0);
        vm.warp(voidedAt + 495);
        _descend(game, 6, 0, 16);
        vm.warp(voidedAt + 514);
        _answer(1, 16);
        (,,, uint64 answeredAt,,) = disputes.nodeAt(digestOf(bad), 1, 16);
        eq(answeredAt, voidedAt + 514, "in time");
    }
}
