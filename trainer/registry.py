"""What a member remembers of the chain: entries of the registry until they change, and which records are anchored.

What is final is asked for once. What is not may be taken back by a reorganisation, or be unknown to the node that
answers, and is asked for again until it is final.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from commonweight.chain.events import Banned, ExitRequested, KeyRotated, PeerChanged, ProviderRegistered, RoundAnchored
from commonweight.chain.run import Run
from commonweight.errors import ContractError
from commonweight.protocol.fields import lower_address

FRESH_S = 10.0
_AT_ONCE = 16
_CHANGES = (ProviderRegistered, KeyRotated, PeerChanged, Banned, ExitRequested)


@dataclass(frozen=True)
class Provider:
    """A registered provider: its signing key (lower case), where it can be reached, and when its ban ends (Unix s)."""

    index: int
    key: str
    peer: str
    banned_until: int
    exited: bool


class Providers:
    """The registry's entries, read again when they have changed. Thread-safe.

    A member checks signatures by their keys, connects to them, and turns away who is banned: a change counts for it
    `FRESH_S` later at most. So it asks that often what has changed, and no entry stays longer than that unless every
    change which may be missing in it would have been told: those after the block that was final when it was read.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._known: dict[int, tuple[float, int, Provider]] = {}  # read when, and after which final block
        self._changed: dict[int, int] = {}  # the block of the last change that was told, by index
        self._final = -1
        self._looked_s = -math.inf
        self._looking = threading.Lock()

    def at(self, indices: Iterable[int]) -> dict[int, Provider]:
        """The providers at these indices, without those that there are none at; some are read at once."""
        self._look()
        found = {index: self._kept(index) for index in indices}
        missing = [index for index, provider in found.items() if provider is None]
        if missing:
            with ThreadPoolExecutor(min(len(missing), _AT_ONCE), "registry") as pool:
                found.update(zip(missing, pool.map(self._read, missing), strict=True))
        return {index: provider for index, provider in found.items() if provider is not None}

    def _look(self) -> None:
        with self._looking:
            now = time.monotonic()
            if now - self._looked_s <= FRESH_S:
                return
            head, final = _newest(self._run)
            if self._final >= 0:
                for event in self._run.events(_CHANGES, from_block=self._final + 1, to_block=head):
                    if isinstance(event, _CHANGES):
                        self._changed[event.index] = max(event.block, self._changed.get(event.index, 0))
            self._final, self._looked_s = final, now

    def _kept(self, index: int) -> Provider | None:
        read_s, final, provider = self._known.get(index, (-math.inf, -1, None))
        unchanged = final >= self._changed.get(index, 0)
        return provider if unchanged or time.monotonic() - read_s <= FRESH_S else None

    def _read(self, index: int) -> Provider | None:
        now, final = time.monotonic(), self._final
        try:
            entry = self._run.registry.provider_at(index)
        except ContractError as problem:
            if problem.name == "UnknownProvider":
                return None
            raise
        found = Provider(index, lower_address(entry.signing_key), entry.peer, entry.banned_until, bool(entry.exit_at))
        self._known[index] = now, final, found
        return found


class Records:
    """The hashes that were anchored as records of rounds. Thread-safe."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._final: set[tuple[int, bytes]] = set()
        self._next_block: int | None = None

    def has(self, round_: int, digest: bytes) -> bool:
        """Whether a digest was named for a round, by anybody, first or later."""
        wanted = round_, digest
        if wanted in self._final:
            return True
        head, final = _newest(self._run)
        found = False
        for event in self._run.events_of(RoundAnchored, from_block=self._next_block, to_block=head):
            named = event.record_round, event.record_hash
            found |= named == wanted
            if event.block <= final:
                self._final.add(named)
        self._next_block = final + 1
        return found


def _newest(run: Run) -> tuple[int, int]:
    """The newest block, and the newest of those that are final."""
    head = run.chain.block_number()
    return head, min(head, run.chain.finalized_block().number)
