"""What the signer's database hands out: its rows as frozen dataclasses, and checked reading of SQLite's values."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, TypeVar

from commonweight.errors import OracleError

R = TypeVar("R")


@dataclass(frozen=True)
class Row:
    """A stored signed document. `member` is -1 where it concerns no single member, `round` 0 where no round."""

    seq: int
    digest: bytes
    kind: str
    round: int
    member: int
    signer: str
    signed: bytes
    received_ms: int


@dataclass(frozen=True)
class Member:
    """What the coordinator remembers of a provider: its address, what it has, since when it is there, when it last
    spoke, how often it was late.
    """

    index: int
    peer: str
    have: bytes | None
    joined_ms: int
    seen_ms: int
    strikes: int
    slow_until_ms: int


@dataclass(frozen=True)
class AnchorRow:
    """One `RoundAnchored` event of the finalised chain; `root` and `record_hash` are all zeros where it names none."""

    block: int
    log: int
    round: int
    epoch: int
    deadline: int
    root: bytes
    record_round: int
    record_hash: bytes
    tx: bytes


@dataclass(frozen=True)
class Draw:
    """A replay that this run's randomness asks of the signer at `position`. `state` is wanted, fetched or done."""

    round: int
    member: int
    segment: int
    position: int
    seed_block: int
    seed_hash: bytes
    state: str


@dataclass(frozen=True)
class Shown:
    """What a member has shown for a draw: the data of the leaf that the segment leads to, 0x-hex, and the digests of
    the files with the states at its start and, unless empty, at its end and at the trace's beginning.
    """

    leaf: str
    start: str
    claimed: str
    first: str

    @property
    def files(self) -> tuple[str, ...]:
        """The digests of all files."""
        return tuple(digest for digest in (self.start, self.claimed, self.first) if digest)


@dataclass(frozen=True)
class OffenceRow:
    """A proved offence and how far its ban has come: found, signed, banned."""

    digest: bytes
    member: int
    round: int
    rule: str
    until: int
    state: str


def row_of(kind: type[R], values: tuple[object, ...]) -> R:
    """A row as a dataclass, every value of its field's type."""
    for (name, allowed), value in zip(_columns(kind), values, strict=True):  # type: ignore[arg-type]
        if not isinstance(value, allowed):
            found = f"{type(value).__name__} for {kind.__name__}.{name}"
            raise OracleError("the database holds a value of the wrong type", found)
    make: Callable[..., R] = kind
    return make(*values)


@cache
def _columns(kind: Any) -> tuple[tuple[str, Any], ...]:
    """Name and type of each field."""
    return tuple((field.name, field.type) for field in fields(kind))


def as_bytes(value: object) -> bytes:
    """A value that must be bytes."""
    if not isinstance(value, bytes):
        raise OracleError("the database holds a value of the wrong type", f"{type(value).__name__} instead of bytes")
    return value


def as_int(value: object) -> int:
    """A value that must be an integer."""
    if not isinstance(value, int):
        raise OracleError("the database holds a value of the wrong type", f"{type(value).__name__} instead of int")
    return value
