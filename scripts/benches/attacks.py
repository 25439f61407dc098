"""What attackers make of their pseudo-gradient before it is encoded, all of them under their own signature.

They have trained honestly, so they know what an honest member would have sent, and those of one round agree on their
noise-free direction. None names its own weight or norm: both follow from the payload.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

import numpy as np

from commonweight.exact.arrays import F32
from commonweight.exact.norms import norm2

Attack = Callable[[F32, int, int], F32]
"""Of a pseudo-gradient float32[N], a round and a member's index, the pseudo-gradient that is sent instead."""

NOISE = 5.0
DRIFT = 0.5
_FLAT = 4


def flip(x: F32, _: int, __: int) -> F32:
    """The same step backwards."""
    return np.negative(x)


def loud(x: F32, _: int, __: int) -> F32:
    """An honest direction, a hundred times as long."""
    return x * np.float32(100.0)


def noise(x: F32, round_: int, index: int) -> F32:
    """Gaussian noise of five times the honest norm."""
    drawn = np.random.default_rng([11, round_, index]).standard_normal(x.size, np.float32)
    return _scaled(drawn, NOISE * math.sqrt(norm2(x)))


def drift(x: F32, _: int, __: int) -> F32:
    """An honest step plus half its norm in one direction that never changes, the same for all attackers."""
    towards = np.random.default_rng(13).standard_normal(x.size, np.float32)
    return x + _scaled(towards, DRIFT * math.sqrt(norm2(x)))


def not_finite(part: bytes) -> bytes:
    """An encoded part whose first scale is not a number; no honest encoder makes one."""
    return struct.pack("<f", math.nan) + part[_FLAT:]


ATTACKS: dict[str, Attack] = {"sign flip": flip, "x100": loud, "noise": noise, "drift": drift}


def _scaled(x: F32, length: float) -> F32:
    return x * np.float32(length / math.sqrt(norm2(x)))
