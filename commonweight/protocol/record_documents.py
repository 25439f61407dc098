"""What settles a round: the anchor of its commitments, and the record of who counts and what came out.

Each is a frozen dataclass; reading checks every field's type and bounds, and what the body says about itself.
"""

from dataclasses import dataclass
from typing import ClassVar

from commonweight.protocol.canonical import Json, JsonObject
from commonweight.protocol.exchange_documents import Link
from commonweight.protocol.fields import U32, Fields, digest_bytes, hex32
from commonweight.protocol.merkle import anchor_root
from commonweight.protocol.round_documents import MAX_MEMBERS

__all__ = ["Anchor", "Counted", "LeftOut", "MeasuredLink", "Record"]

_MOST_LINKS = 1 << 17


@dataclass(frozen=True)
class Anchor:
    """The leaves of a root that a signer anchors: digests of receipted commitments, ascending; deadline in seconds."""

    KIND: ClassVar[str] = "anchor"
    SCHEMA: ClassVar[str] = "commonweight.anchor.v1"

    run: str
    round: int
    deadline: int
    commitments: tuple[str, ...]
    root: str

    def to_body(self) -> JsonObject:
        """The body as JSON."""
        return {
            "schema": self.SCHEMA,
            "run": self.run,
            "round": self.round,
            "deadline": self.deadline,
            "commitments": list(self.commitments),
            "root": self.root,
        }

    @classmethod
    def from_body(cls, body: Json) -> "Anchor":
        """Reads an anchor's body; the root must be the one over its commitments."""
        f = Fields(body, "anchor")
        f.choice("schema", (cls.SCHEMA,))
        anchor = cls(
            f.address("run"),
            f.integer("round", 1),
            f.integer("deadline"),
            f.digests("commitments", 1, MAX_MEMBERS),
            f.digest("root"),
        )
        f.done()
        if list(anchor.commitments) != sorted(set(anchor.commitments)):
            raise f.wrong("commitments", "strictly ascending", len(anchor.commitments))
        root = hex32(anchor_root([digest_bytes(digest) for digest in anchor.commitments]))
        if anchor.root != root:
            raise f.wrong("root", f"the root over its commitments, {root}", anchor.root)
        return anchor


@dataclass(frozen=True)
class Counted:
    """A counted member: `tokens` is min(planned, committed) and the weight of its parts; `payload` is the digest of the
    payload that its commitment gives (`Commitment.payload`). `payload_cid` names its encoded parts one after the other.
    """

    index: int
    commitment: str
    steps: int
    tokens: int
    payload: str
    payload_cid: str

    def to_json(self) -> JsonObject:
        """The entry as JSON."""
        return {
            "index": self.index,
            "commitment": self.commitment,
            "steps": self.steps,
            "tokens": self.tokens,
            "payload": self.payload,
            "payload_cid": self.payload_cid,
        }

    @classmethod
    def read(cls, f: Fields) -> "Counted":
        """Reads what `to_json` writes."""
        return cls(
            f.integer("index", 0, U32),
            f.digest("commitment"),
            f.integer("steps", 1, 100_000),
            f.integer("tokens", 1),
            f.digest("payload"),
            f.cid("payload_cid"),
        )


@dataclass(frozen=True)
class LeftOut:
    """A member of the plan that is not counted: refused (with evidence, if any) or missing; `reason` is a slug."""

    index: int
    commitment: str | None
    reason: str
    evidence: str | None

    def to_json(self) -> JsonObject:
        """The entry as JSON."""
        return {"index": self.index, "commitment": self.commitment, "reason": self.reason, "evidence": self.evidence}

    @classmethod
    def read(cls, f: Fields) -> "LeftOut":
        """Reads what `to_json` writes."""
        entry = cls(
            f.integer("index", 0, U32),
            f.optional_digest("commitment"),
            f.text("reason", 64),
            f.optional_digest("evidence"),
        )
        if not entry.reason or not all(c.isascii() and (c.islower() or c.isdigit() or c == "-") for c in entry.reason):
            raise f.wrong("reason", "lower-case letters, digits and dashes", entry.reason)
        return entry


@dataclass(frozen=True)
class MeasuredLink:
    """A link measurement out of a reducer's signed result: `by` measured `index`. A row of a document."""

    BOUNDS: ClassVar[tuple[tuple[int, int], ...]] = ((0, U32), *Link.BOUNDS)

    by: int
    index: int
    bytes: int
    transfer_us: int
    rtt_us: int

    def to_row(self) -> list[Json]:
        """[by, index, bytes, transfer_us, rtt_us]."""
        return [self.by, self.index, self.bytes, self.transfer_us, self.rtt_us]


@dataclass(frozen=True)
class Record:
    """The round record that the coordinator signs. With none counted the checkpoint is the base, without results."""

    KIND: ClassVar[str] = "record"
    SCHEMA: ClassVar[str] = "commonweight.record.v1"

    run: str
    round: int
    epoch: int
    plan: str
    base: str
    counted: tuple[Counted, ...]
    refused: tuple[LeftOut, ...]
    missing: tuple[LeftOut, ...]
    results: tuple[str, ...]
    checkpoint: str
    checkpoint_cid: str
    links: tuple[MeasuredLink, ...]

    def counted_member(self, index: int) -> Counted | None:
        """The counted entry of a member, if it is counted."""
        return next((entry for entry in self.counted if entry.index == index), None)

    def to_body(self) -> JsonObject:
        """The body as JSON."""
        return {
            "schema": self.SCHEMA,
            "run": self.run,
            "round": self.round,
            "epoch": self.epoch,
            "plan": self.plan,
            "base": self.base,
            "counted": [entry.to_json() for entry in self.counted],
            "refused": [entry.to_json() for entry in self.refused],
            "missing": [entry.to_json() for entry in self.missing],
            "results": list(self.results),
            "checkpoint": self.checkpoint,
            "checkpoint_cid": self.checkpoint_cid,
            "links": [link.to_row() for link in self.links],
        }

    @classmethod
    def from_body(cls, body: Json) -> "Record":
        """Reads a record's body; FormatError names the field that is wrong."""
        f = Fields(body, "record")
        f.choice("schema", (cls.SCHEMA,))
        record = cls(
            run=f.address("run"),
            round=f.integer("round", 1),
            epoch=f.integer("epoch"),
            plan=f.digest("plan"),
            base=f.digest("base"),
            counted=f.objects("counted", Counted.read, 0, MAX_MEMBERS),
            refused=f.objects("refused", LeftOut.read, 0, MAX_MEMBERS),
            missing=f.objects("missing", LeftOut.read, 0, MAX_MEMBERS),
            results=f.digests("results", 0, MAX_MEMBERS),
            checkpoint=f.digest("checkpoint"),
            checkpoint_cid=f.cid("checkpoint_cid"),
            links=tuple(MeasuredLink(*row) for row in f.rows("links", MeasuredLink.BOUNDS, _MOST_LINKS)),
        )
        f.done()
        record._check(f)
        return record

    def _check(self, f: Fields) -> None:
        named: list[int] = []
        for name, indices in (
            ("counted", [entry.index for entry in self.counted]),
            ("refused", [entry.index for entry in self.refused]),
            ("missing", [entry.index for entry in self.missing]),
        ):
            if indices != sorted(set(indices)):
                raise f.wrong(name, "strictly ascending by index", indices)
            named += indices
        if len(set(named)) != len(named):
            raise f.wrong("counted", "apart from refused and missing", sorted(named))
        if bool(self.counted) != bool(self.results):
            raise f.wrong("results", "one for each part when a member is counted, and else none", len(self.results))
        if not self.counted and self.checkpoint != self.base:
            raise f.wrong("checkpoint", "the base, as no member is counted", self.checkpoint)
        pairs = [(link.by, link.index) for link in self.links]
        if pairs != sorted(set(pairs)) or any(by == index for by, index in pairs):
            raise f.wrong("links", "strictly ascending by (by, index), measured by others", len(pairs))
