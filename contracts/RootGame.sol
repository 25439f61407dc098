// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {DisputesBase} from "./DisputesBase.sol";
import {ICreditOracle} from "./interfaces/ICreditOracle.sol";
import {EpochState, Report, Sibling} from "./interfaces/Types.sol";
import {Assets} from "./libraries/Assets.sol";
import {RunConstants} from "./libraries/RunConstants.sol";
import {SumTree} from "./libraries/SumTree.sol";

/// @title RootGame
/// @notice Forces a hidden tree into the open: five levels a move, from the root to the leaves.
/// @dev Of an answer only its hash is stored; its text is in the event and comes back in calldata. A question holds the report open
/// for two answer times: one to answer, and one to call the default or, after an answer, to move. A report that a default has
/// voided can still be asked about, so that no friend of its signers ends the matter by losing the only game.
abstract contract RootGame is DisputesBase {
    uint256 internal constant LEVELS = 5;
    uint256 internal constant MAX_ANSWERS = 4;
    /// @dev What an answer costs around its measured part: the transaction itself and 32 nodes of calldata.
    uint256 internal constant ANSWER_OVERHEAD_GAS = 60_000;

    struct Node {
        bytes32 hash;
        bytes32 answerHash;
        uint64 sum;
        uint40 askedAt;
        uint40 answeredAt;
        address answerer;
        uint96 reward;
    }

    struct Game {
        bytes32 digest;
        address challenger;
        uint8 level;
        uint32 position;
        uint40 movedAt;
        bool closed;
    }

    uint256 public openGames;
    uint256 internal _gameCount;
    mapping(uint256 => Game) internal _games;
    mapping(bytes32 => Node) internal _nodes;

    /*//////////////////////////////////////////////////////////////
                                 MOVES
    //////////////////////////////////////////////////////////////*/

    function openGame(Report calldata report) external payable returns (uint256 game) {
        Assets.take(RunConstants.asset(), RunConstants.challengeBond());
        bytes32 digest = _reportDigest(report);
        Case memory c = _cases[digest];
        bool late = c.voidedAt != 0 && !c.fraud && block.timestamp < uint256(c.voidedAt) + RunConstants.disputePeriod();
        if (!late) {
            c = _pendingCase(report, digest);
            if (block.timestamp >= c.windowEnd) revert WindowOver();
            ICreditOracle(RunConstants.oracle()).holdReport(uint64(block.timestamp + 2 * RunConstants.answerTime()));
        }
        ++c.openGames;
        _cases[digest] = c;
        ++openGames;
        game = ++_gameCount;
        _games[game] = Game(digest, msg.sender, c.depth, 0, uint40(block.timestamp), false);
        emit GameOpened(game, digest, c.epoch, msg.sender);
        _ask(digest, c.depth, 0, report.root, report.sum);
    }

    function answerNode(bytes32 digest, uint8 level, uint32 position, Sibling[] calldata descendants) external {
        uint256 gasBefore = gasleft();
        Node storage node = _nodes[_nodeKey(digest, level, position)];
        if (node.askedAt == 0) revert UnknownNode();
        if (node.answeredAt != 0) revert AlreadyAnswered();
        Case storage c = _cases[digest];
        if (block.timestamp >= _answerDeadline(c, node)) revert TooLate();
        if (descendants.length != 1 << _stepFrom(level)) revert WrongAnswer();
        (bytes32 hash, uint256 sum) = _fold(descendants);
        if (hash != node.hash || sum != node.sum) revert WrongAnswer();
        node.answeredAt = uint40(block.timestamp);
        node.answerHash = keccak256(abi.encode(descendants));
        node.answerer = msg.sender;
        emit NodeAnswered(digest, level, position, msg.sender, descendants);
        node.reward = uint96(_rewardFor(gasBefore - gasleft()));
    }

    function descend(uint256 game, Sibling[] calldata descendants, uint32 child) external {
        Game storage g = _games[game];
        if (msg.sender != g.challenger) revert NotChallenger();
        if (g.closed) revert GameOver();
        Node storage node = _nodes[_nodeKey(g.digest, g.level, g.position)];
        if (node.answeredAt == 0) revert NotAnswered();
        if (block.timestamp >= _moveDeadline(g, node)) revert TooLate();
        if (keccak256(abi.encode(descendants)) != node.answerHash || child >= descendants.length) revert WrongAnswer();
        uint256 step = _stepFrom(g.level);
        if (g.level == step) revert AtLeaf();
        Case storage c = _cases[g.digest];
        if (c.voidedAt == 0) {
            (bool pending,) = _isPending(c.epoch, g.digest);
            if (!pending) revert NotPending();
            ICreditOracle(RunConstants.oracle()).holdReport(uint64(block.timestamp + 2 * RunConstants.answerTime()));
        }
        g.level = uint8(g.level - step);
        g.position = uint32((uint256(g.position) << step) | child);
        g.movedAt = uint40(block.timestamp);
        _ask(g.digest, g.level, g.position, descendants[child].hash, descendants[child].sum);
    }

    function timeoutAnswer(uint256 game) external {
        Game storage g = _games[game];
        if (g.challenger == address(0) || g.closed) revert GameOver();
        Case storage c = _cases[g.digest];
        Node storage node = _nodes[_nodeKey(g.digest, g.level, g.position)];
        if (node.answeredAt != 0) revert AlreadyAnswered();
        (bool pending,) = _isPending(c.epoch, g.digest);
        if (!pending) revert NotPending();
        if (block.timestamp < _answerDeadline(c, node)) revert TooEarly();
        c.voidedAt = uint40(block.timestamp);
        emit ReportUnanswered(g.digest, c.epoch, game);
        ICreditOracle(RunConstants.oracle()).voidUnanswered();
    }

    function closeGame(uint256 game) external {
        Game storage g = _games[game];
        if (g.challenger == address(0) || g.closed) revert GameOver();
        bool lost = _outcome(game, g);
        g.closed = true;
        --_cases[g.digest].openGames;
        --openGames;
        emit GameClosed(game, lost);
        if (lost) _forfeit(g);
        else _owe(g.challenger, RunConstants.challengeBond());
    }

    /*//////////////////////////////////////////////////////////////
                                OUTCOME
    //////////////////////////////////////////////////////////////*/

    /// @dev Whether the challenger lost; reverts while the game is going on. A node that stayed unanswered to the end is fraud.
    function _outcome(uint256 game, Game storage g) internal returns (bool lost) {
        Case storage c = _cases[g.digest];
        if (c.fraud) return false;
        Node storage node = _nodes[_nodeKey(g.digest, g.level, g.position)];
        if (c.voidedAt == 0) {
            if (node.answeredAt != 0 && block.timestamp >= _moveDeadline(g, node)) return true;
            if (ICreditOracle(RunConstants.oracle()).epochInfo(c.epoch).state == EpochState.Final) return false;
            revert TooEarly();
        }
        if (node.answeredAt != 0) {
            if (block.timestamp < _moveDeadline(g, node)) revert TooEarly();
            return true;
        }
        if (block.timestamp < _answerDeadline(c, node)) revert TooEarly();
        c.fraud = true;
        emit FraudByDefault(g.digest, game);
        ICreditOracle(RunConstants.oracle()).slashSigners(c.rotation, c.signerMask, g.challenger);
        return false;
    }

    /// @dev A lost bond pays each answer on the game's path once, from at most half of it; the rest goes to the capital pool.
    function _forfeit(Game storage g) internal {
        uint256 bond = RunConstants.challengeBond();
        uint256 purse = bond / 2;
        uint256 level = _cases[g.digest].depth;
        while (true) {
            Node storage node = _nodes[_nodeKey(g.digest, uint8(level), uint32(g.position >> (level - g.level)))];
            uint256 reward = Math.min(node.reward, purse);
            if (reward != 0) {
                node.reward = 0;
                purse -= reward;
                bond -= reward;
                _owe(node.answerer, reward);
            }
            if (level == g.level) break;
            level -= LEVELS;
        }
        _owe(RunConstants.distributor(), bond);
    }

    /// @dev Three times the gas in ETH; in a token, whose price in gas nobody knows here, an equal part of the half.
    function _rewardFor(uint256 gasUsed) internal view returns (uint256) {
        uint256 share = uint256(RunConstants.challengeBond()) / 2 / MAX_ANSWERS;
        uint256 reward = RunConstants.asset() == address(0) ? 3 * (gasUsed + ANSWER_OVERHEAD_GAS) * block.basefee : share;
        return Math.min(reward, type(uint96).max);
    }

    /*//////////////////////////////////////////////////////////////
                                 NODES
    //////////////////////////////////////////////////////////////*/

    function _ask(bytes32 digest, uint8 level, uint32 position, bytes32 hash, uint256 sum) internal {
        Node storage node = _nodes[_nodeKey(digest, level, position)];
        if (node.askedAt != 0) return;
        node.hash = hash;
        node.sum = uint64(sum);
        node.askedAt = uint40(block.timestamp);
        emit NodeAsked(digest, level, position, hash, sum);
    }

    function _fold(Sibling[] calldata descendants) internal pure returns (bytes32, uint256) {
        Sibling[] memory level = descendants;
        for (uint256 width = level.length / 2; width != 0; width /= 2) {
            for (uint256 i = 0; i < width; ++i) {
                Sibling memory l = level[2 * i];
                Sibling memory r = level[2 * i + 1];
                level[i] = Sibling(SumTree.nodeHash(l.hash, l.sum, r.hash, r.sum), l.sum + r.sum);
            }
        }
        return (level[0].hash, level[0].sum);
    }

    function _stepFrom(uint256 level) internal pure returns (uint256) {
        return Math.min(level, LEVELS);
    }

    /// @dev After a void by default the whole dispute period remains to complete the answers.
    function _answerDeadline(Case storage c, Node storage node) internal view returns (uint256) {
        uint256 deadline = uint256(node.askedAt) + RunConstants.answerTime();
        return c.voidedAt == 0 ? deadline : Math.max(deadline, uint256(c.voidedAt) + RunConstants.disputePeriod());
    }

    function _moveDeadline(Game storage g, Node storage node) internal view returns (uint256) {
        return Math.max(g.movedAt, node.answeredAt) + RunConstants.answerTime();
    }

    function _nodeKey(bytes32 digest, uint8 level, uint32 position) internal pure returns (bytes32) {
        return keccak256(abi.encode(digest, level, position));
    }

    /*//////////////////////////////////////////////////////////////
                                 VIEWS
    //////////////////////////////////////////////////////////////*/

    function gameAt(uint256 game)
        external
        view
        returns (bytes32 digest, address challenger, uint8 level, uint32 position, uint64 movedAt, bool closed)
    {
        Game storage g = _games[game];
        return (g.digest, g.challenger, g.level, g.position, g.movedAt, g.closed);
    }

    function nodeAt(bytes32 digest, uint8 level, uint32 position)
        external
        view
        returns (bytes32 hash, uint256 sum, uint64 askedAt, uint64 answeredAt, bytes32 answerHash, address answerer)
    {
        Node storage node = _nodes[_nodeKey(digest, level, position)];
        return (node.hash, node.sum, node.askedAt, node.answeredAt, node.answerHash, node.answerer);
    }
}
