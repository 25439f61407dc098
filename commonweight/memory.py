"""Keep freed memory for the arrays to come.

glibc gives large arrays back to the kernel when they are freed, and takes the next ones from it page by page, zeroed. A
member or signer makes arrays of the same few sizes again and again: of an exchange of 24 million parameters the faults
of that took more than half the time. docs/speed.md has the measurement.
"""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # mallopt(3)
_KEPT = (1 << 30, 1 << 25)  # older versions take no more than the second
_MOST = 2**31 - 1


def keep_freed_memory() -> bool:
    """From now on arrays of up to a gigabyte come from one heap, which does not shrink; whether the C library can.

    Call it before other threads start. The process keeps what it needed most. Larger arrays are mapped one by one, as
    they are without this.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False  # another C library than glibc
    kept = any(mallopt(_MMAP_THRESHOLD, size) for size in _KEPT)
    return kept and bool(mallopt(_TRIM_THRESHOLD, _MOST)) and bool(mallopt(_ARENA_MAX, 1))
