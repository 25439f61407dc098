"""Exact aggregation of one part out of the members' decoded parts: clipped-mean, mean, trimmed-mean, median.

Members are taken in ascending order of their index, products and sums are rounded to binary32 one by one. Negative
zeros are made positive before anything is compared, since minima and sorts may return either of two equal zeros.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from commonweight.errors import PayloadError
from commonweight.exact.arrays import F32, require_exact, require_finite
from commonweight.exact.norms import dot, dot_within, norm2
from commonweight.protocol.runconfig import Aggregation

__all__ = ["Contribution", "PartResult", "aggregate_part", "coordinate_median"]

_PIECE = 1 << 14


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
            result = PartResult(_weighted_mean(rows, [member.weight for member in members]), everyone, ())
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
    rows = [_clip(member.x, norm, bound) for member, norm in zip(members, norms, strict=True)]
    clipped = tuple(member.index for member, norm in zip(members, norms, strict=True) if norm > bound)
    middle = coordinate_median(rows)
    lengths = [math.sqrt(min(norm, bound)) for norm in norms]
    kept = _pointing_along(rows, lengths, middle)
    if 2 * sum(members[place].weight for place in kept) < planned:
        kept = list(range(len(members)))
    mean = _weighted_mean([rows[place] for place in kept], [members[place].weight for place in kept])
    return PartResult(mean, tuple(members[place].index for place in kept), clipped)


def _pointing_along(rows: Sequence[F32], lengths: Sequence[float], middle: F32) -> list[int]:
    """The places of rows whose share of `middle`, dot product over length, is not negative and at least half the usual.

    Products within bounds tell as a rule, for a fraction of the work; where they leave it open, the exact ones decide.
    """
    ends = [dot_within(row, middle) if length else (0.0, 0.0) for row, length in zip(rows, lengths, strict=True)]
    low, high = ([end[k] / (length or 1.0) for end, length in zip(ends, lengths, strict=True)] for k in (0, 1))
    least, most = _lower_median(low), _lower_median(high)
    kept = [place for place, share in enumerate(low) if share >= 0.0 and 2.0 * share >= most]
    possible = [place for place, share in enumerate(high) if share >= 0.0 and 2.0 * share >= least]
    if kept == possible:
        return kept
    along = [dot(row, middle) / length if length else 0.0 for row, length in zip(rows, lengths, strict=True)]
    usual = _lower_median(along)
    return [place for place, share in enumerate(along) if share >= 0.0 and 2.0 * share >= usual]


def _lower_median(values: Sequence[float]) -> float:
    return sorted(values)[(len(values) - 1) // 2]


def _clip(x: F32, norm: float, bound: float) -> F32:
    """x, multiplied by float32(sqrt(bound / norm)) when its squared norm exceeds the bound."""
    return x * np.float32(math.sqrt(bound / norm)) if norm > bound else x


def _weighted_mean(rows: Sequence[F32], weights: Sequence[int]) -> F32:
    """Sum in order of float32(weight / all weights) * row, starting from zeros."""
    total = sum(weights)
    result = np.zeros_like(rows[0])
    for row, weight in zip(rows, weights, strict=True):
        result += row * np.float32(weight / total)
    return result


def _middle(rows: Sequence[F32]) -> F32:
    ordered = _ordered(rows)
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return low if len(ordered) % 2 else (low + high) * np.float32(0.5)


def _trimmed_mean(rows: Sequence[F32], trim_bps: int) -> F32:
    """Mean of what remains when floor(n * trim_bps / 10000) are cut off at each end, summed in ascending order."""
    cut = len(rows) * trim_bps // 10_000

    def mean(pieces: Sequence[F32]) -> F32:
        kept = _ordered(pieces)[cut : len(pieces) - cut]
        result = np.zeros_like(kept[0])
        for row in kept:
            result += row
        return result * np.float32(1.0 / len(kept))

    return _piecewise(rows, mean)


def _piecewise(rows: Sequence[F32], rule: Callable[[Sequence[F32]], F32]) -> F32:
    """An elementwise rule applied piece by piece, each small enough to stay in a core's cache."""
    result = np.empty_like(rows[0])
    for start in range(0, result.size, _PIECE):
        result[start : start + _PIECE] = rule([row[start : start + _PIECE] for row in rows])
    return result


def _ordered(rows: Sequence[F32]) -> list[F32]:
    """The rows sorted elementwise, smallest first: by a network of minima and maxima when few, else by numpy's sort."""
    plain = [row + np.float32(0.0) for row in rows]
    if len(plain) > 12:
        return list(np.sort(np.stack(plain), axis=0))
    for turn in range(len(plain)):
        for low in range(turn % 2, len(plain) - 1, 2):
            smaller = np.minimum(plain[low], plain[low + 1])
            np.maximum(plain[low], plain[low + 1], out=plain[low + 1])
            plain[low] = smaller
    return plain
