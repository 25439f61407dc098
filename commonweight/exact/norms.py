"""Squared norms and dot products of float32 vectors: the exact sum, rounded once to binary64.

The product of two binary32 numbers is exact in binary64. Sums of such products are split, error-free, into rows
whose elements are multiples of one power of two and so few bits long that binary64 adds them exactly in any order
(the extraction of Rump, Ogita and Oishi, "Accurate floating-point summation", 2008). `math.fsum` rounds the handful
of row sums correctly.
"""

import math

import numpy as np

from commonweight.errors import PayloadError
from commonweight.exact.arrays import F32, F64, require_exact

__all__ = ["dot", "norm2"]

_CHUNK = 1 << 15
_SIGMA_BITS = 16  # log2(_CHUNK) + 1
_PRECISION = 53


def norm2(x: F32) -> float:
    """Squared L2 norm: the exact sum of the squares, correctly rounded to binary64. PayloadError if not finite."""
    return dot(x, x)


def dot(a: F32, b: F32) -> float:
    """Exact dot product, correctly rounded to binary64, never -0.0. PayloadError if an element is not finite."""
    require_exact()
    if a.shape != b.shape or a.ndim != 1 or a.dtype != np.float32 or b.dtype != np.float32:
        raise PayloadError("A dot product needs two float32 vectors of one length", f"{a.shape} and {b.shape}")
    sums: list[float] = []
    for start in range(0, a.size, _CHUNK):
        product: F64 = a[start : start + _CHUNK].astype(np.float64)
        with np.errstate(invalid="ignore"):
            product *= b[start : start + _CHUNK]
        _extract(product, sums)
    return math.fsum(sums) + 0.0


def _extract(p: F64, sums: list[float]) -> None:
    """Appends numbers whose exact sum is that of p (at most _CHUNK elements), which is consumed."""
    largest = float(np.max(np.abs(p), initial=0.0))
    if not math.isfinite(largest):
        raise PayloadError("A vector holds values that are not finite")
    if largest == 0.0:
        return
    exponent = math.frexp(largest)[1] + _SIGMA_BITS
    high = np.empty_like(p)
    while p.any():
        sigma = math.ldexp(1.0, exponent)
        np.add(p, sigma, out=high)
        high -= sigma
        sums.append(float(np.sum(high)))
        p -= high
        exponent += _SIGMA_BITS - _PRECISION  # what is left is at most half a unit of sigma's last place
