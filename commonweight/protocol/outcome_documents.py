"""What a round and its verification leave behind, besides the record: checkpoint manifest and verdict.

Each is a frozen dataclass; reading checks every field's type and bounds. The manifest is not signed: its SHA-256 names
it.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from commonweight.errors import FormatError
from commonweight.protocol.canonical import Json, JsonObject, dumps, loads, sha256_hex
from commonweight.protocol.fields import U32, U64, Fields, f64_hex

__all__ = ["CHECKS", "FILES", "OUTCOMES", "Manifest", "ManifestFile", "Segment", "Verdict"]

FILES = ("outer.safetensors", "weights.safetensors")
CHECKS = ("structure", "replay", "contribution")
OUTCOMES = ("pass", "fail", "unavailable")


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
