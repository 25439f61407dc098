"""From a member's local weights to its payload, and from received bytes to a checked part."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from commonweight.errors import PayloadError
from commonweight.exact.arrays import F32, array_digest
from commonweight.exact.codecs import decode, encode, encoded_size
from commonweight.exact.norms import norm2
from commonweight.protocol.canonical import sha256_hex
from commonweight.protocol.fields import f64_hex
from commonweight.protocol.parts import part_ranges
from commonweight.protocol.round_documents import CommittedPart

__all__ = ["Payload", "check_part", "departure", "make_payload", "merged", "open_part", "split_payload"]


@dataclass(frozen=True, eq=False)
class Payload:
    """A member's encoded parts, what is committed about each, all decoded parts float32[N], and the new residual."""

    parts: tuple[bytes, ...]
    committed: tuple[CommittedPart, ...]
    decoded: F32
    new_residual: F32

    @property
    def digests(self) -> tuple[str, ...]:
        """SHA-256 of each encoded part."""
        return tuple(part.digest for part in self.committed)

    @property
    def size(self) -> int:
        """All encoded bytes."""
        return sum(map(len, self.parts))

    @cached_property
    def new_residual_digest(self) -> str:
        """SHA-256 of the new residual."""
        return array_digest(self.new_residual)


def departure(base: F32, residual: F32) -> F32:
    """Where a member that carries its residual begins its inner steps: base - residual, float32[N] each.

    What was lost when its last payload was encoded stays in its weights, and so in base - local, until it is sent.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return base - residual


def merged(base: F32, residual: F32 | None, first: F32, local: F32) -> F32:
    """Where a member goes on that has gone ahead from `first` to `local` before the base was there, float32[N] each.

    What it changed on the way is put on the base, or on base - residual for a member that carries its residual. Delayed
    application of the outer step: Streaming DiLoCo (arXiv 2501.18512), with the whole model as its one fragment.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        moved = local - first
        return (base if residual is None else departure(base, residual)) + moved


def make_payload(
    base: F32, local: F32, residual: F32 | None, parts: int, codec: str, block: int, error_feedback: bool
) -> Payload:
    """Encodes the pseudo-gradient x = (base - local) + residual, float32[N] each, in `parts` parts.

    A member that carries its residual has it in `local` already and gives None: x = base - local. The new residual is
    x - decoded with error feedback, else zeros. PayloadError when something is not finite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        x = base - local
        if residual is not None:
            x += residual
    decoded = np.empty_like(x)
    encoded, committed = [], []
    for span in part_ranges(x.size, block, parts):
        at = slice(span.start, span.stop)
        data = encode(x[at], codec, block)
        piece = decode(data, span.size, codec, block, decoded[at])
        encoded.append(data)
        committed.append(CommittedPart(sha256_hex(data), norm2(piece)))
    if error_feedback:
        x -= decoded
    else:
        x[...] = np.float32(0.0)
    return Payload(tuple(encoded), tuple(committed), decoded, x)


def open_part(data: bytes | memoryview, count: int, codec: str, block: int, committed: CommittedPart) -> F32:
    """The decoded part float32[count]; PayloadError unless its digest is that committed to. For a part of one's own,
    whose norm one has committed to oneself."""
    digest = sha256_hex(bytes(data))
    if digest != committed.digest:
        raise PayloadError("A part is not what was committed to", f"its digest is {digest}, not {committed.digest}")
    return decode(data, count, codec, block)


def check_part(data: bytes | memoryview, count: int, codec: str, block: int, committed: CommittedPart) -> F32:
    """The decoded part float32[count]; PayloadError unless its digest and squared norm are those committed to."""
    x = open_part(data, count, codec, block, committed)
    found = norm2(x)
    if f64_hex(found) != f64_hex(committed.norm2):
        raise PayloadError("A part's norm is not what was committed to", f"{found!r}, not {committed.norm2!r}")
    return x


def split_payload(data: bytes, numel: int, parts: int, codec: str, block: int) -> tuple[bytes, ...]:
    """The encoded parts of a payload object, which is their concatenation; PayloadError for a wrong length."""
    sizes = [encoded_size(span.size, codec, block) for span in part_ranges(numel, block, parts)]
    if len(data) != sum(sizes):
        raise PayloadError("A payload has a wrong length", f"{len(data)} bytes, not {sum(sizes)}")
    result, start = [], 0
    for size in sizes:
        result.append(data[start : start + size])
        start += size
    return tuple(result)
