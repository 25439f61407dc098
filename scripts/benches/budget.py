"""How long a benchmark may go on: a default tier ends within twenty minutes; a slow machine plays less of it."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from collections.abc import Callable

MINUTES = 20.0


class Budget:
    """Wall time from now on. With no `minutes` there is no end to it."""

    def __init__(self, minutes: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends = None if minutes is None else clock() + 60 * minutes

    def left_s(self) -> float:
        """Seconds, none of them negative; infinite without an end."""
        return float("inf") if self._ends is None else max(0.0, self._ends - self._clock())

    def has(self, seconds: float) -> bool:
        """Whether more than that is left."""
        return seconds < self.left_s()


def add_minutes(parser: ArgumentParser, otherwise: str) -> None:
    """The option --minutes; `otherwise` says what a benchmark does with less time than it wants."""
    parser.add_argument("--minutes", type=float, default=None, help=f"after which {otherwise} (default: {MINUTES:g})")
