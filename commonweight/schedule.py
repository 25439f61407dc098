"""When a provider's machine is free to train: windows of local wall-clock time, like `22:00-07:00,12:00-13:00`.

A window may pass midnight and holds every day. Only what the clock on the wall shows is asked, so that a change of
summer time shortens or lengthens a window by that hour and moves neither of its ends. Outside the windows the member
rests as in a pause (`trainer.pausing`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, tzinfo

from commonweight.errors import UsageError

_WINDOW = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])\s*-\s*(?:([01][0-9]|2[0-3]):([0-5][0-9])|(24):(00))")
_DAY = 24 * 60
_AHEAD_MINUTES = 2 * _DAY


@dataclass(frozen=True)
class Schedule:
    """Windows as (begin, end) in minutes since midnight, the end not included; a begin after its end passes midnight.

    `zone` None is this machine's own.
    """

    windows: tuple[tuple[int, int], ...]
    zone: tzinfo | None = None

    def open_at(self, now_s: float) -> bool:
        """Whether there is work at this Unix time."""
        there = datetime.fromtimestamp(now_s, self.zone)
        minute = there.hour * 60 + there.minute
        return any(
            begin <= minute < end if begin < end else minute >= begin or minute < end for begin, end in self.windows
        )

    def next_change(self, now_s: float) -> int | None:
        """The Unix time at which work next begins or ends; None when it never does. Clocks change at whole minutes."""
        now, first = self.open_at(now_s), int(now_s) // 60 + 1
        minutes = range(first, first + _AHEAD_MINUTES)
        return next((60 * minute for minute in minutes if self.open_at(60 * minute) != now), None)


def parse_schedule(text: str, zone: tzinfo | None = None) -> Schedule:
    """Windows, separated by commas. Raises UsageError that names the one that is none."""
    windows = []
    for part in text.split(","):
        match = _WINDOW.fullmatch(part.strip())
        if match is None:
            raise _wrong(part.strip(), "A window is like 22:00-07:00, by a clock of 24 hours")
        begin = 60 * int(match[1]) + int(match[2])
        end = _DAY if match[5] else 60 * int(match[3]) + int(match[4])
        if begin == end:
            raise _wrong(part.strip(), "It begins and ends at the same minute")
        windows.append((begin, end))
    return Schedule(tuple(windows), zone)


def _wrong(part: str, why: str) -> UsageError:
    return UsageError(f"{part!r} is no window of a schedule.", why, "Write it like 22:00-07:00,12:00-13:00.")
