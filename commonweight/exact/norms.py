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
    """Bounds of the dot products of some vectors with one more, added up over pieces: a fraction of `dot`'s work.

    `lengths` are no less than 1 - 2^-20 times the L2 norms of those vectors.
    """

    def __init__(self, lengths: Sequence[float]) -> None:
        self._lengths = lengths
        self._dots = [0.0] * len(lengths)
        self._square = 0.0
        self._size = self._longest = 0

    def add(self, rows: Sequence[F32], y: F32) -> None:
        """Take in a piece of each vector and the same piece of the one more, float32[n] each."""
        require_exact()
        for place, row in enumerate(rows):
            self._dots[place] += float(np.dot(row, y))
        self._square += float(np.dot(y, y))
        self._size += y.size
        self._longest = max(self._longest, y.size)

    def ends(self) -> list[tuple[float, float]]:
        """For each vector two numbers that `dot` lies between, or is; infinite ones where binary32 does not do."""
        # However it is added up, a binary32 sum of n products is off by less than n * 2^-24 * (1 + 2^-3) times the sum
        # of their magnitudes, which the lengths bound, and by what underflows; the rest of these factors is margin.
        share = self._longest * 2.0**-23
        underflow = self._size * 2.0**-120
        if share > 2.0**-3:
            raise ValueError(f"pieces of {self._longest} elements are too long for bounds in binary32")
        length = math.sqrt(self._square * (1.0 + 2.0 * share) + underflow)
        found = []
        for about, other in zip(self._dots, self._lengths, strict=True):
            doubt = share * (other * (1.0 + 2.0**-16) + underflow) * length + underflow
            known = math.isfinite(about) and math.isfinite(doubt)
            found.append((about - doubt, about + doubt) if known else (-math.inf, math.inf))
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
        if b is a:
            products *= products
        else:
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
