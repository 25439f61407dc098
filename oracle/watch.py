"""What the chain says: one immutable view per look, of the finalised chain wherever money or credits follow from it.

`Watcher.look` blocks (an event loop runs it in a thread) and touches nothing but the chain; `apply` then writes what is
new into the database. A look that fails is repeated, and reads on where it failed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from commonweight.chain.challenges import CHALLENGE_EVENTS, Case, follow
from commonweight.chain.events import (
    Banned,
    ChainEvent,
    EpochClosed,
    ExitRequested,
    KeyRotated,
    PayoutChanged,
    PeerChanged,
    ProviderRegistered,
    ReportSubmitted,
    RoundAnchored,
    SignerSetChanged,
    Slashed,
    StakeAdded,
    StakeWithdrawn,
)
from commonweight.chain.ledger_view import LEDGER_EVENTS, LedgerEpoch, LedgerView
from commonweight.chain.run import Run
from commonweight.chain.structs import EpochInfo, EpochState, LatestRoot, Provider
from commonweight.chain.types import Block
from commonweight.protocol.attested import Attested
from commonweight.protocol.fields import lower_address
from commonweight.protocol.offices import Offices
from commonweight.protocol.sumtree import Leaf
from oracle.db import AnchorRow, Database

_REGISTRY_EVENTS: tuple[type[ChainEvent], ...] = (
    ProviderRegistered, KeyRotated, PayoutChanged, PeerChanged, StakeAdded, StakeWithdrawn, Slashed, Banned,
    ExitRequested,
)  # fmt: skip
_EVENTS = tuple({*_REGISTRY_EVENTS, *CHALLENGE_EVENTS, *LEDGER_EVENTS, RoundAnchored, SignerSetChanged})
_STRETCH = 20_000
"""Blocks whose events are read together: a start that fails in the middle goes on after the last such stretch."""


@dataclass(frozen=True)
class View:
    """The chain at one moment. `open_epoch` is the last closed epoch (-1: none) and `open_info` where it stands, at the
    finalised block; `head_*` are the same at the latest block, for deciding what is due. `leaves` and `depth` are the
    last final tree as the credits lists give it, `closed` and `reports` the epochs' events, `keys` all signing keys
    that a provider has had, lower case, `offices` all signer sets until then, `cases` all challenges of credits,
    `epochs` all settled epochs and `staked` the providers' stakes when the last closed one was closed.
    """

    latest: Block
    finalized: Block
    providers: tuple[Provider, ...]
    keys: Mapping[int, frozenset[str]]
    signers: tuple[str, ...]
    offices: Offices
    quorum: int
    config_digest: bytes
    open_epoch: int
    open_info: EpochInfo | None
    head_epoch: int
    head_info: EpochInfo | None
    ledger: LatestRoot
    credits_limit: int
    finished: bool
    leaves: tuple[Leaf, ...]
    depth: int
    closed: Mapping[int, EpochClosed]
    reports: Mapping[int, ReportSubmitted]
    final: Mapping[int, bool]
    cases: tuple[Case, ...] = ()
    epochs: Mapping[int, LedgerEpoch] = field(default_factory=dict)
    staked: Mapping[int, int] = field(default_factory=dict)

    @property
    def reported_round(self) -> int:
        """The round that the last final report leads to, 0 before there is one: reports take rounds in order."""
        return max((event.report.round for epoch, event in self.reports.items() if self.final.get(epoch)), default=0)

    def attested(self, epoch: int) -> Attested | None:
        """What the last final report before an epoch attested."""
        final = [number for number in self.reports if number < epoch and self.final.get(number)]
        return Attested.of(self.reports[max(final)].report) if final else None

    def provider(self, index: int) -> Provider | None:
        """The provider at an index of the finalised registry."""
        return self.providers[index] if 0 <= index < len(self.providers) else None

    def index_of_key(self, key: str) -> int | None:
        """The index that a signing key belongs to."""
        wanted = key.lower()
        return next((i for i, p in enumerate(self.providers) if p.signing_key.lower() == wanted), None)

    def may_train(self, index: int) -> bool:
        """Registered, not leaving, not banned at the latest block's time."""
        provider = self.provider(index)
        return provider is not None and not provider.exit_at and provider.banned_until <= self.latest.timestamp

    def position(self, signer: str) -> int:
        """A signer's place in the set, -1 when it is not in office."""
        return self.signers.index(signer) if signer in self.signers else -1

    def turns(self, signer: str, position: int, block: int) -> int:
        """How many turns a signer waits before it does what a block's hash drew for the signer at a position; none for
        its own. Who came into office later comes after all who shared the draws.
        """
        office = self.offices.at(block)
        if signer in office:
            return (office.index(signer) - position) % len(office)
        return len(office) + max(0, self.position(signer))


@dataclass(frozen=True)
class Look:
    """A view with the events of the blocks that have become final since the look before."""

    view: View
    events: tuple[ChainEvent, ...]
    upto_block: int


class Watcher:
    """Looks at the chain, again and again."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._next_block = -1  # each process reads the events anew: what they change is written idempotently
        self._read: list[ChainEvent] = []  # events that nothing of what follows here has seen yet
        self._providers: dict[int, Provider] = {}
        self._keys: dict[int, frozenset[str]] = {}
        self._offices = Offices(())
        self._cases: tuple[Case, ...] = ()
        self._ledger = LedgerView(run)

    def look(self, seen: View | None) -> Look | None:
        """Read the chain, if there is a block since `seen`. Raises ChainError; then no view has changed."""
        run, chain = self._run, self._run.chain
        latest = chain.block()
        if seen is not None and latest.hash == seen.latest.hash:
            return None
        finalized = chain.finalized_block()
        at = finalized.number
        while (start := self._ledger.next_block) <= at:
            self._read_on(start, min(at, start + _STRETCH - 1))
        events = tuple(event for event in self._read if self._next_block <= event.block <= at)
        providers = self._registry(events, at)
        open_epoch = run.oracle.next_epoch(block=at) - 1
        head_epoch = run.oracle.next_epoch() - 1
        view = View(
            latest, finalized, providers, self._known_keys(events),
            tuple(lower_address(s) for s in run.oracle.signers(block=at)), self._known_offices(events),
            run.oracle.quorum(block=at), run.oracle.config_digest(block=at),
            open_epoch, run.oracle.epoch_info(open_epoch, block=at) if open_epoch >= 0 else None,
            head_epoch, run.oracle.epoch_info(head_epoch) if head_epoch >= 0 else None,
            run.ledger.latest(block=at), run.oracle.credits_limit(block=at), run.oracle.finished_at(block=at) > 0,
            self._ledger.leaves, self._ledger.depth, dict(self._ledger.closed), dict(self._ledger.reports),
            {number: epoch.final for number, epoch in self._ledger.epochs.items()},
            follow(self._cases, events), dict(self._ledger.epochs), self._ledger.staked,
        )  # fmt: skip
        return Look(view, events, at)

    def apply(self, look: Look, db: Database) -> None:
        """Write what a look brought; doing it twice changes nothing."""
        rows = [
            AnchorRow(
                e.block, e.log_index, e.round, e.epoch, e.deadline, e.commitments_root, e.record_round, e.record_hash,
                e.tx,
            )
            for e in look.events
            if isinstance(e, RoundAnchored)
        ]  # fmt: skip
        if look.upto_block >= self._next_block:
            db.add_anchors(rows, look.upto_block)
            self._keys = dict(look.view.keys)
            self._offices = look.view.offices
            self._cases = look.view.cases
            self._next_block = look.upto_block + 1
            self._read = [event for event in self._read if event.block > look.upto_block]

    def _read_on(self, start: int, stop: int) -> None:
        found = list(self._run.events(_EVENTS, from_block=start, to_block=stop))
        self._ledger.take((event for event in found if isinstance(event, LEDGER_EVENTS)), stop)
        self._read += found

    def _known_keys(self, events: Iterable[ChainEvent]) -> dict[int, frozenset[str]]:
        keys = dict(self._keys)
        for event in events:
            if isinstance(event, ProviderRegistered | KeyRotated):
                keys[event.index] = keys.get(event.index, frozenset()) | {lower_address(event.signing_key)}
        return keys

    def _known_offices(self, events: Iterable[ChainEvent]) -> Offices:
        new = [(e.block, tuple(map(lower_address, e.signers))) for e in events if isinstance(e, SignerSetChanged)]
        return Offices((*self._offices.sets, *new))

    def _registry(self, events: Iterable[ChainEvent], at: int) -> tuple[Provider, ...]:
        """Only what has changed is read again."""
        registry = self._run.registry
        changed = {getattr(e, "index", -1) for e in events if isinstance(e, _REGISTRY_EVENTS)}
        count = registry.provider_count(block=at)
        for index in range(count):
            if index in changed or index not in self._providers:
                self._providers[index] = registry.provider_at(index, block=at)
        return tuple(self._providers[i] for i in range(count))


def settled(info: EpochInfo | None) -> bool:
    """Whether an epoch is final or void."""
    return info is not None and EpochState(info.state).settled
