"""Flat float32 vectors: their type, their bytes and digests, and the refusal of what is not finite."""

import hashlib
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from commonweight.errors import InexactArithmetic, PayloadError

__all__ = ["F32", "F64", "array_digest", "as_f32", "from_bytes", "require_exact", "require_finite", "to_bytes"]

F32: TypeAlias = npt.NDArray[np.float32]
F64: TypeAlias = npt.NDArray[np.float64]

_LITTLE = np.dtype("<f4")
_SMALLEST_NORMAL = np.float32(2.0**-126)


def as_f32(x: npt.NDArray[np.float32]) -> F32:
    """The same values as a contiguous flat float32 array; PayloadError for another dtype."""
    if x.dtype != np.float32:
        raise PayloadError("An array is not float32", f"it is {x.dtype}")
    return np.ascontiguousarray(x).reshape(-1)


def to_bytes(x: F32) -> bytes:
    """Little-endian binary32 bytes."""
    return as_f32(x).astype(_LITTLE, copy=False).tobytes()


def from_bytes(data: bytes | memoryview) -> F32:
    """A new float32 array from little-endian binary32 bytes."""
    if len(data) % 4:
        raise PayloadError("An array's bytes are cut off", f"{len(data)} is not a multiple of 4")
    return np.frombuffer(data, _LITTLE).astype(np.float32)


def array_digest(x: F32) -> str:
    """SHA-256 of the little-endian bytes, 0x-hex."""
    flat = as_f32(x).astype(_LITTLE, copy=False)
    return "0x" + hashlib.sha256(flat.data.cast("B")).hexdigest()


def require_finite(x: F32, what: str) -> None:
    """PayloadError when an element is infinite or not a number."""
    if not bool(np.isfinite(x).all()):
        raise PayloadError(f"{what} holds values that are not finite")


def require_exact() -> None:
    """InexactArithmetic when this thread flushes subnormal numbers to zero, or reads them as zero.

    The mode is one of the thread: libraries built with -ffast-math switch it on where they are loaded, and so does
    `torch.set_flush_denormal`. Results would differ from everybody else's in a few last bits and fork the checkpoint.
    """
    if _SMALLEST_NORMAL * np.float32(0.5) * np.float32(2.0) != _SMALLEST_NORMAL:
        raise InexactArithmetic(
            "This thread flushes subnormal numbers to zero",
            "a library was built with -ffast-math, or torch.set_flush_denormal(True) was called",
            "remove that library or that call; nothing exact can be computed in this process",
        )
