"""What a round and its verification leave behind: anchor, record, checkpoint manifest, verdict.

Each is a frozen dataclass; reading checks every field's type and bounds. The manifest is not signed: its SHA-256
names it.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from commonweight.errors import FormatError
from commonweight.protocol.canonical import Json, JsonObject, dumps, loads, sha256_hex
from commonweight.protocol.fields import U32, U64, Fields, digest_bytes, f64_hex, hex32
from commonweight.protocol.merkle import anchor_root
from commonweight.protocol.round_documents import MAX_MEMBERS

__all__ = [
    "CHECKS",
    "FILES",
    "OUTCOMES",
    "Anchor",
    "Counted",
    "LeftOut",
    "Manifest",
    "ManifestFile",
    "MeasuredLink",
    "Record",
    "Segment",
    "Verdict",
]

FILES = ("outer.safetensors", "weights.safetensors")
CHECKS = ("structure", "replay", "contribution")
OUTCOMES = ("pass", "fail", "unavailable")


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
    """A counted member: `tokens` is min(planned, committed) and the weight of its parts; `parts` the payload digests.

    `payload_cid` names the concatenation of its encoded parts in part order.
    """

    index: int
    commitment: str
    steps: int
    tokens: int
    parts: tuple[str, ...]
    payload_cid: str

    def to_json(self) -> JsonObject:
        """The entry as JSON."""
        return {
            "index": self.index,
            "commitment": self.commitment,
            "steps": self.steps,
            "tokens": self.tokens,
            "parts": list(self.parts),
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
            f.digests("parts", 1, MAX_MEMBERS),
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
    """A link measurement out of a reducer's signed result: `by` measured `index`."""

    by: int
    index: int
    bytes: int
    transfer_us: int
    rtt_us: int

    def to_json(self) -> JsonObject:
        """The measurement as JSON."""
        return {
            "by": self.by,
            "index": self.index,
            "bytes": self.bytes,
            "transfer_us": self.transfer_us,
            "rtt_us": self.rtt_us,
        }

    @classmethod
    def read(cls, f: Fields) -> "MeasuredLink":
        """Reads what `to_json` writes."""
        return cls(
            f.integer("by", 0, U32),
            f.integer("index", 0, U32),
            f.integer("bytes", 0, 2**48),
            f.integer("transfer_us", 1, 2**48),
            f.integer("rtt_us", 1, 2**48),
        )


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
            "links": [link.to_json() for link in self.links],
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
            links=f.objects("links", MeasuredLink.read, 0, 2**17),
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
        if any(len(entry.parts) != len(self.results) for entry in self.counted):
            raise f.wrong("results", "one for each part", len(self.results))
        if not self.counted and (self.results or self.checkpoint != self.base):
            raise f.wrong("checkpoint", "the base, without results, as no member is counted", self.checkpoint)
        pairs = [(link.by, link.index) for link in self.links]
        if pairs != sorted(set(pairs)) or any(by == index for by, index in pairs):
            raise f.wrong("links", "strictly ascending by (by, index), measured by others", len(pairs))


@dataclass(frozen=True)
class ManifestFile:
    """A file of a checkpoint."""

    sha256: str
    size: int
    cid: str


@dataclass(frozen=True)
class Manifest:
    """A checkpoint's manifest.json. Genesis has round 0, and neither parent nor plan."""

    SCHEMA: ClassVar[str] = "commonweight.checkpoint.v1"

    run: str
    round: int
    parent: str | None
    plan: str | None
    config: str
    weights: ManifestFile
    outer: ManifestFile

    def to_json(self) -> JsonObject:
        """The manifest as JSON."""
        files: JsonObject = {
            name: {"sha256": file.sha256, "size": file.size, "cid": file.cid}
            for name, file in (("weights.safetensors", self.weights), ("outer.safetensors", self.outer))
        }
        return {
            "schema": self.SCHEMA,
            "run": self.run,
            "round": self.round,
            "parent": self.parent,
            "plan": self.plan,
            "config": self.config,
            "files": files,
        }

    def to_bytes(self) -> bytes:
        """manifest.json, canonical."""
        return dumps(self.to_json())

    @cached_property
    def sha256(self) -> str:
        """The checkpoint's name: the SHA-256 of manifest.json, 0x-hex."""
        return sha256_hex(self.to_bytes())

    @classmethod
    def load(cls, data: bytes) -> "Manifest":
        """Reads manifest.json; it must be canonical."""
        f = Fields(loads(data, 2**16), "manifest")
        f.choice("schema", (cls.SCHEMA,))
        files = f.child("files", lambda inner: {name: inner.child(name, _read_file) for name in FILES})
        manifest = cls(
            f.address("run"),
            f.integer("round"),
            f.optional_digest("parent"),
            f.optional_digest("plan"),
            f.digest("config"),
            files["weights.safetensors"],
            files["outer.safetensors"],
        )
        f.done()
        if (manifest.round == 0) != (manifest.parent is None) or (manifest.round == 0) != (manifest.plan is None):
            raise FormatError("A manifest's parent does not fit its round", f"round {manifest.round}")
        return manifest


@dataclass(frozen=True)
class Segment:
    """A piece of a trace, from one leaf to the next."""

    start: int
    stop: int


@dataclass(frozen=True)
class Verdict:
    """A signer's finding about one member's commitment of one round.

    `segment` is there for replays; `rel_l2` and `norm_ratio` compare the segment's change with the claimed one;
    `scores` holds named integers of a contribution check; `seed_block` and `seed_hash` name the block that drew the
    check.
    """

    KIND: ClassVar[str] = "verdict"
    SCHEMA: ClassVar[str] = "commonweight.verdict.v1"

    run: str
    epoch: int
    round: int
    index: int
    commitment: str
    signer: str
    check: str
    segment: Segment | None
    outcome: str
    exact: bool
    rel_l2: float | None
    norm_ratio: float | None
    scores: tuple[tuple[str, int], ...]
    seed_block: int
    seed_hash: str
    reason: str

    def to_body(self) -> JsonObject:
        """The body as JSON."""
        return {
            "schema": self.SCHEMA,
            "run": self.run,
            "epoch": self.epoch,
            "round": self.round,
            "index": self.index,
            "commitment": self.commitment,
            "signer": self.signer,
            "check": self.check,
            "segment": None if self.segment is None else {"from": self.segment.start, "to": self.segment.stop},
            "outcome": self.outcome,
            "exact": self.exact,
            "rel_l2_f64": None if self.rel_l2 is None else f64_hex(self.rel_l2),
            "norm_ratio_f64": None if self.norm_ratio is None else f64_hex(self.norm_ratio),
            "scores": dict(self.scores),
            "seed_block": str(self.seed_block),
            "seed_hash": self.seed_hash,
            "reason": self.reason,
        }

    @classmethod
    def from_body(cls, body: Json) -> "Verdict":
        """Reads a verdict's body; FormatError names the field that is wrong."""
        f = Fields(body, "verdict")
        f.choice("schema", (cls.SCHEMA,))
        verdict = cls(
            run=f.address("run"),
            epoch=f.integer("epoch"),
            round=f.integer("round", 1),
            index=f.integer("index", 0, U32),
            commitment=f.digest("commitment"),
            signer=f.address("signer"),
            check=f.choice("check", CHECKS),
            segment=f.optional_child("segment", _read_segment),
            outcome=f.choice("outcome", OUTCOMES),
            exact=f.boolean("exact"),
            rel_l2=f.optional_f64("rel_l2_f64"),
            norm_ratio=f.optional_f64("norm_ratio_f64"),
            scores=_read_scores(f),
            seed_block=f.decimal("seed_block", U64),
            seed_hash=f.digest("seed_hash"),
            reason=f.text("reason", 500),
        )
        f.done()
        if (verdict.check == "replay") != (verdict.segment is not None):
            raise f.wrong("segment", "given for replays, and only for them", body)
        return verdict


def _read_file(f: Fields) -> ManifestFile:
    return ManifestFile(f.digest("sha256"), f.integer("size", 1), f.cid("cid"))


def _read_segment(f: Fields) -> Segment:
    segment = Segment(f.integer("from", 0, 2**17), f.integer("to", 1, 2**17))
    if segment.stop != segment.start + 1:
        raise f.wrong("to", "the leaf after from", segment.stop)
    return segment


def _read_scores(f: Fields) -> tuple[tuple[str, int], ...]:
    value = f.take("scores")
    if not isinstance(value, dict) or len(value) > 32:
        raise f.wrong("scores", "an object of at most 32 integers", value)
    inner = Fields(value, f"{f.where}.scores")
    return tuple((name, inner.integer(name, -(2**53 - 1))) for name in sorted(value))
