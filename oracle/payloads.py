"""Payload parts that members upload: checked against the commitment, kept by digest, published as one object each."""

from commonweight.exact.payload import check_part
from commonweight.protocol.fields import digest_bytes, hex32
from commonweight.protocol.parts import part_range
from commonweight.protocol.records import Commitment, Plan
from oracle.blobs import Blobs
from oracle.seat import Seat, in_thread


class Payloads:
    """The parts that this signer holds. What is held matches its commitment, in digest, encoding and norm."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat
        self._blobs = Blobs(seat.folder("payloads"))

    async def take(self, plan: Plan, commitment: Commitment, part: int, data: bytes) -> None:
        """Check a part and keep it. Raises PayloadError when it is not what was committed to."""
        span = part_range(self._seat.numel, plan.block, plan.parts, part)
        committed = commitment.parts[part]
        await in_thread(lambda: check_part(data, span.size, plan.codec, plan.block, committed))
        await in_thread(lambda: self._blobs.put(data))
        digest = digest_bytes(committed.digest)
        self._seat.db.add_payload(plan.round, commitment.index, part, digest, self._seat.now_ms())

    def holds(self, commitment: Commitment) -> bool:
        """Whether every part of a commitment is here."""
        return not self.missing(commitment)

    def missing(self, commitment: Commitment) -> list[int]:
        """The parts of a commitment that are not here."""
        held = self._seat.db.payload(commitment.round, commitment.index)
        return [n for n, part in enumerate(commitment.parts) if held.get(n) != digest_bytes(part.digest)]

    def read(self, digests: tuple[str, ...]) -> tuple[bytes, ...] | None:
        """The bytes of these parts, or None when one is gone or damaged."""
        found = [self._blobs.get(digest) for digest in digests]
        return tuple(data for data in found if data is not None) if None not in found else None

    def publish(self, parts: tuple[bytes, ...]) -> str:
        """Put a member's payload, the concatenation of its parts, into the store; returns the CID. Blocks."""
        return str(self._seat.store.put(b"".join(parts)))

    def forget(self, upto: int) -> None:
        """Drop all parts of rounds up to this one: the store holds those that were counted."""
        for digest in self._seat.db.payloads_upto(upto):
            self._blobs.drop(hex32(digest))
        self._seat.db.forget_payloads(upto)
