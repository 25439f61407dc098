// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Leaf, Report, Sibling, Verdict} from "./Types.sol";

/// @title IDisputes
/// @notice Proofs against a pending report, the root game, and disputes over credits. A contract of its own because the oracle
/// with them would exceed the code-size limit. It holds the bonds of open games and challenges and nothing else.
/// Assumptions: someone who watches has the chain's data within the run's answer time; blocks are not withheld for that long.
interface IDisputes {
    error NotPending();
    error WrongReport();
    error WrongList();
    error InvalidProof();
    error NotFraud();
    error WindowOver();
    error NotChallenger();
    error UnknownNode();
    error AlreadyAnswered();
    error NotAnswered();
    error WrongAnswer();
    error TooLate();
    error TooEarly();
    error AtLeaf();
    error GameOver();
    error NotJudgeable();
    error AlreadyChallenged();
    error NotChallenged();
    error NotProvider();
    error NotConvicted();

    event WrongLeafProved(bytes32 indexed digest, uint32 indexed index, address indexed prover);
    event BadListProved(bytes32 indexed digest, uint256 position, address indexed prover);
    event GameOpened(uint256 indexed game, bytes32 indexed digest, uint64 indexed epoch, address challenger);
    event NodeAsked(bytes32 indexed digest, uint8 level, uint32 position, bytes32 hash, uint256 sum);
    event NodeAnswered(bytes32 indexed digest, uint8 level, uint32 position, address answerer, Sibling[] descendants);
    event ReportUnanswered(bytes32 indexed digest, uint64 indexed epoch, uint256 indexed game);
    event GameClosed(uint256 indexed game, bool challengerLost);
    event FraudByDefault(bytes32 indexed digest, uint256 indexed game);
    event CreditsChallenged(uint64 indexed epoch, uint32 indexed index, address indexed challenger, bytes32 evidenceSha256, uint64 until);
    event ChallengeAnswered(uint64 indexed epoch, uint32 indexed index, bytes32 evidenceSha256);
    event VerdictGiven(uint64 indexed epoch, uint32 indexed index, bool convicted, bytes32 evidenceSha256);
    event Convicted(uint64 indexed epoch, uint32 indexed index, uint64 credits, uint256 debt, uint256 slashed);
    event ChallengeClosed(uint64 indexed epoch, uint32 indexed index);

    /*//////////////////////////////////////////////////////////////
                          WRONG LEAF, WRONG LIST
    //////////////////////////////////////////////////////////////*/

    /// @notice Proves that a report's tree has a wrong leaf at `index`: fraud by its signers. Against the pending report, or against one
    /// that was voided because a node was not answered, as long as a game on it is open.
    /// @param leafHash hash that the new root commits to at `index`; no preimage is needed
    /// @param leafSum sum that the new root commits to at `index`
    /// @param proof siblings of that position in the new root
    /// @param last last final leaf of the index, with C 0 if it is empty
    /// @param lastProof siblings of `last` in the last final root, none if the index is beyond its tree
    function proveWrongLeaf(
        Report calldata report,
        bytes calldata credits,
        uint32 index,
        bytes32 leafHash,
        uint256 leafSum,
        Sibling[] calldata proof,
        Leaf calldata last,
        Sibling[] calldata lastProof
    ) external;

    /// @notice Proves that a report's list is malformed at entry `position`: a wrong length (any position), zero credits, an index that
    /// nobody had registered when the epoch was closed, or one that is not above the one before it. When, as for `proveWrongLeaf`.
    function proveBadList(Report calldata report, bytes calldata credits, uint256 position) external;

    /*//////////////////////////////////////////////////////////////
                               ROOT GAME
    //////////////////////////////////////////////////////////////*/

    /// @notice Asks for the root's descendants, with the run's challenge bond: in the report's original window, or within
    /// a dispute period after the report was voided because a node was not answered.
    function openGame(Report calldata report) external payable returns (uint256 game);

    /// @notice Answers a node that was asked for with its descendants five levels down (fewer near the leaves). Anyone; serves every
    /// game on that node.
    function answerNode(bytes32 digest, uint8 level, uint32 position, Sibling[] calldata descendants) external;

    /// @notice Goes on to a descendant that differs from the true tree. Only the challenger, within the answer time. Once the leaves are
    /// answered, `proveWrongLeaf` decides.
    function descend(uint256 game, Sibling[] calldata descendants, uint32 child) external;

    /// @notice Voids the report because the game's node was not answered in time. Anyone.
    function timeoutAnswer(uint256 game) external;

    /// @notice Settles the bond of a game that is over, and finds fraud when a node stayed unanswered for a dispute period. Anyone.
    function closeGame(uint256 game) external;

    /*//////////////////////////////////////////////////////////////
                            CREDIT DISPUTES
    //////////////////////////////////////////////////////////////*/

    /// @notice Doubts the credits of `index` in `epoch`, with the run's dispute bond: while its report is pending or within a dispute
    /// period after it is final.
    function challengeCredits(uint64 epoch, uint32 index, bytes32 evidenceSha256) external payable;

    /// @notice The provider's own evidence. Only its account.
    function answerChallenge(uint64 epoch, uint32 index, bytes32 evidenceSha256) external;

    /// @notice A quorum's judgement, within a dispute period of the challenge. At most one for each epoch and index.
    function submitVerdict(Verdict calldata verdict, bytes[] calldata signatures) external;

    /// @notice Carries out a conviction once its epoch is final, with the amount proved from the report's list. Anyone.
    function enforceVerdict(Report calldata report, bytes calldata credits, uint32 index) external;

    /// @notice Returns the bond of a challenge that got no verdict in time or whose epoch is void. Anyone.
    function closeChallenge(uint64 epoch, uint32 index) external;

    /*//////////////////////////////////////////////////////////////
                                 VIEWS
    //////////////////////////////////////////////////////////////*/

    /// @notice Games whose bond is not settled yet.
    function openGames() external view returns (uint256);
    function gameAt(uint256 game)
        external
        view
        returns (bytes32 digest, address challenger, uint8 level, uint32 position, uint64 movedAt, bool closed);
    function nodeAt(bytes32 digest, uint8 level, uint32 position)
        external
        view
        returns (bytes32 hash, uint256 sum, uint64 askedAt, uint64 answeredAt, bytes32 answerHash, address answerer);
    function challengeOf(uint64 epoch, uint32 index)
        external
        view
        returns (address challenger, uint64 until, bool judged, bool convicted);
}
