"""One report at one block: its true tree, what is known of the tree that was signed, and the games over it. Pure.

A `level` counts from the leaves (0) up to the root (the report's depth), a `position` from the left, as in the
contracts. `Sibling` is a node: hash and sum.
"""

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from commonweight.chain.contracts.disputes import Game, Node
from commonweight.chain.ledger_view import FiledReport
from commonweight.chain.structs import ZERO_ADDRESS, Leaf, Report, RunParams, Sibling
from commonweight.errors import FormatError
from commonweight.protocol import creditslist
from commonweight.protocol.credits import next_leaves
from commonweight.protocol.sumtree import SumTree, node_hash

LEVELS = 5
Place = tuple[int, int]


class Nodes(Protocol):
    """A tree of which some nodes may be unknown."""

    def node(self, height: int, position: int, /) -> Sibling | None:
        """The node, or None when nobody has shown it."""


class State(enum.Enum):
    """Where a report stands: can still become final; void for want of an answer; void by proof; settled otherwise."""

    PENDING = "pending"
    UNANSWERED = "unanswered"
    FRAUD = "fraud"
    SETTLED = "settled"


@dataclass(frozen=True)
class Play:
    """An open game with the number that names it."""

    number: int
    game: Game


@dataclass(frozen=True)
class Case:
    """A report with everything that a move depends on. `now` is the block's time, Unix seconds.

    `last` is the last final tree before the report, and `sound` whether the chain's root is that tree's. `true` is the
    tree that follows from the report's list, None when entry `bad` of the list is malformed. `known` is what has been
    shown of the signed tree, `nodes` the asked nodes, `answerers` who answered which node.
    """

    filed: FiledReport
    params: RunParams
    state: State
    now: int
    window_end: int
    voided_at: int
    last: SumTree
    sound: bool
    bad: int | None
    true: SumTree | None
    known: Nodes
    plays: tuple[Play, ...] = ()
    nodes: Mapping[Place, Node] = field(default_factory=dict)
    answerers: Mapping[Place, str] = field(default_factory=dict)

    @property
    def report(self) -> Report:
        """The report as it was signed."""
        return self.filed.event.report

    @property
    def digest(self) -> bytes:
        """The report's EIP-712 digest."""
        return self.filed.event.digest

    @property
    def genuine(self) -> bool:
        """Whether the signed root and sum are those that the list gives."""
        return self.true is not None and self.true.node(self.true.depth, 0) == Sibling(
            self.report.root, self.report.sum
        )

    @property
    def provable(self) -> bool:
        """Whether a proof of a wrong leaf or list is accepted: pending, or void unanswered with a game still open."""
        return self.state == State.PENDING or (self.state == State.UNANSWERED and bool(self.plays))

    def answer_deadline(self, node: Node) -> int:
        """The first second in which a node cannot be answered any more."""
        deadline = node.asked_at + self.params.answer_time
        return deadline if not self.voided_at else max(deadline, self.voided_at + self.params.dispute_period)

    def move_deadline(self, play: Play, node: Node) -> int:
        """The first second in which a game's challenger has lost by silence."""
        return max(play.game.moved_at, node.answered_at) + self.params.answer_time

    def opening_deadline(self) -> int:
        """The first second in which no game can be opened any more."""
        if self.state == State.PENDING:
            return self.window_end
        return self.voided_at + self.params.dispute_period if self.state == State.UNANSWERED else 0


class Revealed:
    """What answers have shown of a signed tree; what lies between an answered node and its descendants follows."""

    def __init__(self, root: Sibling, depth: int) -> None:
        self._nodes: dict[Place, Sibling] = {(depth, 0): root}

    def node(self, height: int, position: int, /) -> Sibling | None:
        """The node, or None when no answer has shown it."""
        return self._nodes.get((height, position))

    def add(self, level: int, position: int, descendants: Sequence[Sibling]) -> None:
        """Take in an answer that the contract has accepted."""
        row = list(descendants)
        height = level - min(level, LEVELS)
        while True:
            first = position << (level - height)
            for place, node in enumerate(row):
                self._nodes.setdefault((height, first + place), node)
            if height == level:
                return
            pairs = zip(row[::2], row[1::2], strict=True)
            row = [Sibling(node_hash(left, right), left.sum + right.sum) for left, right in pairs]
            height += 1


def true_tree(filed: FiledReport) -> SumTree:
    """The tree that follows from the last final leaves and the report's list. FormatError when there is none."""
    event, closed = filed.event, filed.closed
    listed = creditslist.decode(event.credits)
    leaves = next_leaves(filed.leaves.values(), listed, closed.acc, event.wage, filed.accounts)
    return SumTree(leaves, event.report.depth)


def signed_tree(filed: FiledReport, leaves: Iterable[Leaf]) -> SumTree | None:
    """The tree of leaves that somebody published for a report; None unless it is the very tree that was signed."""
    report = filed.event.report
    try:
        tree = SumTree(leaves, report.depth)
    except FormatError:
        return None
    return tree if tree.node(report.depth, 0) == Sibling(report.root, report.sum) else None


def descendants_of(tree: Nodes, level: int, position: int) -> list[Sibling] | None:
    """A node's descendants as an answer gives them; None when some are unknown."""
    step = min(level, LEVELS)
    row = [tree.node(level - step, (position << step) | place) for place in range(1 << step)]
    known = [node for node in row if node is not None]
    return known if len(known) == len(row) else None


def first_wrong(signed: Nodes, true: SumTree) -> tuple[int, Sibling] | None:
    """The lowest index whose leaf is known in the signed tree, with its whole path, and differs from the true one."""
    waiting = [(true.depth, 0)]
    while waiting:
        level, position = waiting.pop()
        node = signed.node(level, position)
        if node is None or node == true.node(level, position):
            continue
        if level == 0:
            return position, node
        # Of a node that differs some child does, so that only these have to be followed.
        waiting += [(level - 1, 2 * position + 1), (level - 1, 2 * position)]
    return None


def path_of(signed: Nodes, index: int, depth: int) -> list[Sibling]:
    """The siblings of a leaf that `first_wrong` found: those of a shown node are always shown with it."""
    siblings = [signed.node(height, (index >> height) ^ 1) for height in range(depth)]
    return [sibling for sibling in siblings if sibling is not None]


def last_leaf(case: Case, index: int) -> Leaf:
    """An index's leaf in the last final tree, one with no credits if it is empty."""
    return case.last.leaf(index) or Leaf(index, ZERO_ADDRESS, 0, 0, 0)
