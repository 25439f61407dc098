"""The input of every engine: a direction that all workers share plus noise of each, of the same size.

Rounds differ by where the vectors begin, which costs a copy: to draw tens of millions of normal numbers for each took
longer than what is measured.
"""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
import numpy.typing as npt

SCALE = 1e-3
_STRIDE = 1_000_003
_SHARED = 99


def vector(numel: int, index: int, round_: int) -> npt.NDArray[np.float32]:
    """float32[numel] of one worker in one round."""
    return np.roll(_first(numel, index), round_ * _STRIDE)


def outcome(result: npt.NDArray[np.float32], workers: int, round_: int) -> dict[str, str | float]:
    """SHA-256 of a result, and its relative L2 distance from the mean of all workers' vectors."""
    exact = np.roll(_mean(result.size, workers), round_ * _STRIDE)
    distance = float(np.linalg.norm(result - exact) / np.linalg.norm(exact))
    return {"digest": hashlib.sha256(result.tobytes()).hexdigest(), "error": distance}


@cache
def _first(numel: int, index: int) -> npt.NDArray[np.float32]:
    return (_normal(numel, _SHARED) + _normal(numel, index)) * np.float32(SCALE)


@cache
def _mean(numel: int, workers: int) -> npt.NDArray[np.float32]:
    total = _normal(numel, _SHARED).astype(np.float64) * workers
    for index in range(workers):
        total += _normal(numel, index)
    return (total * (SCALE / workers)).astype(np.float32)


def _normal(numel: int, seed: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(numel, np.float32)
