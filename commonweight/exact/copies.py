"""Likeness: payloads that may be copies, being too like another member's or an older one, by exact cosines of a sample.

Anyone recomputes it from the published payloads: the sample follows from the round's record, dot products are exact,
and the comparison is one of integers. Nobody knows the sample when it commits to a payload. Likeness is a doubt, not a
proof: on text that repeats itself honest work is alike too. A replay tells the two apart.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from commonweight.exact.arrays import F32
from commonweight.exact.codecs import decode
from commonweight.exact.norms import dot
from commonweight.protocol.data import permute
from commonweight.protocol.fields import digest_bytes
from commonweight.protocol.parts import part_ranges
from commonweight.protocol.round_documents import Commitment, Plan
from commonweight.protocol.runconfig import RunConfig

__all__ = ["COPY_OF", "Copy", "Shown", "alike", "coordinates", "copies", "memory_steps", "sampled", "samples"]

TAG = b"commonweight.copies.v1"
RUN, RUNS = 64, 1024
BPS = 10_000
COPY_OF = "a copy of provider"


@dataclass(frozen=True, eq=False)
class Shown:
    """A counted payload at the sampled coordinates; `first_ms` is the earliest receipt of its commitment."""

    commitment: Commitment
    digest: str
    first_ms: int
    sample: F32


@dataclass(frozen=True)
class Copy:
    """Whose payload of which round a payload is like."""

    index: int
    round: int

    @property
    def reason(self) -> str:
        """What a verdict says that refuses it."""
        return f"{COPY_OF} {self.index}'s payload of round {self.round}"

    @property
    def cleared(self) -> str:
        """What a verdict says that finds it made by its own steps."""
        return f"like provider {self.index}'s payload of round {self.round}, but made by its own steps"


def coordinates(record_digest: str, numel: int) -> npt.NDArray[np.int64]:
    """The sampled coordinates for a round: all of them up to 65,536, else 1,024 runs of 64 that its record draws."""
    if numel <= RUN * RUNS:
        return np.arange(numel, dtype=np.int64)
    key = hashlib.sha256(TAG + digest_bytes(record_digest)).digest()
    starts = sorted(permute(key, place, numel // RUN) * RUN for place in range(RUNS))
    found: npt.NDArray[np.int64] = (np.array(starts, np.int64)[:, None] + np.arange(RUN, dtype=np.int64)).reshape(-1)
    return found


def alike(a: F32, b: F32, cosine_bps: int) -> bool:
    """Whether the cosine of two vectors exceeds cosine_bps / 10000: exact dot products, rounded once, then integers.

    A vector of zeros is like nothing.
    """
    product = dot(a, b)
    if product <= 0.0:
        return False
    squares = Fraction(dot(a, a)) * Fraction(dot(b, b))
    return Fraction(product) ** 2 * BPS**2 > squares * cosine_bps**2


def memory_steps(decay: str) -> int:
    """Steps after which a momentum of this decay has forgotten: 2 / (1 - decay), rounded up."""
    rest = 1 - Fraction(decay)
    return -(-2 * rest.denominator // rest.numerator) if rest > 0 else 2**62


def copies(new: Sequence[Shown], old: Iterable[Shown], config: RunConfig) -> Mapping[int, Copy]:
    """What may be copies among a round's counted payloads, by index, each with what it is like.

    Of two of one round either may be the copy, as who copies may well commit first: a replay tells. Where nothing can
    be replayed it is the one whose commitment was receipted later (of two at once, that whose digest is greater). An
    older payload of anyone is never the copy. A part that is another member's to the byte is enough. What a momentum
    remembers makes honest work of few steps alike too: below `memory_steps` the cosine must exceed
    `copy_cosine_short_bps`, from there on `copy_cosine_bps`; and a member's own older payload counts only when so many
    steps lie between, its optimizer began afresh, or all parts are the same.
    """
    rule, memory = config.verification, memory_steps(config.training.inner.memory)
    found: dict[int, Copy] = {}
    ordered = sorted(new, key=lambda shown: (shown.first_ms, shown.digest))
    before = sorted(old, key=lambda shown: (shown.commitment.round, shown.commitment.index))
    for place, shown in enumerate(ordered):
        mine = shown.commitment
        bound = rule.copy_cosine_bps if mine.steps >= memory else rule.copy_cosine_short_bps
        beside = ordered[:place] if config.private else [other for other in ordered if other is not shown]
        for other in [*before, *beside]:
            if not _comparable(mine, other.commitment, memory):
                continue
            if _shares_a_part(mine, other.commitment) or alike(shown.sample, other.sample, bound):
                found[mine.index] = Copy(other.commitment.index, other.commitment.round)
                break
    return dict(sorted(found.items()))


def _comparable(mine: Commitment, other: Commitment, memory: int) -> bool:
    if mine.index != other.index or mine.trace.previous is None:
        return True
    same = [part.digest for part in mine.parts] == [part.digest for part in other.parts]
    between = mine.trace.last.step - other.trace.last.step
    return same or between < 0 or between >= memory


def _shares_a_part(mine: Commitment, other: Commitment) -> bool:
    """Whether a part that is not all zeros is another member's, too, byte for byte."""
    theirs = {part.digest for part in other.parts}
    return mine.index != other.index and any(part.norm2 > 0 and part.digest in theirs for part in mine.parts)


def sampled(parts: Iterable[bytes], plan: Plan, numel: int, at: npt.NDArray[np.int64]) -> F32:
    """A payload's elements at the sampled coordinates; PayloadError when a part does not decode."""
    return samples(parts, plan, numel, [at])[0]


def samples(
    parts: Iterable[bytes], plan: Plan, numel: int, places: Sequence[npt.NDArray[np.int64]]
) -> list[F32]:  # fmt: skip
    """The same at several rounds' coordinates, ascending each, from one decoding of a part after the other."""
    found: list[list[F32]] = [[] for _ in places]
    for data, span in zip(parts, part_ranges(numel, plan.block, plan.parts), strict=True):
        x = decode(data, span.size, plan.codec, plan.block)
        for pieces, at in zip(found, places, strict=True):
            start, stop = np.searchsorted(at, (span.start, span.stop))
            pieces.append(x[at[start:stop] - span.start])
    return [np.concatenate(pieces) for pieces in found]
