"""Final epochs, their trees, and what was revoked from them. Nothing in it is ever rewritten."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.ledger_model.tree import Tree

if TYPE_CHECKING:
    from tests.ledger_model.run import Run


@dataclass(frozen=True)
class FinalEpoch:
    """The tree of a final report, and the snapshots that its credits entered at."""

    number: int
    tree: Tree
    root: bytes
    sum: int
    depth: int
    epoch_credits: int
    final_at: int
    acc: int
    wage: int
    digest: bytes


@dataclass
class Revocation:
    """What was revoked from an index: rC, and rA, the sum of c times the accumulator at conviction."""

    credits: int = 0
    acc_weighted: int = 0
    last_epoch: int = 0
    any: bool = False


class Ledger:
    """The final epochs of a run. Before the first report: root 0, sum 0, depth 0."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.finals: dict[int, FinalEpoch] = {}
        self.latest: FinalEpoch | None = None
        self.live = 0
        self.revocations: defaultdict[int, Revocation] = defaultdict(Revocation)
        self.checkpoints: list[tuple[int, int, int, bytes, bytes]] = []  # epoch, round, loss, manifest, parent

    @property
    def root(self) -> bytes:
        """The last final root."""
        return self.latest.root if self.latest else bytes(32)

    @property
    def sum(self) -> int:
        """All final credits, revoked ones too."""
        return self.latest.sum if self.latest else 0

    @property
    def depth(self) -> int:
        """The last final tree's depth."""
        return self.latest.depth if self.latest else 0

    @property
    def tree(self) -> Tree:
        """The last final tree."""
        return self.latest.tree if self.latest else Tree({}, 0)

    def record(self, entry: FinalEpoch) -> None:
        """A final epoch's credits join the denominator."""
        self.finals[entry.number] = self.latest = entry
        self.live += entry.epoch_credits

    def attest(self, epoch: int, round_: int, loss: int, manifest: bytes) -> None:
        """Appends a checkpoint unless it is none or the last one again."""
        parent = self.checkpoints[-1][3] if self.checkpoints else bytes(32)
        if manifest not in (bytes(32), parent):
            self.checkpoints.append((epoch, round_, loss, manifest, parent))

    def revoke(self, index: int, epoch: int, credits: int, acc: int) -> None:
        """Credits leave the denominator at the accumulator of their conviction."""
        revocation = self.revocations[index]
        revocation.credits += credits
        revocation.acc_weighted += credits * acc
        revocation.last_epoch = max(revocation.last_epoch, epoch)
        revocation.any = True
        self.live -= credits
