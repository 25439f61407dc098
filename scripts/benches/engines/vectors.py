"""The input of every engine: a direction that all workers share plus noise of each, of the same size."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

SCALE = 1e-3


def vector(numel: int, index: int, round_: int) -> npt.NDArray[np.float32]:
    """float32[numel] of one worker in one round."""
    shared = np.random.default_rng([99, round_]).standard_normal(numel, np.float32)
    own = np.random.default_rng([index, round_]).standard_normal(numel, np.float32)
    return (shared + own) * np.float32(SCALE)


def outcome(result: npt.NDArray[np.float32], workers: int, round_: int) -> dict[str, str | float]:
    """SHA-256 of a result, and its relative L2 distance from the mean of all workers' vectors."""
    exact = np.zeros(result.size, np.float64)
    for index in range(workers):
        exact += vector(result.size, index, round_)
    exact /= workers
    distance = float(np.linalg.norm(result - exact) / np.linalg.norm(exact))
    return {"digest": hashlib.sha256(result.tobytes()).hexdigest(), "error": distance}
