"""Waiting for a condition, for as long as a busy machine may need and no longer than until it holds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(condition: Callable[[], T], seconds: float = 120.0, what: str = "the condition") -> T:
    """Wait until a condition holds, and give what it gives; the test fails if it does not in time."""
    until = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < until, f"waited {seconds} s in vain for {what}"
        time.sleep(0.02)
    return value
