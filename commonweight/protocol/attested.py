"""Which checkpoint a report attests: one rule for signers before they sign and for auditors of what they signed."""

from collections.abc import Iterable
from dataclasses import dataclass

from commonweight.protocol.fields import hex32
from commonweight.protocol.records import Record
from commonweight.protocol.structs import Report

__all__ = ["Attested", "attests"]


@dataclass(frozen=True)
class Attested:
    """An attested checkpoint: its round, its manifest's digest and its directory's CID."""

    round: int
    checkpoint: str
    checkpoint_cid: str

    @classmethod
    def of(cls, report: Report) -> "Attested":
        """What a report names."""
        return cls(report.round, hex32(report.checkpoint), report.checkpoint_cid)


def attests(records: Iterable[Record], before: Attested | None) -> Attested | None:
    """What a report on rounds with these records attests, `before` being what the last final report attested.

    The checkpoint of the last of them that counted anybody; the one before again when none is of a later round. None
    for genesis, which is attested as round 0 while there is nothing else.
    """
    made = max((record for record in records if record.counted), key=lambda record: record.round, default=None)
    if made is None or (before is not None and made.round <= before.round):
        return before
    return Attested(made.round, made.checkpoint, made.checkpoint_cid)
