"""Squared norms and dot products of float32 vectors: the exact sum, rounded once to binary64.

The product of two binary32 numbers is exact in binary64. The leading bits of such products are split off without
error, so few that binary64 adds them exactly in any order (the extraction of Rump, Ogita and Oishi, "Accurate
floating-point summation", 2008). What is left is added as it comes, with a bound on what that loses: where both ends of
the bound round to one number, the exact sum rounds to it. Where they do not, more is split off until nothing is left.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from commonweight.errors import PayloadError
from commonweight.exact.arrays import F32, F64, require_exact

__all__ = ["DotsWithin", "dot", "norm2"]

_CHUNK = 1 << 15
_SIGMA_BITS = 16  # log2(_CHUNK) + 1
_PRECISION = 53
_ULP = 2.0 ** (1 - _PRECISION)


def norm2(x: F32) -> float:
    """Squared L2 norm: the exact sum of the squares, correctly rounded to binary64. PayloadError if not finite."""
    return dot(x, x)


def dot(a: F32, b: F32) -> float:
    """Exact dot product, correctly rounded to binary64, never -0.0. PayloadError if an element is not finite."""
    sums: list[float] = []
    doubt = 0.0
    for products, scratch, exponent in _products(a, b):
        sums += [_split(products, scratch, exponent), float(np.add.reduce(products))]
        doubt += _lost(products.size, math.ldexp(1.0, exponent - _PRECISION))
    low, high = math.fsum([*sums, -doubt]), math.fsum([*sums, doubt])
    return low + 0.0 if low == high else _dot_to_the_last_bit(a, b)


class DotsWithin:
    """Bounds of the dot products of some vectors with one more, added up over pieces: a fraction of `dot`'s work."""

    def __init__(self, count: int) -> None:
        self._dots = [0.0] * count
        self._squares = [0.0] * (count + 1)
        self._additions = 0

    def add(self, rows: Sequence[F32], y: F32) -> None:
        """Take in a piece of each vector and the same piece of the one more, float32[n] each."""
        require_exact()
        y64 = y.astype(np.float64)
        for place, row in enumerate(rows):
            x64 = row.astype(np.float64)
            self._dots[place] += float(np.dot(x64, y64))
            self._squares[place] += float(np.dot(x64, x64))
        self._squares[-1] += float(np.dot(y64, y64))
        self._additions += y.size + 1

    def ends(self) -> list[tuple[float, float]]:
        """For each vector two numbers that `dot` lies between, or is. PayloadError if an element is not finite."""
        if not math.isfinite(sum(self._squares)):
            raise PayloadError("A vector holds values that are not finite")
        found = []
        for about, square in zip(self._dots, self._squares, strict=False):
            # the error of a sum is below additions * ulp / 2 * the sum of magnitudes, which the lengths bound
            doubt = self._additions * _ULP * math.sqrt(square) * math.sqrt(self._squares[-1])
            found.append((about - doubt, about + doubt))
        return found


def _dot_to_the_last_bit(a: F32, b: F32) -> float:
    sums: list[float] = []
    for products, scratch, exponent in _products(a, b):
        while products.any():
            sums.append(_split(products, scratch, exponent))
            exponent += _SIGMA_BITS - _PRECISION  # what is left is at most half a unit of sigma's last place
    return math.fsum(sums) + 0.0


def _lost(count: int, largest: float) -> float:
    """More than binary64 loses of the sum of `count` numbers up to `largest`, in whatever order it adds them."""
    return count * count * largest * _ULP


def _products(a: F32, b: F32) -> Iterator[tuple[F64, F64, int]]:
    """The elementwise products of each chunk, a buffer of that size, and e: no product reaches 2^(e - _SIGMA_BITS).

    Both may be changed; the next chunk overwrites them. Chunks of zeros are passed over.
    """
    require_exact()
    if a.shape != b.shape or a.ndim != 1 or a.dtype != np.float32 or b.dtype != np.float32:
        raise PayloadError("A dot product needs two float32 vectors of one length", f"{a.shape} and {b.shape}")
    length = min(_CHUNK, a.size)
    first, second = np.empty(length), np.empty(length)
    for start in range(0, a.size, _CHUNK):
        x, y = a[start : start + _CHUNK], b[start : start + _CHUNK]
        largest = _largest(x)
        largest *= largest if b is a else _largest(y)
        if not math.isfinite(largest):
            raise PayloadError("A vector holds values that are not finite")
        if largest == 0.0:
            continue
        products, scratch = first[: x.size], second[: x.size]
        np.copyto(products, x)
        np.copyto(scratch, y)
        products *= scratch
        yield products, scratch, math.frexp(largest)[1] + _SIGMA_BITS


def _largest(x: F32) -> float:
    """The largest magnitude; not finite where an element is not."""
    return max(float(x.max()), -float(x.min()))


def _split(products: F64, scratch: F64, exponent: int) -> float:
    """Take from each number its multiple of 2^(exponent - 53), exactly; returns the exact sum of what was taken."""
    sigma = math.ldexp(1.0, exponent)
    np.add(products, sigma, out=scratch)
    scratch -= sigma
    products -= scratch
    return float(np.add.reduce(scratch))
