// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {RootGameSteps} from "../support/RootGameSteps.sol";
import {TreeModel} from "../support/TreeModel.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";
import {IDisputes} from "../../../contracts/interfaces/IDisputes.sol";
import {EpochState, RunParams, Sibling} from "../../../contracts/interfaces/Types.sol";
import {WholeToken} from "../../../contracts/mocks/Tokens.sol";

/// @notice Attacks by and on the root game.
contract GameAttackTest is RootGameSteps {
    function test_attack_withheldTree() public eachAsset {
        _hide();
        uint256 game = _open(carol);
        eq(game, 1, "first game");
        _answer(6, 0);
        _descend(game, 6, 0, 16);
        _answer(1, 16);
        _prove(33);
        _fell();
        disputes.closeGame(game);
        disputes.payOwed(carol);
        eq(balance(carol), CHALLENGE_BOND, "the bond comes back");
        eq(disputes.openGames(), 0, "no game open");
        eq(balance(address(disputes)), 0, "nothing kept");
        vm.expectRevert(IDisputes.GameOver.selector);
        disputes.closeGame(game);
        vm.expectRevert(IDisputes.GameOver.selector);
        disputes.timeoutAnswer(game);
        Sibling[] memory d = lie.descendants(1, 16, 1);
        vm.prank(carol);
        vm.expectRevert(IDisputes.GameOver.selector);
        disputes.descend(game, d, 0);
    }

    /// In a run that asks for no bonds, a token that refuses to move nothing would put every report beyond doubt.
    function test_attack_tokenThatMovesNotNothing() public {
        asset = address(new WholeToken());
        RunParams memory p = defaultParams();
        (p.challengeBond, p.disputeBond, p.providerStake) = (0, 0, 0);
        createRun(p);
        _hide();
        vm.startPrank(carol);
        registry.register(address(0x3999), carol, "", 0);
        disputes.challengeCredits(1, 0, keccak256("why"));
        uint256 game = disputes.openGame(bad);
        vm.stopPrank();
        _answer(6, 0);
        _descend(game, 6, 0, 16);
        _answer(1, 16);
        _prove(33);
        _fell();
        disputes.closeGame(game);
        disputes.closeChallenge(1, 0);
    }

    function test_attack_treeWithheldForGood() public eachAsset {
        _hide();
        uint256 game = _open(carol);
        vm.warp(block.timestamp + 19);
        vm.expectRevert(IDisputes.TooEarly.selector);
        disputes.timeoutAnswer(game);
        vm.warp(block.timestamp + 1);
        disputes.timeoutAnswer(game);
        uint256 voidedAt = block.timestamp;
        eq(uint256(oracle.epochInfo(1).state), uint256(EpochState.Void), "void at once");
        eq(oracle.bondOf(vm.addr(signerKeys[0])), BOND, "not yet fraud");
        vm.expectRevert(IDisputes.NotPending.selector);
        disputes.timeoutAnswer(game);
        vm.warp(voidedAt + 499);
        vm.expectRevert(IDisputes.TooEarly.selector);
        disputes.closeGame(game);
        vm.warp(voidedAt + 500);
        disputes.closeGame(game);
        _slashed();
        eq(disputes.owedTo(carol), CHALLENGE_BOND, "bond back");
    }

    function test_attack_lateAnswersThatShowALie() public eachAsset {
        _hide();
        uint256 game = _open(carol);
        vm.warp(block.timestamp + 20);
        disputes.timeoutAnswer(game);
        // The run goes on: the ledger moves past the root that the lie was built on.
        tree.copyFrom(before);
        clearList();
        list(1, 1);
        close(2);
        submit(honestReport(2));
        vm.warp(oracle.epochInfo(2).openUntil);
        oracle.finalizeEpoch(accepted);
        vm.warp(block.timestamp - 700);
        _answer(6, 0);
        _descend(game, 6, 0, 16);
        _answer(1, 16);
        _prove(33);
        for (uint256 i = 0; i < 3; ++i) {
            eq(oracle.bondOf(vm.addr(signerKeys[i])), 0, "signer lost its bond");
        }
        // Who pays the bond again does not lose it for the same lie, whether a game is still open or not.
        postBonds();
        vm.expectRevert(IDisputes.NotPending.selector);
        this.proveAgain();
        disputes.closeGame(game);
        eq(disputes.owedTo(carol), CHALLENGE_BOND, "bond back");
        vm.expectRevert(IDisputes.NotPending.selector);
        this.proveAgain();
    }

    /// The lie is proved while a game on it is open: the game adds no second slashing.
    function test_attack_oneLieProvedTwice() public eachAsset {
        _hide();
        uint256 game = _open(carol);
        _prove(33);
        _fell();
        vm.expectRevert(IDisputes.NotPending.selector);
        this.proveAgain();
        disputes.closeGame(game);
        eq(disputes.owedTo(carol), CHALLENGE_BOND, "bond back");
    }

    /// After a default proofs are taken while a game is open, and no longer.
    function test_proofsEndWithTheLastGame() public eachAsset {
        _hide();
        uint256 game = _open(carol);
        vm.warp(block.timestamp + 20);
        disputes.timeoutAnswer(game);
        _answer(6, 0);
        vm.warp(block.timestamp + 20);
        disputes.closeGame(game);
        eq(disputes.openGames(), 0, "the challenger fell silent");
        vm.expectRevert(IDisputes.NotPending.selector);
        this.proveAgain();
        eq(oracle.bondOf(vm.addr(signerKeys[0])), BOND, "nobody is slashed");
    }

    /// A game holds the report open, but new games open only in the original window.
    function test_attack_challengeSpam() public eachAsset {
        _honest();
        uint256 windowEnd = oracle.epochInfo(1).openUntil;
        vm.warp(windowEnd - 1);
        uint256 game = _open(carol);
        eq(oracle.epochInfo(1).openUntil, windowEnd - 1 + 40, "two answer times");
        vm.warp(windowEnd);
        vm.expectPartialRevert(ICreditOracle.StillOpen.selector);
        oracle.finalizeEpoch(accepted);
        uint256 value = ready(dave, address(disputes), CHALLENGE_BOND);
        vm.prank(dave);
        vm.expectRevert(IDisputes.WindowOver.selector);
        disputes.openGame{value: value}(bad);
        vm.warp(windowEnd + 18);
        _answer(6, 0);
        vm.warp(windowEnd + 37);
        _descend(game, 6, 0, 0);
        vm.warp(windowEnd + 56);
        _answer(1, 0);
        eq(oracle.epochInfo(1).openUntil, windowEnd + 77, "held by the last move");
        ok(windowEnd + 77 <= windowEnd + 8 * 20, "within the longest game");
        vm.warp(windowEnd + 77);
        oracle.finalizeEpoch(accepted);
        disputes.closeGame(game);
        eq(disputes.owedTo(carol), 0, "lost");
    }

    function test_attack_lastSecondAnswer() public eachAsset {
        _hide();
        uint256 windowEnd = oracle.epochInfo(1).openUntil;
        vm.warp(windowEnd - 1);
        uint256 game = _open(carol);
        vm.warp(windowEnd + 18);
        _answer(6, 0);
        vm.warp(windowEnd + 37);
        vm.expectPartialRevert(ICreditOracle.StillOpen.selector);
        oracle.finalizeEpoch(accepted);
        _descend(game, 6, 0, 16);
        vm.warp(windowEnd + 56);
        _answer(1, 16);
        vm.warp(windowEnd + 75);
        _prove(33);
        _fell();
        disputes.closeGame(game);
    }

    /// Self-challenge: losing a game of one's own against a lie saves nothing, since anyone else still proves it.
    function test_attack_selfChallenge() public eachAsset {
        _hide();
        uint256 game = _open(bob);
        _answer(6, 0);
        vm.warp(block.timestamp + 20);
        disputes.closeGame(game);
        _prove(33);
        _fell();
    }

    /// The friend's default voids the report; a watcher joins within the dispute period and goes on where the friend stops.
    function test_attack_selfChallengeByDefault() public eachAsset {
        vm.fee(0);
        _hide();
        uint256 friendly = _open(bob);
        vm.warp(block.timestamp + 20);
        disputes.timeoutAnswer(friendly);
        uint256 voidedAt = block.timestamp;
        uint256 game = _open(carol);
        vm.warp(voidedAt + 499);
        _answer(6, 0);
        _descend(game, 6, 0, 16);
        vm.warp(voidedAt + 519);
        disputes.closeGame(friendly);
        eq(oracle.bondOf(vm.addr(signerKeys[0])), BOND, "the friend lost");
        disputes.closeGame(game);
        _slashed();
        eq(disputes.owedTo(carol), CHALLENGE_BOND, "the watcher's bond comes back");
    }

    /// A friend lets the game over a bad list default at once: the list is still fraud by its position while a game is open.
    function test_attack_badListAfterAFriendlyDefault() public eachAsset {
        _prepare(40);
        listIndices[1] = 0;
        _submitLie(12);
        uint256 friendly = _open(bob);
        vm.warp(block.timestamp + 20);
        disputes.timeoutAnswer(friendly);
        vm.prank(carol);
        disputes.proveBadList(bad, badList, 1);
        _slashed();
        eq(disputes.owedTo(carol) + oracle.owedTo(carol), 3 * BOND / 10, "the bounty");
    }

    /// The signers' bonds cannot leave before the game is settled.
    function test_attack_bondsLeaveBeforeTheGameEnds() public eachAsset {
        _prepare(40);
        TreeModel.Account memory a = lie.account(0);
        lie.put(0, alice, a.C, a.D, a.W);
        _submitLie(12);
        uint256 game = _open(carol);
        vm.warp(block.timestamp + 20);
        disputes.timeoutAnswer(game);
        for (uint64 e = 2; e < 8; ++e) {
            lapseEpoch(e);
        }
        vm.warp(block.timestamp + 10_000);
        address signer = vm.addr(signerKeys[0]);
        vm.prank(signer);
        vm.expectRevert(ICreditOracle.BondLocked.selector);
        oracle.withdrawBond(signer);
        disputes.closeGame(game);
        _slashed();
        signer = vm.addr(signerKeys[3]);
        vm.prank(signer);
        oracle.withdrawBond(signer);
    }
}
