"""How long a round may take, learned from how long rounds have taken; who is left out for being slow, who gets less.

Pure functions over times in milliseconds that the coordinator measured itself, from its plan to its receipt; nothing is
taken from what members say. Deadlines follow the slowest member that was in time, with a margin, but nobody stretches
them beyond twice the median's time: a slow machine gets fewer steps, not a worse place, and one that only dawdles does
not hold up the others. One that is late again and again is left out for a time that doubles. When most members were
late the deadline was wrong, not the members: nobody is blamed and the budget grows.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from commonweight.protocol.canonical import JsonObject
from commonweight.protocol.fields import Fields
from commonweight.protocol.runconfig import RunConfig

_MARGIN_PERCENT = 135
_FLOOR_MS = 1500
_SHRINK_PERCENT = 60
_LONGEST_BAN_MS = 24 * 3600 * 1000
_SLOW_FACTOR = 2


@dataclass(frozen=True)
class Pace:
    """Budgets of the next round: inner steps with commitments, exchange of payloads, and the record."""

    train_ms: int
    exchange_ms: int
    record_ms: int

    @classmethod
    def first(cls, config: RunConfig) -> "Pace":
        """The run configuration's budgets, for a run that has measured nothing yet."""
        return cls(config.timing_ms.train, config.timing_ms.exchange, config.timing_ms.record)

    def to_json(self) -> JsonObject:
        """As it is kept in the database."""
        return {"train_ms": self.train_ms, "exchange_ms": self.exchange_ms, "record_ms": self.record_ms}

    @classmethod
    def from_json(cls, value: JsonObject) -> "Pace":
        """Reads what `to_json` writes."""
        f = Fields(value, "pace")
        return cls(f.integer("train_ms", 1), f.integer("exchange_ms", 1), f.integer("record_ms", 1))


@dataclass(frozen=True)
class Measured:
    """What one round took. `trained_ms`: member -> from the plan to its commitment, late ones included; `steps`: how
    many inner steps it did in that time, of those in time as committed, of late ones as planned.
    """

    trained_ms: Mapping[int, int]
    steps: Mapping[int, int]
    late: frozenset[int]
    absent: frozenset[int]
    exchange_ms: int
    record_ms: int


def next_pace(pace: Pace, measured: Measured, config: RunConfig) -> Pace:
    """The budgets after a round; never above the configuration's by more than four times, never below a floor."""
    ceiling = Pace.first(config)
    in_time = [ms for index, ms in measured.trained_ms.items() if index not in measured.late]
    if mostly_late(measured):
        train = max(2 * pace.train_ms, max(measured.trained_ms.values(), default=0))
    elif in_time:
        train = _towards(pace.train_ms, min(max(in_time), _SLOW_FACTOR * _median(in_time)))
    else:
        train = pace.train_ms
    return Pace(
        min(train, 4 * ceiling.train_ms),
        min(_towards(pace.exchange_ms, measured.exchange_ms), 4 * ceiling.exchange_ms),
        min(_towards(pace.record_ms, measured.record_ms), 4 * ceiling.record_ms),
    )


def mostly_late(measured: Measured) -> bool:
    """Whether so many were late that the deadline is to blame. Absent members do not count either way."""
    return 2 * len(measured.late) > len(measured.trained_ms)


def slow_ban(strikes: int, config: RunConfig) -> int:
    """Milliseconds for which a member is left out at its `strikes`-th lateness in a row: doubles each time."""
    return min(config.timing_ms.slow_ban << min(strikes - 1, 40), _LONGEST_BAN_MS)


def next_speeds(known: Mapping[int, int], measured: Measured) -> dict[int, int]:
    """Microseconds a step of each member after a round. Of a late one only a least value is known; none gets faster."""
    speeds = dict(known)
    for index, took_ms in measured.trained_ms.items():
        step_us = max(1, took_ms * 1000 // max(1, measured.steps[index]))
        speeds[index] = max(step_us, speeds.get(index, 0)) if index in measured.late else step_us
    return speeds


def steps_for(index: int, step_us: Mapping[int, int], config: RunConfig) -> int:
    """Inner steps of a member: H, or what a machine far slower than the median does in twice the median's time.

    Whole segments of the trace where that makes at least one, as a member can stop early only between them.
    """
    h, every = config.training.h, config.training.trace_every
    if index not in step_us or len(step_us) < 2:
        return h
    limit_us, own_us = _SLOW_FACTOR * _median(step_us.values()), step_us[index]
    if own_us <= limit_us:
        return h
    steps = h * limit_us // own_us
    return steps // every * every if steps >= every else max(1, steps)


def _median(values: Iterable[int]) -> int:
    """The lower median."""
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 2]


def _towards(budget_ms: int, took_ms: int) -> int:
    """A budget with margin over what was needed; it grows at once and shrinks step by step."""
    wanted = max(_FLOOR_MS, took_ms * _MARGIN_PERCENT // 100 + 500)
    return max(wanted, budget_ms * _SHRINK_PERCENT // 100)
