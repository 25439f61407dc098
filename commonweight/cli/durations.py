"""Durations as people write them: 90s, 45m, 2h, 7d."""

from __future__ import annotations

import re

from commonweight.errors import UsageError

_DURATION = re.compile(r"([0-9]+)\s*(s|m|h|d)")
_LONGEST_S = 36_525 * 86_400
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(text: str) -> int:
    """Seconds. Raises UsageError for what is no duration, or longer than a century."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is not a duration.", "A duration is like 90s, 45m, 2h or 7d", "Write it so.")
    seconds = int(match[1]) * _SECONDS[match[2]]
    if seconds > _LONGEST_S:
        raise UsageError(f"{text!r} is too long.", "No duration is longer than a century", "Give a shorter one.")
    return seconds
