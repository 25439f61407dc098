"""What a watcher decides, apart from any chain: one case after the other of section 4.4, and its deadlines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from commonweight.audit.watcher.cases import (
    Case,
    Play,
    Revealed,
    State,
    descendants_of,
    first_wrong,
    path_of,
    signed_tree,
    true_tree,
)
from commonweight.audit.watcher.moves import (
    AnswerNode,
    CloseGame,
    Descend,
    Move,
    OpenGame,
    ProveBadList,
    ProveWrongLeaf,
    TimeoutAnswer,
    margin_s,
    moves_for,
)
from commonweight.chain.contracts.disputes import Game, Node
from commonweight.chain.events import EpochClosed, ReportSubmitted
from commonweight.chain.ledger_view import FiledReport
from commonweight.chain.structs import Leaf, Report, Sibling
from commonweight.protocol import creditslist
from commonweight.protocol.sumtree import SumTree, climb
from tests.chain.scenario import CID, make_params

pytestmark = pytest.mark.unit
PARAMS = make_params(0)
ME, OTHER = "0x" + "11" * 20, "0x" + "22" * 20
DEPTH, PROVIDERS = 12, 3000
FILED_AT = 1_000_000
WINDOW_END = FILED_AT + PARAMS.challenge_window
PLACE = {"address": ME, "block": 1, "block_hash": bytes(32), "tx": bytes(32), "log_index": 0}


def account(index: int) -> str:
    return f"0x{0xB000 + index:040x}"


BEFORE = {i: Leaf(i, account(i), 100 + i, 5 * i, 7 * i) for i in (0, 7, 2999)}
LISTED = {7: 40, 1234: 60}
ACC, WAGE = 11 << 64, 3 << 64


def filed(leaves: Mapping[int, Leaf] | None = None, data: bytes | None = None) -> FiledReport:
    """A report whose signed tree has `leaves` (default: the true ones)."""
    listed = creditslist.encode(LISTED) if data is None else data
    closed = EpochClosed(epoch=1, acc=ACC, unlocked_escrow=0, provider_count=PROVIDERS, closed_at=0, **PLACE)
    blank = Report(
        bytes(32), 1, 0, bytes(32), bytes(32), 0, DEPTH, 100, creditslist.list_hash(listed), CID, bytes(32), bytes(32),
        CID, 1, 1, 1, bytes(32),
    )  # fmt: skip
    event = ReportSubmitted(
        epoch=1,
        attempt=0,
        digest=b"d" * 32,
        report=blank,
        credits=listed,
        signers=(),
        signatures=(),
        wage=WAGE,
        **PLACE,
    )
    accounts = {i: account(i) for i in range(PROVIDERS)}
    made = FiledReport(event, closed, BEFORE, DEPTH, SumTree(BEFORE.values(), DEPTH).root, accounts)
    tree = true_tree(made) if leaves is None and data is None else SumTree((leaves or BEFORE).values(), DEPTH)
    return replace(made, event=replace(event, report=replace(blank, root=tree.root, sum=tree.sum)))


def true_leaves() -> dict[int, Leaf]:
    return {leaf.index: leaf for leaf in true_tree(filed()).leaves}


def lie() -> dict[int, Leaf]:
    """Credits moved from provider 0 to 2048."""
    leaves = true_leaves()
    leaves[0] = replace(leaves[0], C=leaves[0].C - 3)
    leaves[2048] = Leaf(2048, account(2048), 3, 0, 0)
    return leaves


def case_of(leaves: Mapping[int, Leaf] | None = None, *, data: bytes | None = None, **changes: object) -> Case:
    report = filed(leaves, data)
    bad = creditslist.bad_position(report.event.credits, PROVIDERS)
    true = true_tree(report) if bad is None else None
    root = Sibling(report.event.report.root, report.event.report.sum)
    case = Case(
        report, PARAMS, State.PENDING, FILED_AT + 1, WINDOW_END, 0, SumTree(BEFORE.values(), DEPTH), True, bad, true,
        Revealed(root, DEPTH),
    )  # fmt: skip
    return replace(case, **changes)  # type: ignore[arg-type]


def play(number: int, who: str, *, level: int = DEPTH, position: int = 0, moved_at: int = FILED_AT) -> Play:
    return Play(number, Game(b"d" * 32, who, level, position, moved_at, False))


def node(asked_at: int = FILED_AT, answered_at: int = 0) -> Node:
    return Node(bytes(32), 0, asked_at, answered_at, bytes(32), OTHER)


def shown(*places: tuple[int, int]) -> Revealed:
    """What answers at these places have shown of the lie."""
    tree = SumTree(lie().values(), DEPTH)
    found = Revealed(tree.node(DEPTH, 0), DEPTH)
    for level, position in places:
        descendants = descendants_of(tree, level, position)
        assert descendants is not None
        found.add(level, position, descendants)
    return found


def only(case: Case, me: str = ME) -> Move | None:
    moves, missed = moves_for(case, me)
    assert missed == []
    assert len(moves) <= 1
    return moves[0] if moves else None


def test_a_true_report_needs_nothing() -> None:
    assert case_of().genuine
    assert only(case_of()) is None


def test_a_bad_list_is_proved_first() -> None:
    data = creditslist.encode({1: 5}) + creditslist.encode({1: 5})
    move = only(case_of(data=data))
    assert isinstance(move, ProveBadList)
    assert move.position == 1


@pytest.mark.parametrize(
    ("data", "position"),
    [
        (b"", None),
        (b"\x00" * 13, 0),
        (creditslist.encode({5: 1, 6: 1}), None),
        (creditslist.encode({5: 1, 3000: 1}), 1),
        (creditslist.encode({5: 1}) + bytes(4) + (1).to_bytes(8, "big"), 1),
        (creditslist.encode({5: 1}) + (6).to_bytes(4, "big") + bytes(8), 1),
    ],
)
def test_a_list_is_bad_where_the_contract_says_so(data: bytes, position: int | None) -> None:
    assert creditslist.bad_position(data, PROVIDERS) == position


def test_a_published_lie_is_proved_by_its_lowest_wrong_leaf() -> None:
    report = filed(lie())
    tree = signed_tree(report, lie().values())
    assert tree is not None
    move = only(case_of(lie(), known=tree))
    assert isinstance(move, ProveWrongLeaf)
    assert (move.index, move.last, move.deadline) == (0, BEFORE[0], None)
    assert climb(move.leaf, 0, move.proof) == tree.node(DEPTH, 0)
    assert signed_tree(report, true_leaves().values()) is None
    assert signed_tree(report, [Leaf(1 << DEPTH, ME, 1, 0, 0)]) is None


def test_a_hidden_lie_is_asked_for_and_the_bond_is_the_runs() -> None:
    assert only(case_of(lie())) == OpenGame(WINDOW_END, filed(lie()).event.report, PARAMS.challenge_bond)


def test_a_friends_game_is_no_reason_to_have_none() -> None:
    case = case_of(lie(), plays=(play(1, OTHER),), nodes={(DEPTH, 0): node()})
    assert isinstance(only(case), OpenGame)


def test_it_waits_for_the_answer_and_voids_when_none_comes() -> None:
    case = case_of(lie(), plays=(play(1, ME),), nodes={(DEPTH, 0): node()})
    assert only(replace(case, now=FILED_AT + PARAMS.answer_time - 1)) is None
    assert only(replace(case, now=FILED_AT + PARAMS.answer_time)) == TimeoutAnswer(None, 1)


def test_anybodys_game_may_void_a_false_report() -> None:
    plays = (play(1, OTHER), play(2, ME, moved_at=FILED_AT + 50))
    case = case_of(lie(), plays=plays, nodes={(DEPTH, 0): node()}, now=FILED_AT + PARAMS.answer_time)
    assert only(case) == TimeoutAnswer(None, 1)


@pytest.mark.parametrize(("places", "level", "position"), [(((12, 0),), 12, 0), (((12, 0), (7, 0)), 7, 0)])
def test_it_descends_to_the_first_child_that_differs(
    places: tuple[tuple[int, int], ...], level: int, position: int
) -> None:
    known, answered = shown(*places), FILED_AT + 20
    case = case_of(
        lie(), known=known, plays=(play(4, ME, level=level, position=position),),
        nodes={(level, position): node(answered_at=answered)}, now=answered + 1,
    )  # fmt: skip
    move = only(case)
    assert isinstance(move, Descend)
    assert (move.game, move.child, move.deadline) == (4, 0, answered + PARAMS.answer_time)
    late = replace(case, now=answered + PARAMS.answer_time - margin_s(PARAMS.answer_time))
    moves, missed = moves_for(late, ME)
    assert moves == []
    assert "too late" in missed[0].what


def test_answers_down_to_the_leaves_are_a_proof_whoever_asked() -> None:
    known = shown((12, 0), (7, 0), (2, 0))
    true = true_tree(filed())
    assert first_wrong(known, true) == (0, Sibling(SumTree(lie().values(), DEPTH).node(0, 0).hash, 97))
    assert climb(known.node(0, 0) or Sibling(b"", 0), 0, path_of(known, 0, DEPTH)) == known.node(DEPTH, 0)
    case = case_of(lie(), known=known, plays=(play(1, OTHER, level=2),), nodes={(2, 0): node()})
    assert isinstance(only(case), ProveWrongLeaf)


def test_after_a_default_it_joins_while_it_can_and_proves_only_with_a_game_open() -> None:
    voided = FILED_AT + 60
    case = case_of(lie(), state=State.UNANSWERED, voided_at=voided, now=voided + 1)
    assert only(case) == OpenGame(voided + PARAMS.dispute_period, case.report, PARAMS.challenge_bond)
    known = shown((12, 0), (7, 0), (2, 0))
    assert isinstance(only(replace(case, known=known)), OpenGame)
    with_game = replace(case, known=known, plays=(play(1, ME),), nodes={(DEPTH, 0): node()})
    assert isinstance(only(with_game), ProveWrongLeaf)


def test_silence_for_a_dispute_period_is_closed_as_fraud() -> None:
    voided = FILED_AT + 60
    case = case_of(
        lie(), state=State.UNANSWERED, voided_at=voided, plays=(play(1, ME),), nodes={(DEPTH, 0): node()},
        now=voided + PARAMS.dispute_period - 1,
    )  # fmt: skip
    assert only(case) is None
    assert only(replace(case, now=case.now + 1)) == CloseGame(None, 1)


def test_a_bond_is_fetched_once_the_report_has_fallen() -> None:
    case = case_of(lie(), state=State.FRAUD, plays=(play(1, ME), play(2, OTHER)), nodes={(DEPTH, 0): node()})
    assert only(case) == CloseGame(None, 1)


def test_an_honest_node_is_answered_once_and_in_time() -> None:
    case = case_of(plays=(play(1, OTHER), play(2, OTHER)), nodes={(DEPTH, 0): node()})
    move = only(case)
    assert isinstance(move, AnswerNode)
    assert (move.level, move.position, move.deadline) == (DEPTH, 0, FILED_AT + PARAMS.answer_time)
    revealed = Revealed(Sibling(bytes(32), 0), 99)
    revealed.add(DEPTH, 0, move.descendants)
    assert revealed.node(DEPTH, 0) == Sibling(case.report.root, case.report.sum)
    assert only(replace(case, nodes={(DEPTH, 0): node(answered_at=FILED_AT + 1)})) is None
    moves, missed = moves_for(case, ME, answers=False)
    assert (moves, len(missed)) == ([], 1)


def test_after_a_default_an_honest_report_is_still_answered() -> None:
    voided = FILED_AT + 60
    case = case_of(
        state=State.UNANSWERED, voided_at=voided, plays=(play(1, OTHER),), nodes={(DEPTH, 0): node()}, now=voided + 500
    )
    move = only(case)
    assert isinstance(move, AnswerNode)
    assert move.deadline == voided + PARAMS.dispute_period


def test_a_silent_challenger_is_closed_by_who_answered() -> None:
    answered = FILED_AT + 5
    case = case_of(
        plays=(play(1, OTHER, level=7, position=3),),
        nodes={(7, 3): node(answered_at=answered)},
        answerers={(12, 0): ME, (7, 3): OTHER},
        now=answered + PARAMS.answer_time,
    )
    assert only(case) == CloseGame(None, 1)
    assert only(case, "0x" + "33" * 20) is None
    assert only(replace(case, answerers={(12, 0): OTHER, (7, 3): OTHER})) is None
    assert only(replace(case, now=case.now - 1)) is None


def test_nothing_can_be_proved_on_a_false_final_root() -> None:
    moves, missed = moves_for(case_of(lie(), sound=False), ME)
    assert moves == []
    assert "last final root" in missed[0].what
