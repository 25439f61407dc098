"""Several content stores as one: the first is written to, and all are read from in turn until one has what is right.

A place that has nothing, or has wrong bytes, or does not answer, is passed over; only when all have been tried is the
content unavailable, and the error names each place with its reason. `pin` copies into the first place what only
others have.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from commonweight.errors import ContentUnavailable, DamagedBlock, StoreError
from commonweight.store.base import ContentStore
from commonweight.store.cid import Block, Cid
from commonweight.store.entries import Emit

_KEPT_EVERY = 8 << 20


class _Fetched:
    """Verified blocks on their way into a store, written some MiB at a time."""

    def __init__(self, store: ContentStore) -> None:
        self._store = store
        self._blocks: list[Block] = []
        self._bytes = 0

    def add(self, block: Block) -> None:
        """Take a block; children come before parents, so what is kept is never a tree with a hole below it."""
        self._blocks.append(block)
        self._bytes += len(block.data)
        if self._bytes >= _KEPT_EVERY:
            self.keep()

    def keep(self) -> None:
        """Write what has come."""
        with self._store.writing() as emit:
            for block in self._blocks:
                emit(block)
        self._blocks, self._bytes = [], 0


class FallbackStore(ContentStore):
    """A first store with others behind it."""

    def __init__(self, first: ContentStore, *others: ContentStore) -> None:
        """Reads go to `first` and then to `others` in the order given."""
        self.stores = (first, *others)
        self.where = ", ".join(store.where for store in self.stores)

    def close(self) -> None:
        """Close every store."""
        for store in self.stores:
            store.close()

    def origins(self) -> tuple[str, ...]:
        """Those of the first place, which has what was written or pinned."""
        return self.stores[0].origins()

    def load_block(self, cid: Cid) -> bytes:
        """The first right copy of a block."""
        return self._first(cid, lambda store: store.get_block(cid))

    def load_held(self, cid: Cid) -> bytes:
        """The first right copy that a place has itself."""
        return self._first(cid, lambda store: store.held_block(cid))

    def _first(self, cid: Cid, read: Callable[[ContentStore], bytes]) -> bytes:
        problems: list[StoreError] = []
        for store in self.stores:
            try:
                return read(store)
            except StoreError as problem:
                problems.append(problem)
        reasons = "; ".join(problem.why or problem.what for problem in problems)
        if any(isinstance(problem, DamagedBlock) for problem in problems):
            fix = "add a place that has it whole to --store, or put the original in again"
            raise DamagedBlock(f"No place has a right copy of {cid}", reasons, fix)
        raise ContentUnavailable(f"{cid} is not available", reasons, "add a place that has it to --store")

    def writing(self) -> AbstractContextManager[Emit]:
        """Writes go to the first store."""
        return self.stores[0].writing()

    def pin(self, cid: Cid) -> None:
        """Bring everything under a CID into the first store and keep it there.

        What has been fetched when it fails, or when the process is killed, but for the last few MiB, is there for the
        next attempt.
        """
        if not self.stores[0].has(cid):
            fetched = _Fetched(self.stores[0])
            try:
                for block in self.blocks(cid):
                    fetched.add(block)
            finally:
                fetched.keep()
        self.stores[0].pin(cid)

    def sweep(self, keep: Iterable[Cid], younger_s: float) -> int:
        """Sweep the first store."""
        return self.stores[0].sweep(keep, younger_s)

    def unpin(self, cid: Cid) -> None:
        """Stop keeping it in the first store."""
        self.stores[0].unpin(cid)
