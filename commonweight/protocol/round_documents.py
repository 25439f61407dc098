"""What begins a round: plan and commitment.

Each is a frozen dataclass with `to_body()` and `from_body(body)`; reading checks every field's type and bounds and
what the body says about itself. What spans documents is checked by `structure`.
"""

import math
import struct
from dataclasses import dataclass
from typing import ClassVar

from commonweight.errors import FormatError
from commonweight.protocol.canonical import Json, JsonObject
from commonweight.protocol.fields import U32, Fields, digest_bytes, digest_over, hex32, packed
from commonweight.protocol.runconfig import CODECS
from commonweight.protocol.trace import Trace

__all__ = ["MAX_MEMBERS", "Commitment", "CommittedPart", "Plan", "PlanMember"]

MAX_MEMBERS = 4096


@dataclass(frozen=True)
class PlanMember:
    """A member's share of a round: registry index, inner steps, first data position.

    `next_start` is the first data position of its next round, where rounds overlap; else None.
    """

    index: int
    steps: int
    data_start: int
    next_start: int | None = None

    def to_json(self) -> JsonObject:
        """{index, steps, data_start, next_start}."""
        return {
            "index": self.index,
            "steps": self.steps,
            "data_start": self.data_start,
            "next_start": self.next_start,
        }

    @classmethod
    def read(cls, f: Fields) -> "PlanMember":
        """Reads what `to_json` writes."""
        return cls(
            f.integer("index", 0, U32),
            f.integer("steps", 1, 100_000),
            f.integer("data_start"),
            f.optional_integer("next_start"),
        )


@dataclass(frozen=True)
class Plan:
    """What the coordinator signs before a round. Times are unix milliseconds, digests 0x-hex.

    A member that went on from where its last round ended takes the base in after `overlap` inner steps.
    """

    KIND: ClassVar[str] = "plan"
    SCHEMA: ClassVar[str] = "commonweight.plan.v1"

    run: str
    round: int
    epoch: int
    base: str
    base_cid: str
    config: str
    data_seed: str
    members: tuple[PlanMember, ...]
    h: int
    overlap: int
    codec: str
    codec_version: int
    block: int
    parts: int
    reducers: tuple[int, ...]
    backups: tuple[int, ...]
    min_members: int
    commit_by_ms: int
    anchor_by_ms: int
    exchange_by_ms: int
    record_by_ms: int
    previous_record: str | None

    @property
    def indices(self) -> tuple[int, ...]:
        """The members' registry indices, ascending."""
        return tuple(member.index for member in self.members)

    @property
    def deadline_s(self) -> int:
        """The commit deadline in whole unix seconds, as `anchorRound` takes it."""
        return self.commit_by_ms // 1000

    def reducers_of(self, part: int) -> tuple[int, ...]:
        """The members that may reduce a part, its reducer and its backup; none in a star (the coordinator does)."""
        return (self.reducers[part], self.backups[part]) if self.reducers else ()

    def member(self, index: int) -> PlanMember:
        """The share of one member; FormatError when it is not in the plan."""
        for member in self.members:
            if member.index == index:
                return member
        raise FormatError(f"Provider {index} is not a member of round {self.round}")

    def to_body(self) -> JsonObject:
        """The body as JSON."""
        return {
            "schema": self.SCHEMA,
            "run": self.run,
            "round": self.round,
            "epoch": self.epoch,
            "base": self.base,
            "base_cid": self.base_cid,
            "config": self.config,
            "data_seed": self.data_seed,
            "members": [member.to_json() for member in self.members],
            "h": self.h,
            "overlap": self.overlap,
            "codec": self.codec,
            "codec_version": self.codec_version,
            "block": self.block,
            "parts": self.parts,
            "reducers": list(self.reducers),
            "backups": list(self.backups),
            "min_members": self.min_members,
            "commit_by_ms": self.commit_by_ms,
            "anchor_by_ms": self.anchor_by_ms,
            "exchange_by_ms": self.exchange_by_ms,
            "record_by_ms": self.record_by_ms,
            "previous_record": self.previous_record,
        }

    @classmethod
    def from_body(cls, body: Json) -> "Plan":
        """Reads a plan's body; FormatError names the field that is wrong."""
        f = Fields(body, "plan")
        f.choice("schema", (cls.SCHEMA,))
        parts = f.integer("parts", 1, MAX_MEMBERS)
        plan = cls(
            run=f.address("run"),
            round=f.integer("round", 1),
            epoch=f.integer("epoch"),
            base=f.digest("base"),
            base_cid=f.cid("base_cid"),
            config=f.digest("config"),
            data_seed=f.digest("data_seed"),
            members=f.objects("members", PlanMember.read, 1, MAX_MEMBERS),
            h=f.integer("h", 1, 100_000),
            overlap=f.integer("overlap", 0, 100_000),
            codec=f.choice("codec", CODECS),
            codec_version=f.integer("codec_version", 1, 1),
            block=f.integer("block", 8, 65536),
            parts=parts,
            reducers=f.integers("reducers", 0, U32, 0, parts),
            backups=f.integers("backups", 0, U32, 0, parts),
            min_members=f.integer("min_members", 1, MAX_MEMBERS),
            commit_by_ms=f.integer("commit_by_ms"),
            anchor_by_ms=f.integer("anchor_by_ms"),
            exchange_by_ms=f.integer("exchange_by_ms"),
            record_by_ms=f.integer("record_by_ms"),
            previous_record=f.optional_digest("previous_record"),
        )
        f.done()
        plan._check(f)
        return plan

    def _check(self, f: Fields) -> None:
        indices = self.indices
        if list(indices) != sorted(set(indices)):
            raise f.wrong("members", "strictly ascending by index", indices)
        if any(member.steps > self.h for member in self.members):
            raise f.wrong("members", f"of at most {self.h} steps each", [member.steps for member in self.members])
        if self.overlap >= self.h:
            raise f.wrong("overlap", f"fewer than the {self.h} steps of a round", self.overlap)
        if any((member.next_start is None) != (self.overlap == 0) for member in self.members):
            raise f.wrong("members", "with next_start where rounds overlap, and only there", self.overlap)
        if (len(self.reducers), len(self.backups)) not in ((self.parts, self.parts), (0, 0)):
            raise f.wrong("reducers", f"one and one backup for each of {self.parts} parts, or none", self.reducers)
        for name, chosen in (("reducers", self.reducers), ("backups", self.backups)):
            if not set(chosen) <= set(indices):
                raise f.wrong(name, "made of members", chosen)
        same = any(a == b for a, b in zip(self.reducers, self.backups, strict=True))
        if len(indices) > 1 and same:
            raise f.wrong("backups", "other members than the reducers", self.backups)
        if not self.commit_by_ms < self.anchor_by_ms < self.exchange_by_ms < self.record_by_ms:
            raise f.wrong("record_by_ms", "after exchange_by_ms, anchor_by_ms and commit_by_ms", self.record_by_ms)
        if self.commit_by_ms % 1000:
            raise f.wrong("commit_by_ms", "whole seconds", self.commit_by_ms)


@dataclass(frozen=True)
class CommittedPart:
    """A part of a payload before it is shown: SHA-256 of its bytes, squared L2 norm of the decoded part.

    In a document it is 40 bytes, the digest and the norm as a big-endian binary64: a round has as many as members times
    parts.
    """

    SIZE: ClassVar[int] = 40

    digest: str
    norm2: float

    def to_bytes(self) -> bytes:
        """The 40 bytes."""
        return digest_bytes(self.digest) + struct.pack(">d", self.norm2)

    @classmethod
    def from_bytes(cls, data: bytes) -> "CommittedPart":
        """Reads what `to_bytes` writes. FormatError for a norm that is negative, also of zero, or not finite."""
        (norm2,) = struct.unpack(">d", data[32:])
        if data[32] & 0x80 or not math.isfinite(norm2):
            raise FormatError("A committed part's squared norm is not zero or positive", f"it is {norm2!r}")
        return cls(hex32(data[:32]), norm2)


@dataclass(frozen=True)
class Commitment:
    """What a member signs before the deadline: its whole work for the round, by digest."""

    KIND: ClassVar[str] = "commitment"
    SCHEMA: ClassVar[str] = "commonweight.commitment.v1"

    run: str
    round: int
    plan: str
    index: int
    base: str
    steps: int
    tokens: int
    parts: tuple[CommittedPart, ...]
    payload_bytes: int
    trace: Trace

    @property
    def payload(self) -> str:
        """The whole payload by one digest: `digest_over` its parts'."""
        return digest_over(part.digest for part in self.parts)

    def to_body(self) -> JsonObject:
        """The body as JSON."""
        return {
            "schema": self.SCHEMA,
            "run": self.run,
            "round": self.round,
            "plan": self.plan,
            "index": self.index,
            "base": self.base,
            "steps": self.steps,
            "tokens": self.tokens,
            "parts": packed(part.to_bytes() for part in self.parts),
            "payload_bytes": self.payload_bytes,
            "trace": self.trace.to_json(),
        }

    @classmethod
    def from_body(cls, body: Json) -> "Commitment":
        """Reads a commitment's body; FormatError names the field that is wrong."""
        f = Fields(body, "commitment")
        f.choice("schema", (cls.SCHEMA,))
        commitment = cls(
            run=f.address("run"),
            round=f.integer("round", 1),
            plan=f.digest("plan"),
            index=f.integer("index", 0, U32),
            base=f.digest("base"),
            steps=f.integer("steps", 1, 100_000),
            tokens=f.integer("tokens", 1),
            parts=tuple(map(CommittedPart.from_bytes, f.packed("parts", CommittedPart.SIZE, 1, MAX_MEMBERS))),
            payload_bytes=f.integer("payload_bytes", 1),
            trace=f.child("trace", Trace.read),
        )
        f.done()
        return commitment
