"""The credit ledger rebuilt from chain data alone: registrations, credits lists, accumulators and wages (specification
4.3).

Every final tree follows from the lists that reports emitted, so that a provider needs nobody's files for its proof,
and anyone can compare each root on chain with the one that the lists give.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from commonweight.chain.events import (
    ChainEvent,
    EpochClosed,
    EpochFinal,
    EpochVoided,
    ProviderRegistered,
    ReportSubmitted,
    Slashed,
    StakeAdded,
    StakeWithdrawn,
)
from commonweight.chain.run import Run
from commonweight.errors import ChainError, FormatError, Refuted
from commonweight.protocol import creditslist
from commonweight.protocol.sumtree import Leaf, Sibling, SumTree, depth_for

LEDGER_EVENTS = (
    ProviderRegistered, StakeAdded, StakeWithdrawn, Slashed, EpochClosed, ReportSubmitted, EpochFinal, EpochVoided,
)  # fmt: skip


@dataclass(frozen=True)
class LedgerEpoch:
    """A settled epoch. A void one has no credits; `tree_root` is what the lists up to here give, `root` what the chain
    says, `block` where it was settled.
    """

    epoch: int
    final: bool
    credits: Mapping[int, int]
    acc: int
    wage: int
    depth: int
    root: bytes
    sum: int
    tree_root: bytes
    block: int

    @property
    def genuine(self) -> bool:
        """Whether the root on chain is the one that the listed credits give."""
        return not self.final or self.root == self.tree_root


@dataclass(frozen=True)
class PendingReport:
    """A report that is accepted and not yet final, with the tree that it must have if its list is taken as true."""

    event: ReportSubmitted
    credits: Mapping[int, int] | None
    tree: SumTree | None

    @property
    def genuine(self) -> bool:
        """Whether its root follows from its list; a malformed list is never genuine."""
        report = self.event.report
        return self.tree is not None and (self.tree.root, self.tree.sum, self.tree.depth) == (
            report.root,
            report.sum,
            report.depth,
        )


@dataclass(frozen=True)
class FiledReport:
    """A report that is not final, with all that its tree follows from.

    `leaves` and `depth` are of the last final tree before it as the lists give it, `root` is the chain's root of it,
    `accounts` the registering accounts by index.
    """

    event: ReportSubmitted
    closed: EpochClosed
    leaves: Mapping[int, Leaf]
    depth: int
    root: bytes
    accounts: Mapping[int, str]


@dataclass(frozen=True)
class CreditProof:
    """What `claimCompute` takes: a leaf of the final tree of `epoch` and its siblings, leaf upwards."""

    epoch: int
    leaf: Leaf
    siblings: tuple[Sibling, ...]


class LedgerView:
    """The ledger of a run up to a block. `advance` reads on; one thread at a time."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._next_block: int | None = None
        self._accounts: dict[int, str] = {}
        self._stakes: dict[int, int] = {}
        self._staked: Mapping[int, int] = {}
        self._closed: dict[int, EpochClosed] = {}
        self._reports: dict[int, ReportSubmitted] = {}
        self._epochs: dict[int, LedgerEpoch] = {}
        self._leaves: dict[int, Leaf] = {}
        self._depth = 0
        self._last_final: int | None = None
        self._filed: dict[int, FiledReport] = {}

    @classmethod
    def of(cls, run: Run, *, to_block: int | None = None) -> LedgerView:
        """The ledger up to `to_block` (default: the latest block)."""
        view = cls(run)
        view.advance(to_block)
        return view

    @property
    def to_block(self) -> int:
        """The last block that is taken in."""
        return -1 if self._next_block is None else self._next_block - 1

    @property
    def next_block(self) -> int:
        """The first block that is not taken in."""
        return self._run.first_block if self._next_block is None else self._next_block

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """The leaves of the last final tree that are not empty, by index."""
        return tuple(self._leaves[index] for index in sorted(self._leaves) if self._leaves[index].C)

    @property
    def depth(self) -> int:
        """The last final tree's depth, 0 before the first report."""
        return self._depth

    @property
    def accounts(self) -> Mapping[int, str]:
        """Registering accounts by index."""
        return self._accounts

    @property
    def staked(self) -> Mapping[int, int]:
        """The providers' stakes when the last closed epoch was closed, by index."""
        return self._staked

    @property
    def epochs(self) -> Mapping[int, LedgerEpoch]:
        """Settled epochs by number."""
        return self._epochs

    @property
    def closed(self) -> Mapping[int, EpochClosed]:
        """The closing of each epoch."""
        return self._closed

    @property
    def reports(self) -> Mapping[int, ReportSubmitted]:
        """The accepted report of each epoch, also of void ones."""
        return self._reports

    @property
    def last_final(self) -> int | None:
        """The last final epoch, None before the first."""
        return self._last_final

    def advance(self, to_block: int | None = None) -> None:
        """Take in events up to `to_block` (default: the latest block). Raises ChainError; then nothing is taken in.

        Where they do not follow from what was read before, a node left out logs then, and all is read again.
        """
        end = self._run.chain.block_number() if to_block is None else to_block
        start = self.next_block
        if start <= end:
            self.take(self._run.events(LEDGER_EVENTS, from_block=start, to_block=end), end)

    def take(self, events: Iterable[ChainEvent], to_block: int) -> None:
        """Take in all LEDGER_EVENTS from `next_block` up to `to_block`, in their order, as `advance` does."""
        ahead = self.fork()
        try:
            ahead._book_all(events, to_block)
        except _IncompleteError:
            ahead = LedgerView(self._run)
            again = self._run.events(LEDGER_EVENTS, from_block=self._run.first_block, to_block=to_block)
            ahead._book_all(again, to_block)
        self.__dict__.update(ahead.__dict__)

    def fork(self) -> LedgerView:
        """The same view, to read on by itself: what it takes in leaves this one as it is."""
        other = copy.copy(self)
        for name in ("_accounts", "_stakes", "_closed", "_reports", "_epochs", "_filed"):
            setattr(other, name, dict(getattr(self, name)))
        return other

    def filed(self, epoch: int) -> FiledReport | None:
        """The report of an epoch that has not become final: it is pending, or the epoch is void."""
        return self._filed.get(epoch)

    def leaf(self, index: int) -> Leaf | None:
        """An index's leaf in the last final tree, None if it is empty."""
        return self._leaves.get(index)

    def tree(self) -> SumTree:
        """The last final tree; of depth 0 before the first report."""
        return SumTree(self._leaves.values(), self._depth)

    def tree_after(self, epoch: int, listed: Mapping[int, int], wage: int) -> SumTree:
        """The tree of a closed epoch if `listed` credits are its list at the scaled `wage`."""
        closed = self._closed.get(epoch)
        if closed is None:
            raise ChainError(f"Epoch {epoch} is not closed.", "", "Close it first.")
        leaves = self._grown(listed, closed.acc, wage)
        return SumTree(leaves.values(), depth_for(closed.provider_count, self._depth))

    def pending(self) -> PendingReport | None:
        """The report that is accepted and not yet settled, if there is one."""
        for epoch, event in self._reports.items():
            if epoch not in self._epochs:
                try:
                    listed = creditslist.decode(event.credits)
                    if creditslist.bad_position(event.credits, self._closed[epoch].provider_count) is not None:
                        raise FormatError("The list names an index that was not registered when the epoch was closed")
                    return PendingReport(event, listed, self.tree_after(epoch, listed, event.wage))
                except FormatError:
                    return PendingReport(event, None, None)
        return None

    def proof(self, index: int) -> CreditProof:
        """The proof of an index's leaf in the last final tree. Raises ChainError if it has no credits, Refuted if the
        root is false.
        """
        leaf = self._leaves.get(index)
        if self._last_final is None or leaf is None:
            raise ChainError(
                f"Provider {index} has no final credits.",
                "No final epoch lists it",
                "Wait until the next epoch is final (`commonweight provider credits` shows what is pending).",
            )
        if not self._epochs[self._last_final].genuine:
            raise Refuted(
                f"No proof can be made for provider {index}.",
                f"The final root of epoch {self._last_final} is not the one that the credits lists give",
                "Ask the signers for their tree and run `commonweight audit verify`.",
            )
        return CreditProof(self._last_final, leaf, tuple(self.tree().proof(index)))

    # --- reading events ----------------------------------------------------------------------------------------------

    def _book_all(self, events: Iterable[ChainEvent], to_block: int) -> None:
        """Book events up to a block, in a view that nobody uses if that fails half-way."""
        for event in events:
            self._take(event)
        self._next_block = to_block + 1

    def _take(self, event: ChainEvent) -> None:
        try:
            self._book(event)
        except KeyError as missing:
            raise _IncompleteError(
                "The node's logs are not complete.",
                f"What {type(event).__name__} in block {event.block} follows from is not there: {missing}",
                "Use another RPC address.",
            ) from None

    def _book(self, event: ChainEvent) -> None:
        match event:
            case ProviderRegistered():
                self._accounts[event.index] = event.account
                self._stakes[event.index] = event.stake
            case StakeAdded():
                self._stakes[event.index] = event.stake
            case StakeWithdrawn() | Slashed():
                self._stakes[event.index] -= event.amount
            case EpochClosed():
                self._closed[event.epoch] = event
                self._staked = dict(self._stakes)
            case ReportSubmitted():
                self._reports[event.epoch] = event
                self._filed[event.epoch] = self._file(event)
            case EpochFinal():
                self._finish(event)
            case EpochVoided():
                self._epochs[event.epoch] = self._void(event)

    def _file(self, event: ReportSubmitted) -> FiledReport:
        last = self._epochs.get(-1 if self._last_final is None else self._last_final)
        root = bytes(32) if last is None else last.root
        closed = self._closed[event.epoch]
        # Never changed in place: what grows is made anew, and an account stays at its index.
        return FiledReport(event, closed, self._leaves, self._depth, root, self._accounts)

    def _finish(self, event: EpochFinal) -> None:
        submitted = self._reports[event.epoch]
        self._filed.pop(event.epoch, None)
        try:
            listed = creditslist.decode(submitted.credits)
            leaves = self._grown(listed, event.acc, event.wage)
            tree_root = SumTree(leaves.values(), submitted.report.depth).root
        except FormatError:  # a false report that nobody challenged in time: kept as it is, and never genuine
            listed, leaves, tree_root = {}, self._leaves, bytes(32)
        self._leaves, self._depth, self._last_final = leaves, submitted.report.depth, event.epoch
        self._epochs[event.epoch] = LedgerEpoch(
            event.epoch, True, listed, event.acc, event.wage, self._depth, event.root, event.sum, tree_root, event.block
        )

    def _void(self, event: EpochVoided) -> LedgerEpoch:
        tree = self.tree()
        return LedgerEpoch(event.epoch, False, {}, 0, 0, self._depth, tree.root, tree.sum, tree.root, event.block)

    def _grown(self, listed: Mapping[int, int], acc: int, wage: int) -> dict[int, Leaf]:
        leaves = dict(self._leaves)
        for index, amount in listed.items():
            account = self._accounts.get(index)
            if account is None:
                raise FormatError(f"Index {index} is credited and not registered")
            old = leaves.get(index) or Leaf(index, account, 0, 0, 0)
            leaves[index] = Leaf(index, account, old.C + amount, old.D + amount * acc, old.W + amount * wage)
        return leaves


class _IncompleteError(ChainError):
    """An event follows from another that was not read."""
