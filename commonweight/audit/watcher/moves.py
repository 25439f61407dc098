"""What should be done about a report now: the whole of section 4.4 as one pure function from a case to moves.

A false report falls by the first of these that can be had: the list is malformed; a leaf is wrong in a tree that was
published or that answers have shown; a game of one's own, since somebody else's may be played by a friend of the
signers who loses it on purpose. An honest report is defended by answering whoever doubts it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from commonweight.audit.watcher.cases import (
    LEVELS,
    Case,
    Place,
    Play,
    State,
    descendants_of,
    first_wrong,
    last_leaf,
    path_of,
)
from commonweight.audit.watcher.equivocation import Equivocation
from commonweight.chain.contracts.disputes import Node
from commonweight.chain.structs import Leaf, Report, Sibling


@dataclass(frozen=True)
class Move:
    """Something to send. `deadline` is the first second in which it is too late, None when it can wait."""

    deadline: int | None

    @property
    def name(self) -> str:
        """What logs call it."""
        return type(self).__name__


@dataclass(frozen=True)
class ProveBadList(Move):
    """The list is malformed at an entry."""

    report: Report
    credits: bytes
    position: int


@dataclass(frozen=True)
class ProveWrongLeaf(Move):
    """The signed tree has a wrong leaf: `leaf` at `index`, `last` in the last final tree."""

    report: Report
    credits: bytes
    index: int
    leaf: Sibling
    proof: tuple[Sibling, ...]
    last: Leaf
    last_proof: tuple[Sibling, ...]


@dataclass(frozen=True)
class OpenGame(Move):
    """Ask for the hidden tree; costs a bond that comes back when the report falls."""

    report: Report
    bond: int


@dataclass(frozen=True)
class Descend(Move):
    """Go on to the descendant that differs."""

    game: int
    descendants: tuple[Sibling, ...]
    child: int


@dataclass(frozen=True)
class AnswerNode(Move):
    """Show the descendants of a node of an honest tree that somebody doubts."""

    digest: bytes
    level: int
    position: int
    descendants: tuple[Sibling, ...]


@dataclass(frozen=True)
class TimeoutAnswer(Move):
    """Void a report of which a node was not answered in time."""

    game: int


@dataclass(frozen=True)
class CloseGame(Move):
    """Settle a game that is over: a bond comes back, answers are paid, or a default becomes fraud."""

    game: int


@dataclass(frozen=True)
class ProveEquivocation(Move):
    """A signer signed two different reports for one epoch and attempt."""

    found: Equivocation


@dataclass(frozen=True)
class TakeDue(Move):
    """Have a contract pay what it owes to this account: bounties, bonds, rewards. `contract` is its name."""

    contract: str


@dataclass(frozen=True)
class Missed:
    """Something that is too late, or cannot be done, and that somebody has to know."""

    what: str


def margin_s(answer_time: int) -> int:
    """How long before its deadline a move is given up: a transaction needs a few blocks, a late one costs its gas."""
    return max(1, answer_time // 10)


def moves_for(case: Case, me: str, *, answers: bool = True) -> tuple[list[Move], list[Missed]]:
    """The moves that the account `me` should make now, the most urgent first, and what it cannot do any more.

    They hold for the case as it is: after any of them the chain has to be looked at again.
    """
    moves: list[Move] = []
    missed: list[Missed] = []
    if case.state in (State.PENDING, State.UNANSWERED):
        for found in _against(case, me) if not case.genuine else _defence(case, answers):
            if isinstance(found, Missed):
                missed.append(found)
            else:
                moves.append(found)
    moves += _closings(case, me)
    late = [m for m in moves if m.deadline is not None and m.deadline <= case.now + margin_s(case.params.answer_time)]
    missed += [Missed(f"{m.name} comes too late: its deadline is {m.deadline}") for m in late]
    return sorted((m for m in moves if m not in late), key=_urgency), missed


def _urgency(move: Move) -> tuple[bool, int]:
    proof = isinstance(move, ProveBadList | ProveWrongLeaf)
    return not proof, 2**63 if move.deadline is None else move.deadline


# --- against a false report ----------------------------------------------------------------------------------------


def _against(case: Case, me: str) -> Iterator[Move | Missed]:
    proof = _proof(case)
    mine = [play for play in case.plays if play.game.challenger == me]
    if proof is not None and case.provable:
        yield proof
        return
    if not case.sound and case.bad is None:
        yield Missed("the last final root is false itself, so that no leaf can be proved to have followed from it")
        return
    for play in case.plays:  # whoever opened it, a default voids a false report
        node = _node(case, play)
        if case.state == State.PENDING and not node.answered_at and case.now >= case.answer_deadline(node):
            yield TimeoutAnswer(None, play.number)
            return
    for play in mine:
        yield from _go_on(case, play)
    if not mine:
        yield OpenGame(case.opening_deadline(), case.report, case.params.challenge_bond)


def _proof(case: Case) -> Move | None:
    report, listed = case.report, case.filed.event.credits
    if case.bad is not None:
        return ProveBadList(None, report, listed, case.bad)
    wrong = first_wrong(case.known, case.true) if case.true is not None and case.sound else None
    if wrong is None:
        return None
    index, leaf = wrong
    path = tuple(path_of(case.known, index, report.depth))
    last_proof = tuple(case.last.proof(index))
    return ProveWrongLeaf(None, report, listed, index, leaf, path, last_leaf(case, index), last_proof)


def _go_on(case: Case, play: Play) -> Iterator[Move]:
    """Descend where an answer differs from the true tree. At the leaves there is a proof instead."""
    level, position = play.game.level, play.game.position
    if not _node(case, play).answered_at or case.true is None:
        return
    shown = descendants_of(case.known, level, position)
    honest = descendants_of(case.true, level, position)
    if shown is None or honest is None:
        return
    child = next((place for place in range(len(shown)) if shown[place] != honest[place]), None)
    if child is not None:
        yield Descend(case.move_deadline(play, _node(case, play)), play.number, tuple(shown), child)


# --- for an honest report ------------------------------------------------------------------------------------------


def _defence(case: Case, answers: bool) -> Iterator[Move | Missed]:
    """Answer what is asked. After a default it still keeps honest signers' bonds, for a dispute period."""
    asked: dict[Place, Node] = {(p.game.level, p.game.position): _node(case, p) for p in case.plays}
    for (level, position), node in asked.items():
        if node.answered_at or case.now >= case.answer_deadline(node):
            continue
        shown = None if case.true is None else descendants_of(case.true, level, position)
        if shown is None:
            continue
        if answers:
            yield AnswerNode(case.answer_deadline(node), case.digest, level, position, tuple(shown))
        else:
            yield Missed(f"node {level}/{position} of an honest report is not answered yet")


# --- when a game is over -------------------------------------------------------------------------------------------


def _closings(case: Case, me: str) -> Iterator[Move]:
    """Games that this account gets something out of: its own bond back, rewards for its answers, a bounty."""
    for play in case.plays:
        lost = _lost(case, play)
        if lost is None:
            continue
        mine = play.game.challenger == me
        if (mine and not lost) or (lost and me in _path_answerers(case, play)):
            yield CloseGame(None, play.number)


def _lost(case: Case, play: Play) -> bool | None:
    """How a game ends if it is closed now, as `RootGame.closeGame` finds it; None while it goes on."""
    if case.state == State.FRAUD:
        return False
    node = _node(case, play)
    silent = bool(node.answered_at) and case.now >= case.move_deadline(play, node)
    if silent:
        return True
    if case.state == State.UNANSWERED and not node.answered_at and case.now >= case.answer_deadline(node):
        return False
    return False if case.state == State.SETTLED else None


def _path_answerers(case: Case, play: Play) -> set[str]:
    """Who answered the nodes from the root to where a game stands."""
    level, position, depth = play.game.level, play.game.position, case.report.depth
    found, at = set(), depth
    while at >= level:
        who = case.answerers.get((at, position >> (at - level)))
        if who is not None:
            found.add(who)
        if at == level:
            break
        at = max(level, at - LEVELS)
    return found


def _node(case: Case, play: Play) -> Node:
    return case.nodes[play.game.level, play.game.position]
