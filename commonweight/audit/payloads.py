"""Counted payloads as they were published: a whole one, or part by part, so that a round need not fit into memory.

A part follows in a payload right after the one before it, so that the payloads of all members, read side by side, give
each part of all of them before the next one.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import overload

from commonweight.errors import ContentUnavailable, PayloadError
from commonweight.exact.codecs import encoded_size
from commonweight.exact.layout import Layout
from commonweight.exact.payload import split_payload
from commonweight.protocol.parts import part_ranges
from commonweight.protocol.round_documents import Plan
from commonweight.store import ContentStore, parse_cid


class PublishedPayload(Sequence[bytes]):
    """The encoded parts of a provider's payload, read from the store in order, and again for a part before the last.

    ContentUnavailable names whose is not to be had. Nothing says whether it is a payload before `check` has.
    """

    def __init__(self, store: ContentStore, layout: Layout, plan: Plan, index: int, cid: str) -> None:
        self._store = store
        self._layout = layout
        self._plan = plan
        self._index = index
        self._cid = cid
        self._pieces: Iterator[bytes] = iter(())
        self._held = bytearray()  # read and not yet taken
        self._next = len(self)

    def __len__(self) -> int:
        return self._plan.parts

    @overload
    def __getitem__(self, part: int) -> bytes: ...
    @overload
    def __getitem__(self, part: slice) -> Sequence[bytes]: ...
    def __getitem__(self, part: int | slice) -> bytes | Sequence[bytes]:
        """An encoded part."""
        if isinstance(part, slice):
            return [self[place] for place in range(len(self))[part]]
        part = range(len(self))[part]
        if part < self._next:
            self._pieces, self._held, self._next = self._read(), bytearray(), 0
        while self._next < part:
            self._take()
        return self._take()

    def check(self) -> None:
        """Read all of it once. ContentUnavailable when a block is missing, PayloadError for a wrong length."""
        size = sum(map(len, self._read()))
        if size != sum(self._sizes):
            raise PayloadError("A payload has a wrong length", f"{size} bytes, not {sum(self._sizes)}")

    @cached_property
    def _sizes(self) -> tuple[int, ...]:
        plan = self._plan
        spans = part_ranges(self._layout.numel, plan.block, plan.parts)
        return tuple(encoded_size(span.size, plan.codec, plan.block) for span in spans)

    def _take(self) -> bytes:
        size = self._sizes[self._next]
        while len(self._held) < size and (piece := next(self._pieces, b"")):
            self._held += piece
        taken = bytes(self._held[:size])
        del self._held[:size]
        self._next += 1
        return taken

    def _read(self) -> Iterator[bytes]:
        return _pieces(self._store, self._layout, self._index, self._cid)


def published_payload(store: ContentStore, layout: Layout, plan: Plan, index: int, cid: str) -> tuple[bytes, ...]:
    """A counted payload's encoded parts by its CID; ContentUnavailable names whose is not to be had, PayloadError
    says that it is none.
    """
    data = b"".join(_pieces(store, layout, index, cid))
    return split_payload(data, layout.numel, plan.parts, plan.codec, plan.block)


def _pieces(store: ContentStore, layout: Layout, index: int, cid: str) -> Iterator[bytes]:
    try:
        yield from store.read(parse_cid(cid), 8 * layout.numel + (1 << 20))
    except ContentUnavailable as gone:
        raise ContentUnavailable(
            f"the payload of provider {index} ({cid}) is not available", gone.why, gone.fix
        ) from gone
