"""Offence documents: self-contained evidence that a member or a signer lied, which a stranger can check.

An offence names the rule, the accused, the signed documents that prove it and, where bytes are needed, the blobs by
content. `commonweight.exact.offences.check` decides whether it proves what it says.
"""

from dataclasses import dataclass
from typing import ClassVar

from commonweight.protocol.canonical import Json, JsonObject
from commonweight.protocol.documents import Signed
from commonweight.protocol.fields import U32, Fields
from commonweight.protocol.round_documents import MAX_MEMBERS

__all__ = ["RULES", "SLASHABLE", "Blob", "Offence", "part_blob"]

RULES = (
    "equivocation",
    "invalid-commitment",
    "omission",
    "payload-mismatch",
    "wrong-record",
    "wrong-reduction",
    "wrong-target",
)
SLASHABLE = ("equivocation", "invalid-commitment", "payload-mismatch", "wrong-reduction")


@dataclass(frozen=True)
class Blob:
    """Bytes that the evidence needs, by content. `part-I` is the encoded part of member I."""

    name: str
    sha256: str
    cid: str

    def to_json(self) -> JsonObject:
        """{name, sha256, cid}."""
        return {"name": self.name, "sha256": self.sha256, "cid": self.cid}

    @classmethod
    def read(cls, f: Fields) -> "Blob":
        """Reads what `to_json` writes."""
        return cls(f.text("name", 64), f.digest("sha256"), f.cid("cid"))


@dataclass(frozen=True)
class Offence:
    """An offence's body. The accused is a member, by index, or a signer, by address; `part` where the rule needs it."""

    KIND: ClassVar[str] = "offence"
    SCHEMA: ClassVar[str] = "commonweight.offence.v1"

    run: str
    rule: str
    round: int
    index: int | None
    signer: str | None
    part: int | None
    documents: tuple[Signed, ...]
    blobs: tuple[Blob, ...]

    def to_body(self) -> JsonObject:
        """The body as JSON."""
        return {
            "schema": self.SCHEMA,
            "run": self.run,
            "rule": self.rule,
            "round": self.round,
            "index": self.index,
            "signer": self.signer,
            "part": self.part,
            "documents": [document.to_json() for document in self.documents],
            "blobs": [blob.to_json() for blob in self.blobs],
        }

    @classmethod
    def from_body(cls, body: Json) -> "Offence":
        """Reads an offence's body; FormatError names the field that is wrong."""
        f = Fields(body, "offence")
        f.choice("schema", (cls.SCHEMA,))
        offence = cls(
            run=f.address("run"),
            rule=f.choice("rule", RULES),
            round=f.integer("round", 1),
            index=f.optional_integer("index", 0, U32),
            signer=f.optional_address("signer"),
            part=f.optional_integer("part", 0, MAX_MEMBERS - 1),
            documents=tuple(Signed.from_json(item) for item in f.items("documents", 1, MAX_MEMBERS + 8)),
            blobs=f.objects("blobs", Blob.read, 0, MAX_MEMBERS),
        )
        f.done()
        if (offence.index is None) == (offence.signer is None):
            raise f.wrong("index", "given when and only when signer is null", offence.index)
        return offence


def part_blob(index: int) -> str:
    """The name of the blob with a member's encoded part."""
    return f"part-{index}"
