// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base, TreeModel} from "./Base.sol";
import {ICreditOracle} from "../../contracts/interfaces/ICreditOracle.sol";
import {IDisputes} from "../../contracts/interfaces/IDisputes.sol";
import {EpochInfo, EpochState, Leaf, Report, RunParams, Sibling, Verdict} from "../../contracts/interfaces/Types.sol";
import {PlainToken} from "../../contracts/mocks/Tokens.sol";

/// @notice Steps that the dispute tests share: an honest history of one epoch, then a report that may lie.
abstract contract DisputeSteps is Base {
    TreeModel internal before;
    TreeModel internal lie;
    Report internal bad;
    bytes internal badList;

    /// @dev Epoch 0 is honest and final: index i has 10 * (i + 1) credits. Epoch 1 is closed; `lie` starts as the true tree of epoch 1
    /// for the list {0: 5, 2: 7}.
    function _prepare(uint32 providers) internal {
        launch(providers);
        for (uint32 i = 0; i < 3; ++i) {
            list(i, 10 * (i + 1));
        }
        runEpoch(0);
        pay(1_000);
        close(1);
        before = new TreeModel();
        before.copyFrom(tree);
        list(0, 5);
        list(2, 7);
        honestReport(1);
        lie = new TreeModel();
        lie.copyFrom(tree);
    }

    /// @dev Submits a report on `lie` that claims the list's sum, whatever the tree really holds.
    function _submitLie(uint64 credits) internal {
        bad = reportOn(1, lie, credits);
        badList = packedList();
        submitWith(bad, badList, signAll(digestOf(bad), 3));
    }

    function _prove(uint32 index) internal {
        vm.startPrank(carol);
        _proveCall(index);
        vm.stopPrank();
    }

    function _proveCall(uint32 index) internal {
        Sibling memory at = lie.leafNode(index);
        Sibling[] memory proof = lie.proofOf(bad.depth, index);
        uint8 oldDepth = ledger.finalEpoch(0).depth;
        Sibling[] memory lastProof = index >> oldDepth == 0 ? before.proofOf(oldDepth, index) : new Sibling[](0);
        disputes.proveWrongLeaf(bad, badList, index, at.hash, at.sum, proof, before.leaf(index), lastProof);
    }

    function _fell() internal view {
        eq(uint256(oracle.epochInfo(1).state), uint256(EpochState.Void), "void");
        _slashed();
    }

    function _slashed() internal view {
        for (uint256 i = 0; i < 3; ++i) {
            eq(oracle.bondOf(vm.addr(signerKeys[i])), 0, "signer lost its bond");
        }
        eq(oracle.bondOf(vm.addr(signerKeys[3])), BOND, "who did not sign keeps it");
        eq(oracle.owedTo(carol), 3 * (BOND / 10), "a tenth to the prover");
        eq(oracle.owedTo(address(distributor)), 3 * (BOND - BOND / 10), "the rest to the capital pool");
    }

    function _notFraud(uint32 index) internal {
        Sibling memory at = lie.leafNode(index);
        Sibling[] memory proof = lie.proofOf(bad.depth, index);
        uint8 oldDepth = ledger.finalEpoch(0).depth;
        Sibling[] memory lastProof = index >> oldDepth == 0 ? before.proofOf(oldDepth, index) : new Sibling[](0);
        Leaf memory last = before.leaf(index);
        vm.expectRevert(IDisputes.NotFraud.selector);
        disputes.proveWrongLeaf(bad, badList, index, at.hash, at.sum, proof, last, lastProof);
    }
}

/// @notice Disputes: a wrong leaf or list (4.4.1).
contract WrongLeafTest is DisputeSteps {
    function test_honestReportStands() public {
        _prepare(4);
        _submitLie(12);
        for (uint32 i = 0; i < 4; ++i) {
            _notFraud(i);
        }
        vm.expectRevert(IDisputes.NotFraud.selector);
        disputes.proveBadList(bad, badList, 0);
        vm.expectRevert(IDisputes.NotFraud.selector);
        disputes.proveBadList(bad, badList, 1);
        vm.expectRevert(IDisputes.NotFraud.selector);
        disputes.proveBadList(bad, badList, 2);
        finalizeNow(1);
    }

    function test_omission() public {
        _prepare(4);
        TreeModel.Account memory a = before.account(2);
        lie.put(2, a.provider, a.C, a.D, a.W);
        TreeModel.Account memory b = lie.account(0);
        lie.put(0, b.provider, b.C + 7, b.D, b.W);
        _submitLie(12);
        _prove(2);
        _fell();
    }

    function test_omissionOfHistory() public {
        _prepare(4);
        lie.put(1, address(0), 0, 0, 0);
        TreeModel.Account memory b = lie.account(0);
        lie.put(0, b.provider, b.C + 20, b.D, b.W);
        _submitLie(12);
        _prove(1);
        _fell();
    }

    function test_alteredHistory() public {
        _prepare(4);
        TreeModel.Account memory a = lie.account(1);
        lie.put(1, a.provider, a.C + 1, a.D, a.W);
        TreeModel.Account memory b = lie.account(0);
        lie.put(0, b.provider, b.C - 1, b.D, b.W);
        _submitLie(12);
        _prove(1);
        _fell();
    }

    function test_wrongProvider() public {
        _prepare(4);
        TreeModel.Account memory a = lie.account(0);
        lie.put(0, alice, a.C, a.D, a.W);
        _submitLie(12);
        _prove(0);
        _fell();
    }

    function test_wrongDebtWithNoNewCredits() public {
        _prepare(4);
        TreeModel.Account memory a = lie.account(1);
        lie.put(1, a.provider, a.C, a.D + 1, a.W);
        _submitLie(12);
        _prove(1);
        _fell();
    }

    function test_wrongWageWithNoNewCredits() public {
        _prepare(4);
        TreeModel.Account memory a = lie.account(1);
        lie.put(1, a.provider, a.C, a.D, a.W + 1);
        _submitLie(12);
        _prove(1);
        _fell();
    }

    function test_lowerDebtOfNewCredits() public {
        _prepare(4);
        TreeModel.Account memory a = lie.account(2);
        lie.put(2, a.provider, a.C, a.D - 1, a.W);
        _submitLie(12);
        _prove(2);
        _fell();
    }

    function test_unregisteredIndex() public {
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
    function test_unregisteredIndexWithinTheTree() public {
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

    function test_providerRegisteredAfterTheCloseIsUnregistered() public {
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

    /// A sum without a leaf, or beside a right leaf's hash, is as wrong as a wrong leaf.
    function test_sumThatIsNotTheLeafs() public {
        _prepare(4);
        uint256 snapshot = vm.snapshotState();
        TreeModel.Account memory a = lie.account(0);
        lie.put(0, a.provider, a.C - 3, a.D, a.W);
        lie.forge(3, 0, 3);
        _submitLie(12);
        _prove(3);
        _fell();
        vm.revertToState(snapshot);
        lie.forge(1, lie.leafNode(1).hash, lie.leafNode(1).sum + 3);
        lie.put(0, a.provider, a.C - 3, a.D, a.W);
        _submitLie(12);
        _prove(1);
        _fell();
    }

    function test_listedSumThatTheTreeDoesNotHold() public {
        _prepare(4);
        // The list says 12, the report 20: some leaf has the difference.
        TreeModel.Account memory a = lie.account(3);
        lie.put(3, providerAccount(3), a.C + 8, 0, 0);
        _submitLie(20);
        _prove(3);
        _fell();
    }

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

    function test_proofsMustBeOnThePendingReport() public {
        _prepare(4);
        _submitLie(12);
        Report memory other = bad;
        other.lossMicro += 1;
        Sibling memory at = lie.leafNode(0);
        Sibling[] memory proof = lie.proofOf(2, 0);
        Sibling[] memory lastProof = before.proofOf(2, 0);
        Leaf memory last = before.leaf(0);
        vm.expectRevert(IDisputes.WrongReport.selector);
        disputes.proveWrongLeaf(other, badList, 0, at.hash, at.sum, proof, last, lastProof);
        vm.expectRevert(IDisputes.WrongList.selector);
        disputes.proveWrongLeaf(bad, "", 0, at.hash, at.sum, proof, last, lastProof);
        vm.expectRevert(IDisputes.WrongList.selector);
        disputes.proveBadList(bad, "", 0);
        vm.expectRevert(IDisputes.InvalidProof.selector);
        disputes.proveWrongLeaf(bad, badList, 0, at.hash, at.sum + 1, proof, last, lastProof);
        vm.expectRevert(IDisputes.InvalidProof.selector);
        disputes.proveWrongLeaf(bad, badList, 4, 0, 0, new Sibling[](0), Leaf(4, address(0), 0, 0, 0), new Sibling[](0));
        Leaf memory another = before.leaf(1);
        Sibling[] memory anotherProof = before.proofOf(2, 1);
        vm.expectRevert(IDisputes.InvalidProof.selector);
        disputes.proveWrongLeaf(bad, badList, 0, at.hash, at.sum, proof, another, anotherProof);
        last.C += 1;
        vm.expectRevert(IDisputes.InvalidProof.selector);
        disputes.proveWrongLeaf(bad, badList, 0, at.hash, at.sum, proof, last, lastProof);
        finalizeNow(1);
        last.C -= 1;
        vm.expectRevert(IDisputes.NotPending.selector);
        disputes.proveWrongLeaf(bad, badList, 0, at.hash, at.sum, proof, last, lastProof);
    }

    /// No honest report falls, whatever the credits are and however the pools stand.
    function test_noHonestReportFalls(uint32[4] memory credits, uint64 revenue) public {
        launch(4);
        for (uint32 i = 0; i < 4; ++i) {
            if (credits[i] % 250_000 != 0) list(i, uint64(credits[i] % 250_000));
        }
        runEpoch(0);
        pay(uint256(revenue) + 1);
        close(1);
        before = new TreeModel();
        before.copyFrom(tree);
        for (uint32 i = 0; i < 4; i += 2) {
            if (credits[i + 1] % 250_000 != 0) list(i, uint64(credits[i + 1] % 250_000));
        }
        Report memory r = honestReport(1);
        lie = tree;
        bad = r;
        badList = packedList();
        submit(r);
        for (uint32 i = 0; i < 4; ++i) {
            _notFraud(i);
        }
    }

    /// The work of a voided epoch can be credited in the next one, and history goes on from the last final root.
    function test_nextEpochGoesOnFromTheLastFinalRoot() public {
        _prepare(4);
        TreeModel.Account memory a = lie.account(0);
        lie.put(0, alice, a.C, a.D, a.W);
        _submitLie(12);
        _prove(0);
        tree.copyFrom(before);
        postBonds();
        runEpochAgain();
    }

    function runEpochAgain() internal {
        close(2);
        submit(honestReport(2));
        finalizeNow(2);
        eq(ledger.liveCredits(), 72, "60 of epoch 0 and the 12 carried over");
    }
}

/// @notice Steps of the root game's tests.
abstract contract RootGameSteps is DisputeSteps {
    uint256 internal constant CHALLENGE_BOND = 1_000;
    address internal dave = address(0xDA7E);

    /// @dev 40 providers: depth 6, so that a game takes two answers. The lie swaps credits between indices 0 and 33.
    function _hide() internal {
        _prepare(40);
        TreeModel.Account memory a = lie.account(0);
        lie.put(0, a.provider, a.C - 3, a.D, a.W);
        lie.put(33, providerAccount(33), 3, 0, 0);
        _submitLie(12);
    }

    function _honest() internal {
        _prepare(40);
        _submitLie(12);
    }

    function _open(address who) internal returns (uint256 game) {
        uint256 value = ready(who, address(disputes), CHALLENGE_BOND);
        vm.prank(who);
        game = disputes.openGame{value: value}(bad);
    }

    function _answer(uint8 level, uint32 position) internal {
        uint8 below = level < 5 ? level : 5;
        Sibling[] memory d = lie.descendants(level, position, below);
        vm.prank(dave);
        disputes.answerNode(digestOf(bad), level, position, d);
    }

    function _descend(uint256 game, uint8 level, uint32 position, uint32 child) internal {
        Sibling[] memory d = lie.descendants(level, position, 5);
        vm.prank(carol);
        disputes.descend(game, d, child);
    }
}

/// @notice Disputes: the root game (4.4.2).
contract RootGameTest is RootGameSteps {
    function test_hiddenTreeFallsAtItsLeaf() public {
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

    /// A game on a report that fell cannot hold up the next one.
    function test_noMoveOnAFallenReport() public {
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

    function test_openGameRefuses() public {
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

    /// A game holds the report open, but new games open only in the original window.
    function test_gamesHoldTheReportOpenWithinABound() public {
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

    function test_silentChallengerLosesAndAnswersArePaid() public {
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

    function test_oneAnswerServesAllGames() public {
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

    function answerAgain() external {
        _answer(6, 0);
    }

    function test_answersMustHashAndSum() public {
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
    function test_rootWhoseSumIsNotItsLeavesCannotBeAnswered() public {
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

    function test_noAnswerVoidsAtOnceAndIsFraudAfterADisputePeriod() public {
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

    /// The signers' bonds cannot leave before the game is settled.
    function test_bondsWaitForOpenGames() public {
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

    function test_lateAnswersClearAnHonestReport() public {
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

    function test_lateAnswersThatShowALieAreFraud() public {
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
        disputes.closeGame(game);
        eq(disputes.owedTo(carol), CHALLENGE_BOND, "bond back");
        vm.expectRevert(IDisputes.NotPending.selector);
        this.proveAgain();
    }

    function proveAgain() external {
        _proveCall(33);
    }

    /// A question that nobody defaulted on before the report was final costs nobody anything.
    function test_unansweredButFinalReturnsTheBond() public {
        _honest();
        uint256 game = _open(carol);
        vm.warp(oracle.epochInfo(1).openUntil);
        oracle.finalizeEpoch(accepted);
        vm.expectRevert(IDisputes.NotPending.selector);
        disputes.timeoutAnswer(game);
        disputes.closeGame(game);
        eq(disputes.owedTo(carol), CHALLENGE_BOND, "bond back");
    }

    function test_lastSecondAnswerLeavesTimeToMove() public {
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

    function test_tooLateToAnswer() public {
        _honest();
        _open(carol);
        vm.warp(block.timestamp + 20);
        vm.expectRevert(IDisputes.TooLate.selector);
        this.answerAgain();
    }

    function test_noGameWithoutItsNumber() public {
        vm.expectRevert(IDisputes.GameOver.selector);
        disputes.closeGame(1);
        vm.expectRevert(IDisputes.GameOver.selector);
        disputes.timeoutAnswer(1);
    }

    /// Self-challenge: losing a game of one's own against a lie saves nothing, since anyone else still proves it.
    function test_selfChallengeSavesNoBond() public {
        _hide();
        uint256 game = _open(bob);
        _answer(6, 0);
        vm.warp(block.timestamp + 20);
        disputes.closeGame(game);
        _prove(33);
        _fell();
    }
}

/// @notice A friend of the signers plays the only game, and means to lose it.
contract FriendlyGameTest is RootGameSteps {
    /// The friend's default voids the report; a watcher joins within the dispute period and goes on where the friend stops.
    function test_selfChallengeByDefaultSavesNoBond() public {
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

    function test_lateGamesEndWithTheDisputePeriod() public {
        _hide();
        uint256 game = _open(bob);
        vm.warp(block.timestamp + 20);
        disputes.timeoutAnswer(game);
        vm.warp(block.timestamp + 500);
        uint256 value = ready(carol, address(disputes), CHALLENGE_BOND);
        vm.prank(carol);
        vm.expectRevert(IDisputes.NotPending.selector);
        disputes.openGame{value: value}(bad);
        disputes.closeGame(game);
        eq(oracle.owedTo(bob), 3 * (BOND / 10), "fraud by default");
    }
}

contract RootGameTokenTest is RootGameTest {
    function setUp() public override {
        asset = address(new PlainToken());
        super.setUp();
    }
}

/// @notice Disputes: credits that someone doubts (4.5).
contract CreditDisputeTest is DisputeSteps {
    uint256 internal constant DISPUTE_BOND = 1_000;
    Report internal good;
    bytes internal goodList;

    function setUp() public virtual override {
        super.setUp();
        RunParams memory p = defaultParams();
        p.disputePeriod = 2_000;
        createRun(p);
        launch(2);
        list(0, 60);
        list(1, 40);
        close(0);
        good = honestReport(0);
        goodList = packedList();
        submit(good);
        clearList();
    }

    function _challenge(uint64 e, uint32 index) internal {
        uint256 value = ready(carol, address(disputes), DISPUTE_BOND);
        vm.prank(carol);
        disputes.challengeCredits{value: value}(e, index, keccak256("why"));
    }

    function _verdict(uint64 e, uint32 index, bool convicted) internal view returns (Verdict memory v, bytes[] memory sigs) {
        v = Verdict(e, index, convicted, keccak256("verdict"));
        bytes32 hash = keccak256(
            abi.encode(
                keccak256("Verdict(bytes32 configDigest,uint64 epoch,uint32 index,bool convicted,bytes32 evidenceSha256)"),
                oracle.configDigest(),
                e,
                index,
                convicted,
                v.evidenceSha256
            )
        );
        sigs = signAll(typed(address(oracle), hash), 3);
    }

    function _judge(uint64 e, uint32 index, bool convicted) internal {
        (Verdict memory v, bytes[] memory sigs) = _verdict(e, index, convicted);
        disputes.submitVerdict(v, sigs);
    }

    function test_convictionTakesWhatWasEarned() public {
        finalizeNow(0);
        pay(10_000);
        close(1);
        _challenge(0, 0);
        eq(registry.openChallenges(0), 1, "stake is locked");
        _judge(0, 0, true);
        disputes.enforceVerdict(good, goodList, 0);
        eq(ledger.liveCredits(), 40, "out of the denominator");
        eq(distributor.debtOf(0), 600 + 3_600, "its wages and revenue are a debt");
        eq(registry.providerAt(0).stake, 0, "stake slashed");
        eq(registry.owedTo(carol), STAKE / 10, "a tenth to the challenger");
        eq(disputes.owedTo(carol), DISPUTE_BOND, "bond back");
        eq(registry.openChallenges(0), 0, "lock gone");
        distributor.claimCompute(0, tree.leaf(0), tree.proofOf(1, 0));
        eq(balance(payoutAddress(0)), 0, "all goes to the debt");
        eq(distributor.capitalReceived(), 4_000 + 4_200, "to the capital pool");
        distributor.claimCompute(0, tree.leaf(1), tree.proofOf(1, 1));
        eq(balance(payoutAddress(1)), 400 + 2_400, "nobody else's epoch is touched");
        // What comes later goes to the live credits alone.
        pay(1_000);
        vm.warp(block.timestamp + 300);
        close(2);
        distributor.claimCompute(0, tree.leaf(1), tree.proofOf(1, 1));
        eq(balance(payoutAddress(1)), 400 + 2_400 + 600, "alone in the denominator");
        eq(distributor.claimableCompute(0, tree.leaf(0)), 0, "the convicted earn no more");
    }

    function test_convictionAfterTheProviderClaimed() public {
        finalizeNow(0);
        claimCompute(0);
        _challenge(0, 0);
        _judge(0, 0, true);
        disputes.enforceVerdict(good, goodList, 0);
        eq(distributor.debtOf(0), 600, "debt remains");
        list(0, 100);
        close(1);
        submit(honestReport(1));
        finalizeNow(1);
        claimCompute(0);
        eq(balance(payoutAddress(0)), 600 + 400, "later wages pay the debt first");
        eq(distributor.capitalReceived(), 600, "to the capital pool");
    }

    function test_acquittalGivesTheBondToTheProvider() public {
        finalizeNow(0);
        _challenge(0, 0);
        vm.prank(providerAccount(0));
        disputes.answerChallenge(0, 0, keccak256("mine"));
        vm.prank(carol);
        vm.expectRevert(IDisputes.NotProvider.selector);
        disputes.answerChallenge(0, 0, keccak256("not mine"));
        _judge(0, 0, false);
        eq(disputes.owedTo(payoutAddress(0)), DISPUTE_BOND, "to the provider");
        eq(ledger.liveCredits(), 100, "nothing changed");
        eq(registry.openChallenges(0), 0, "lock gone");
        uint256 value = ready(carol, address(disputes), DISPUTE_BOND);
        vm.prank(carol);
        vm.expectRevert(IDisputes.AlreadyChallenged.selector);
        disputes.challengeCredits{value: value}(0, 0, 0);
        vm.expectRevert(IDisputes.NotConvicted.selector);
        disputes.enforceVerdict(good, goodList, 0);
        vm.expectRevert(IDisputes.NotChallenged.selector);
        disputes.closeChallenge(0, 0);
    }

    function test_noVerdictInTimeChangesNothing() public {
        finalizeNow(0);
        _challenge(0, 0);
        uint256 until = block.timestamp + 2_000;
        vm.warp(until);
        vm.expectRevert(IDisputes.TooEarly.selector);
        disputes.closeChallenge(0, 0);
        vm.warp(until + 1);
        (Verdict memory v, bytes[] memory sigs) = _verdict(0, 0, true);
        vm.expectRevert(IDisputes.NotChallenged.selector);
        disputes.submitVerdict(v, sigs);
        vm.prank(providerAccount(0));
        vm.expectRevert(IDisputes.NotChallenged.selector);
        disputes.answerChallenge(0, 0, 0);
        disputes.closeChallenge(0, 0);
        eq(disputes.owedTo(carol), DISPUTE_BOND, "bond back");
        eq(ledger.liveCredits(), 100, "nothing changed");
        eq(registry.openChallenges(0), 0, "lock gone");
    }

    function test_challengeWithinADisputePeriodOfFinality() public {
        uint256 value = ready(carol, address(disputes), 10 * DISPUTE_BOND);
        vm.startPrank(carol);
        if (asset != address(0)) PlainToken(asset).approve(address(disputes), type(uint256).max);
        uint256 bond = asset == address(0) ? DISPUTE_BOND : 0;
        value;
        vm.expectRevert(IDisputes.NotJudgeable.selector);
        disputes.challengeCredits{value: bond}(0, 2, 0);
        vm.expectRevert(IDisputes.NotJudgeable.selector);
        disputes.challengeCredits{value: bond}(1, 0, 0);
        vm.stopPrank();
        finalizeNow(0);
        vm.warp(block.timestamp + 2_000);
        vm.startPrank(carol);
        disputes.challengeCredits{value: bond}(0, 0, 0);
        vm.warp(block.timestamp + 1);
        vm.expectRevert(IDisputes.NotJudgeable.selector);
        disputes.challengeCredits{value: bond}(0, 1, 0);
        vm.stopPrank();
    }

    function test_verdictTakesEffectOnlyWhenFinal() public {
        _challenge(0, 0);
        _judge(0, 0, true);
        vm.expectRevert();
        disputes.enforceVerdict(good, goodList, 0);
        vm.expectRevert(IDisputes.TooEarly.selector);
        disputes.closeChallenge(0, 0);
        finalizeNow(0);
        Report memory other = good;
        other.round += 1;
        vm.expectRevert(IDisputes.WrongReport.selector);
        disputes.enforceVerdict(other, goodList, 0);
        vm.expectRevert(IDisputes.WrongList.selector);
        disputes.enforceVerdict(good, "", 0);
        disputes.enforceVerdict(good, goodList, 0);
        eq(ledger.liveCredits(), 40, "revoked");
        vm.expectRevert(IDisputes.NotConvicted.selector);
        disputes.enforceVerdict(good, goodList, 0);
    }

    function test_voidEpochReturnsTheBond() public {
        _challenge(0, 0);
        _judge(0, 0, true);
        vm.prank(address(disputes));
        oracle.voidUnanswered();
        disputes.closeChallenge(0, 0);
        eq(disputes.owedTo(carol), DISPUTE_BOND, "bond back");
        eq(registry.providerAt(0).stake, STAKE, "stake untouched");
        vm.expectRevert(IDisputes.NotConvicted.selector);
        disputes.enforceVerdict(good, goodList, 0);
    }

    /// Convicting an index that the list does not credit changes nothing.
    function test_convictionOfNothing() public {
        registerOne(2);
        finalizeNow(0);
        list(0, 10);
        close(1);
        good = honestReport(1);
        goodList = packedList();
        submit(good);
        finalizeNow(1);
        _challenge(1, 2);
        _judge(1, 2, true);
        disputes.enforceVerdict(good, goodList, 2);
        eq(registry.providerAt(2).stake, STAKE, "stake untouched");
        eq(disputes.owedTo(carol), DISPUTE_BOND, "bond back");
    }

    function test_verdictNeedsAQuorum() public {
        finalizeNow(0);
        (Verdict memory v, bytes[] memory sigs) = _verdict(0, 0, true);
        vm.expectRevert(IDisputes.NotChallenged.selector);
        disputes.submitVerdict(v, sigs);
        _challenge(0, 0);
        v.convicted = false;
        vm.expectRevert();
        disputes.submitVerdict(v, sigs);
        v.convicted = true;
        bytes[] memory two = new bytes[](2);
        (two[0], two[1]) = (sigs[0], sigs[1]);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.TooFewSignatures.selector, 3));
        disputes.submitVerdict(v, two);
        disputes.submitVerdict(v, sigs);
        vm.expectRevert(IDisputes.NotChallenged.selector);
        disputes.submitVerdict(v, sigs);
        (, , bool judged, bool convicted) = disputes.challengeOf(0, 0);
        ok(judged && convicted, "judged once");
    }
}

contract CreditDisputeTokenTest is CreditDisputeTest {
    function setUp() public override {
        asset = address(new PlainToken());
        super.setUp();
    }
}
