"""What members and signers say during a round: receipt, part, result.

As in `round_documents`, reading checks every field's type and bounds; what spans documents is checked by `structure`.
"""

from dataclasses import dataclass
from typing import ClassVar

from commonweight.protocol.canonical import Json, JsonObject
from commonweight.protocol.fields import U32, Fields
from commonweight.protocol.round_documents import MAX_MEMBERS

__all__ = ["MOST_MEASURED", "Link", "PartMessage", "Receipt", "Result"]


@dataclass(frozen=True)
class Receipt:
    """A signer's word that it received a commitment in time."""

    KIND: ClassVar[str] = "receipt"
    SCHEMA: ClassVar[str] = "commonweight.receipt.v1"

    run: str
    round: int
    commitment: str
    index: int
    received_ms: int

    def to_body(self) -> JsonObject:
        """The body as JSON."""
        return {
            "schema": self.SCHEMA,
            "run": self.run,
            "round": self.round,
            "commitment": self.commitment,
            "index": self.index,
            "received_ms": self.received_ms,
        }

    @classmethod
    def from_body(cls, body: Json) -> "Receipt":
        """Reads a receipt's body."""
        f = Fields(body, "receipt")
        f.choice("schema", (cls.SCHEMA,))
        receipt = cls(
            f.address("run"),
            f.integer("round", 1),
            f.digest("commitment"),
            f.integer("index", 0, U32),
            f.integer("received_ms"),
        )
        f.done()
        return receipt


@dataclass(frozen=True)
class PartMessage:
    """What a member signs about one part's payload when it sends it; `digest` is the SHA-256 of those bytes."""

    KIND: ClassVar[str] = "part"
    SCHEMA: ClassVar[str] = "commonweight.part.v1"

    run: str
    round: int
    plan: str
    base: str
    part: int
    sender: int
    digest: str

    def to_body(self) -> JsonObject:
        """The body as JSON."""
        return {
            "schema": self.SCHEMA,
            "run": self.run,
            "round": self.round,
            "plan": self.plan,
            "base": self.base,
            "part": self.part,
            "sender": self.sender,
            "digest": self.digest,
        }

    @classmethod
    def from_body(cls, body: Json) -> "PartMessage":
        """Reads a part's body."""
        f = Fields(body, "part")
        f.choice("schema", (cls.SCHEMA,))
        message = cls(
            f.address("run"),
            f.integer("round", 1),
            f.digest("plan"),
            f.digest("base"),
            f.integer("part", 0, MAX_MEMBERS - 1),
            f.integer("sender", 0, U32),
            f.digest("digest"),
        )
        f.done()
        return message


MOST_MEASURED = 2**48
"""Bytes or microseconds of a link, at the most; what adds up to more counts as this."""


@dataclass(frozen=True)
class Link:
    """A measured connection to a member: bytes received from it, microseconds for them, smallest round-trip time. A row
    of a document.
    """

    BOUNDS: ClassVar[tuple[tuple[int, int], ...]] = (
        (0, U32), (0, MOST_MEASURED), (1, MOST_MEASURED), (1, MOST_MEASURED),
    )  # fmt: skip

    index: int
    bytes: int
    transfer_us: int
    rtt_us: int

    def to_row(self) -> list[Json]:
        """[index, bytes, transfer_us, rtt_us]."""
        return [self.index, self.bytes, self.transfer_us, self.rtt_us]


@dataclass(frozen=True)
class Result:
    """What a reducer signs: the members it aggregated and, in their order, by which commitments (`digest_over` theirs),
    the SHA-256 of the encoded result, and the links it measured.
    """

    KIND: ClassVar[str] = "result"
    SCHEMA: ClassVar[str] = "commonweight.result.v1"

    run: str
    round: int
    plan: str
    part: int
    reducer: int
    members: tuple[int, ...]
    commitments: str
    digest: str
    links: tuple[Link, ...]

    def to_body(self) -> JsonObject:
        """The body as JSON."""
        return {
            "schema": self.SCHEMA,
            "run": self.run,
            "round": self.round,
            "plan": self.plan,
            "part": self.part,
            "reducer": self.reducer,
            "members": list(self.members),
            "commitments": self.commitments,
            "digest": self.digest,
            "links": [link.to_row() for link in self.links],
        }

    @classmethod
    def from_body(cls, body: Json) -> "Result":
        """Reads a result's body; members and links strictly ascending by index, links only to others."""
        f = Fields(body, "result")
        f.choice("schema", (cls.SCHEMA,))
        result = cls(
            f.address("run"),
            f.integer("round", 1),
            f.digest("plan"),
            f.integer("part", 0, MAX_MEMBERS - 1),
            f.integer("reducer", 0, U32),
            f.integers("members", 0, U32, 1, MAX_MEMBERS),
            f.digest("commitments"),
            f.digest("digest"),
            tuple(Link(*row) for row in f.rows("links", Link.BOUNDS, MAX_MEMBERS)),
        )
        f.done()
        if list(result.members) != sorted(set(result.members)):
            raise f.wrong("members", "strictly ascending", result.members)
        linked = [link.index for link in result.links]
        if linked != sorted(set(linked)) or result.reducer in linked:
            raise f.wrong("links", "strictly ascending by index, without the reducer's own", linked)
        return result
