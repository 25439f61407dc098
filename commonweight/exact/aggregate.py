"""Exact aggregation of one part out of the members' decoded parts: clipped-mean, mean, trimmed-mean, median.

Members are taken in ascending order of their index, products and sums are rounded to binary32 one by one. A negative
zero counts as a positive one: minima and sorts may return either of two equal zeros, what comes of them is made
positive.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from commonweight.errors import PayloadError
from commonweight.exact.arrays import F32, require_exact, require_finite
from commonweight.exact.norms import DotsWithin, dot, norm2
from commonweight.protocol.runconfig import Aggregation

__all__ = ["Contribution", "PartResult", "aggregate_part", "coordinate_median"]

_PIECE = 1 << 15
_FEW = 16


@dataclass(frozen=True)
class Contribution:
    """A member's decoded part x float32[n], its weight in tokens, and its squared L2 norm (computed when not given)."""

    index: int
    x: F32
    weight: int
    norm2: float | None = None


@dataclass(frozen=True)
class PartResult:
    """The aggregate float32[n], and which members were kept and which had their norm clipped, by index."""

    x: F32
    kept: tuple[int, ...]
    clipped: tuple[int, ...]


def aggregate_part(
    contributions: Sequence[Contribution], method: Aggregation, planned_tokens: int | None = None
) -> PartResult:
    """Aggregates one part. `planned_tokens` are those of the whole plan (by default what the contributions weigh).

    PayloadError when there is nothing to aggregate, lengths differ, a weight is not positive or the result not finite.
    """
    require_exact()
    members = sorted(contributions, key=lambda member: member.index)
    if not members or len({member.index for member in members}) != len(members):
        raise PayloadError("A part cannot be aggregated", "there is no contribution, or one twice")
    if len({member.x.shape for member in members}) != 1 or any(member.weight < 1 for member in members):
        raise PayloadError("A part cannot be aggregated", "lengths differ, or a weight is not positive")
    planned = planned_tokens if planned_tokens is not None else sum(member.weight for member in members)
    everyone = tuple(member.index for member in members)
    rows = [member.x for member in members]
    with np.errstate(over="ignore", invalid="ignore"):
        if method.method == "clipped-mean":
            result = _clipped_mean(members, planned)
        elif method.method == "mean":
            whole = [_Row(row) for row in rows]
            result = PartResult(_weighted_mean(whole, [member.weight for member in members]), everyone, ())
        elif method.method == "median":
            result = PartResult(coordinate_median(rows), everyone, ())
        else:
            result = PartResult(_trimmed_mean(rows, method.trim_bps), everyone, ())
    require_finite(result.x, "An aggregated part")
    return result


def coordinate_median(rows: Sequence[F32]) -> F32:
    """Elementwise median of n vectors; for even n the binary32 product of 0.5 and the sum of the middle two."""
    return _piecewise(rows, _middle)


def _clipped_mean(members: Sequence[Contribution], planned: int) -> PartResult:
    norms = [norm2(member.x) if member.norm2 is None else member.norm2 for member in members]
    bound = _lower_median(norms)
    rows = [_Row(member.x, _factor(norm, bound)) for member, norm in zip(members, norms, strict=True)]
    kept = _pointing_along(rows, [math.sqrt(min(norm, bound)) for norm in norms])
    if 2 * sum(members[place].weight for place in kept) < planned:
        kept = list(range(len(members)))
    mean = _weighted_mean([rows[place] for place in kept], [members[place].weight for place in kept])
    clipped = tuple(member.index for member, row in zip(members, rows, strict=True) if row.factor is not None)
    return PartResult(mean, tuple(members[place].index for place in kept), clipped)


@dataclass(frozen=True)
class _Row:
    """A contribution float32[n], multiplied element by element by `factor` unless that is None."""

    x: F32
    factor: np.float32 | None = None

    def piece(self, at: slice) -> F32:
        """Elements of it, not to be changed."""
        return self.x[at] if self.factor is None else self.x[at] * self.factor


def _factor(norm: float, bound: float) -> np.float32 | None:
    """What a contribution is multiplied by whose squared norm exceeds the bound: float32(sqrt(bound / norm))."""
    return np.float32(math.sqrt(bound / norm)) if norm > bound else None


def _pointing_along(rows: Sequence[_Row], lengths: Sequence[float]) -> list[int]:
    """The places of rows whose share of the median, dot product over length, is not negative and at least half the
    usual.

    Products within bounds tell as a rule, for a fraction of the work; where they leave it open, the exact ones decide.
    """
    sums = DotsWithin(lengths)
    for at in _pieces(rows[0].x.size):
        pieces = [row.piece(at) for row in rows]
        sums.add(pieces, _middle(pieces))
    ends = [end if length else (0.0, 0.0) for end, length in zip(sums.ends(), lengths, strict=True)]
    low, high = ([end[k] / (length or 1.0) for end, length in zip(ends, lengths, strict=True)] for k in (0, 1))
    kept, possible = _shares_at_least(low, _lower_median(high)), _shares_at_least(high, _lower_median(low))
    if kept == possible:
        return kept
    whole = [row.piece(slice(None)) for row in rows]
    middle = coordinate_median(whole)
    along = [dot(row, middle) / length if length else 0.0 for row, length in zip(whole, lengths, strict=True)]
    return _shares_at_least(along, _lower_median(along))


def _shares_at_least(along: Sequence[float], usual: float) -> list[int]:
    return [place for place, share in enumerate(along) if share >= 0.0 and 2.0 * share >= usual]


def _lower_median(values: Sequence[float]) -> float:
    return sorted(values)[(len(values) - 1) // 2]


def _weighted_mean(rows: Sequence[_Row], weights: Sequence[int]) -> F32:
    """Sum in order of float32(weight / all weights) * row, starting from zeros."""
    total = sum(weights)
    result = np.zeros_like(rows[0].x)
    for at in _pieces(result.size):
        for row, weight in zip(rows, weights, strict=True):
            result[at] += row.piece(at) * np.float32(weight / total)
    return result


def _middle(rows: Sequence[F32]) -> F32:
    half = len(rows) // 2
    if len(rows) % 2:
        return _ordered(rows, (half,))[0] + np.float32(0.0)
    low, high = _ordered(rows, (half - 1, half))
    low = low + high
    low += np.float32(0.0)
    low *= np.float32(0.5)
    return low


def _trimmed_mean(rows: Sequence[F32], trim_bps: int) -> F32:
    """Mean of what remains when floor(n * trim_bps / 10000) are cut off at each end, summed in ascending order."""
    cut = len(rows) * trim_bps // 10_000

    def mean(pieces: Sequence[F32]) -> F32:
        kept = _ordered(pieces, tuple(range(cut, len(pieces) - cut)))
        result = np.zeros_like(kept[0])
        for row in kept:
            result += row
        return result * np.float32(1.0 / len(kept))

    return _piecewise(rows, mean)


def _piecewise(rows: Sequence[F32], rule: Callable[[Sequence[F32]], F32]) -> F32:
    """An elementwise rule applied piece by piece."""
    result = np.empty_like(rows[0])
    for at in _pieces(result.size):
        result[at] = rule([row[at] for row in rows])
    return result


def _pieces(size: int) -> Iterator[slice]:
    """Places in vectors of that size, each small enough for what is made of it to stay in a core's cache."""
    return (slice(start, start + _PIECE) for start in range(0, size, _PIECE))


def _ordered(rows: Sequence[F32], places: tuple[int, ...]) -> list[F32]:
    """The rows at some places after sorting elementwise, smallest first: by a network of minima and maxima when few,
    else by numpy's sort. Which of two equal zeros is taken is left open.
    """
    if len(rows) > _FEW:
        return list(np.sort(np.stack(rows), axis=0)[list(places)])
    lines = list(rows)
    for low, high, smaller, larger in _network(len(rows), places):
        a, b = lines[low], lines[high]
        if smaller:
            lines[low] = np.minimum(a, b)
        if larger:
            lines[high] = np.maximum(a, b)
    return [lines[place] for place in places]


@lru_cache(maxsize=256)
def _network(count: int, places: tuple[int, ...]) -> tuple[tuple[int, int, bool, bool], ...]:
    """Comparators that sort `count` lines as far as `places` need it, in order: two lines, and whether the smaller is
    wanted on the first and the larger on the second.
    """
    wanted, found = set(places), list[tuple[int, int, bool, bool]]()
    for low, high in reversed(_merge_exchange(count)):
        smaller, larger = low in wanted, high in wanted
        if smaller or larger:
            found.append((low, high, smaller, larger))
            wanted |= {low, high}
    return tuple(reversed(found))


def _merge_exchange(count: int) -> list[tuple[int, int]]:
    """Batcher's sorting network (Knuth, The Art of Computer Programming, volume 3, algorithm 5.2.2M)."""
    found: list[tuple[int, int]] = []
    top = 1 << (count - 1).bit_length() >> 1
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while True:
            found += [(i, i + d) for i in range(count - d) if i & p == r]
            if q == p:
                break
            q, r, d = q >> 1, p, q - p
        p >>= 1
    return found
