// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {RootGameSteps} from "../support/RootGameSteps.sol";
import {IDisputes} from "../../../contracts/interfaces/IDisputes.sol";
import {RunParams, Sibling} from "../../../contracts/interfaces/Types.sol";

/// @notice Disputes.closeGame: who lost, and where the bond goes.
contract DisputesCloseGameTest is RootGameSteps {
    uint256 internal gasOfAnswer;

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

    /// @dev A lost game of two answers, by dave and by bob, for that bond.
    function _loseAfterTwoAnswers(uint256 bond) internal {
        RunParams memory p = defaultParams();
        p.challengeBond = bond;
        createRun(p);
        _honest();
        vm.fee(1);
        uint256 value = ready(carol, address(disputes), bond);
        vm.prank(carol);
        uint256 game = disputes.openGame{value: value}(bad);
        _answer(6, 0);
        _descend(game, 6, 0, 3);
        Sibling[] memory d = lie.descendants(1, 3, 1);
        bytes32 digest = digestOf(bad);
        vm.prank(bob);
        disputes.answerNode(digest, 1, 3, d);
        vm.warp(block.timestamp + 20);
        disputes.closeGame(game);
    }

    /// Answers are paid from the root down, and the last only what is left of half the bond.
    function test_answersTogetherGetHalfTheBondAtMost() public {
        uint256 snapshot = vm.snapshotState();
        _loseAfterTwoAnswers(1 ether);
        uint256 first = disputes.owedTo(dave);
        uint256 second = disputes.owedTo(bob);
        ok(first > 180_000 && second > 180_000, "both paid in full");
        eq(disputes.owedTo(address(distributor)), 1 ether - first - second, "the rest of a large bond");
        vm.revertToState(snapshot);
        uint256 half = first + second / 2;
        _loseAfterTwoAnswers(2 * half);
        eq(disputes.owedTo(dave), first, "the first in full");
        eq(disputes.owedTo(bob), half - first, "the second what is left");
        eq(disputes.owedTo(address(distributor)), half, "the other half");
    }

    function test_answerIsPaidOnce() public {
        vm.fee(1);
        _honest();
        uint256 mine = _open(carol);
        uint256 hers = _open(alice);
        _answer(6, 0);
        vm.warp(block.timestamp + 20);
        disputes.closeGame(mine);
        disputes.closeGame(hers);
        eq(disputes.owedTo(dave), 500, "by the first lost bond");
        eq(disputes.owedTo(address(distributor)), 500 + CHALLENGE_BOND, "the second goes to the capital pool whole");
    }

    /// A reward is gas at the block's own price, and nothing where gas costs nothing.
    function test_answersArePaidAtTheBlocksPrice() public {
        RunParams memory p = defaultParams();
        p.challengeBond = 1 ether;
        createRun(p);
        _honest();
        uint256 start = vm.snapshotState();
        uint256 once = _rewardAt(1);
        vm.revertToState(start);
        eq(_rewardAt(3), 3 * once, "three times the price");
        ok(once > 3 * 60_000 && once <= 3 * (60_000 + gasOfAnswer), "three times what it took");
        vm.revertToState(start);
        eq(_rewardAt(0), 0, "free");
    }

    function _rewardAt(uint256 basefee) internal returns (uint256) {
        vm.fee(basefee);
        uint256 value = ready(carol, address(disputes), 1 ether);
        vm.prank(carol);
        uint256 game = disputes.openGame{value: value}(bad);
        Sibling[] memory d = lie.descendants(6, 0, 5);
        bytes32 digest = digestOf(bad);
        vm.prank(dave);
        uint256 left = gasleft();
        disputes.answerNode(digest, 6, 0, d);
        gasOfAnswer = left - gasleft();
        vm.warp(block.timestamp + 20);
        disputes.closeGame(game);
        return disputes.owedTo(dave);
    }

    /// The smallest share of a token bond is still paid.
    function test_smallestReward() public {
        asset = deployCode("Tokens.sol:PlainToken", "");
        _loseAfterTwoAnswers(8);
        eq(disputes.owedTo(dave), 1, "a quarter of the half");
        eq(disputes.owedTo(bob), 1, "another");
        eq(disputes.owedTo(address(distributor)), 6, "the rest");
    }

    /// A question that nobody answers is no fraud until somebody has called the default, and none if the report became final before.
    function test_unansweredQuestionAloneSlashesNobody() public eachAsset {
        _honest();
        uint256 game = _open(carol);
        vm.warp(block.timestamp + 20);
        vm.expectRevert(IDisputes.TooEarly.selector);
        disputes.closeGame(game);
        vm.warp(oracle.epochInfo(1).openUntil);
        oracle.finalizeEpoch(accepted);
        disputes.closeGame(game);
        eq(disputes.owedTo(carol), CHALLENGE_BOND, "bond back");
        eq(oracle.bondOf(vm.addr(signerKeys[0])), BOND, "nobody is slashed");
    }

    /// Two games on one default: the bonds are taken once, also from who has paid them again.
    function test_defaultIsFraudOnce() public eachAsset {
        _hide();
        uint256 mine = _open(carol);
        uint256 hers = _open(bob);
        vm.warp(block.timestamp + 20);
        disputes.timeoutAnswer(mine);
        vm.warp(block.timestamp + 500);
        disputes.closeGame(mine);
        postBonds();
        disputes.closeGame(hers);
        eq(oracle.bondOf(vm.addr(signerKeys[0])), BOND, "paid again and kept");
        eq(oracle.owedTo(bob), 0, "no second prover");
        eq(disputes.owedTo(bob), CHALLENGE_BOND, "bond back");
    }
}
