"""Budgets follow what rounds take; slowness is judged fairly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.pace import Measured, Pace, mostly_late, next_pace, next_speeds, slow_ban, steps_for
from tests.oracle.office import make_config

pytestmark = pytest.mark.unit
CONFIG = make_config()


def measured(trained: dict[int, int], late: frozenset[int] = frozenset()) -> Measured:
    return Measured(trained, dict.fromkeys(trained, CONFIG.training.h), late, frozenset(), 1000, 500)


def test_a_budget_shrinks_step_by_step_and_grows_at_once() -> None:
    pace = Pace.first(CONFIG)
    faster = next_pace(pace, measured({0: 1000, 1: 1200}), CONFIG)
    assert faster.train_ms == pace.train_ms * 60 // 100
    slower = next_pace(faster, measured({0: 5000, 1: 9000}), CONFIG)
    assert slower.train_ms == 9000 * 135 // 100 + 500


@given(st.lists(st.integers(1, 60_000), min_size=2, max_size=9), st.integers(1, 30_000))
def test_nobody_stretches_a_deadline_beyond_twice_the_median(times: list[int], budget: int) -> None:
    """Whoever commits at the last moment, or says nothing at all, costs the others a bounded time."""
    pace = Pace(budget, 1000, 1000)
    median = sorted(times)[(len(times) - 1) // 2]
    after = next_pace(pace, measured(dict(enumerate(times))), CONFIG).train_ms
    assert after <= max(1500, 2 * median * 135 // 100 + 500, budget * 60 // 100)
    assert after >= min(min(max(times), 2 * median), 4 * CONFIG.timing_ms.train)
    silent = Measured({}, {}, frozenset(), frozenset(range(9)), 0, 0)
    assert next_pace(pace, silent, CONFIG).train_ms == min(budget, 4 * CONFIG.timing_ms.train)


def test_when_most_are_late_the_deadline_is_to_blame() -> None:
    verdict = measured({0: 9000, 1: 9500, 2: 5000}, frozenset({0, 1}))
    assert mostly_late(verdict)
    assert next_pace(Pace.first(CONFIG), verdict, CONFIG).train_ms == 16_000
    assert not mostly_late(measured({0: 9000, 1: 5000, 2: 5000}, frozenset({0})))


@given(st.integers(1, 60))
def test_bans_for_slowness_double_and_end(strikes: int) -> None:
    now, then = slow_ban(strikes, CONFIG), slow_ban(strikes + 1, CONFIG)
    assert then == min(2 * now, 24 * 3600 * 1000)


@given(st.dictionaries(st.integers(0, 9), st.integers(100, 10**6), min_size=2))
def test_only_far_slower_machines_get_fewer_steps(step_us: dict[int, int]) -> None:
    h, every = CONFIG.training.h, CONFIG.training.trace_every
    median = sorted(step_us.values())[(len(step_us) - 1) // 2]
    for index, own in step_us.items():
        steps = steps_for(index, step_us, CONFIG)
        assert 1 <= steps <= h
        assert (steps == h) == (own <= 2 * median)
        assert steps * own <= 2 * median * h or steps == 1, "it fits into twice the median's time"
        assert steps % every == 0 or steps < every


def one_round(speeds: dict[int, int], known: dict[int, int], pace: Pace) -> tuple[Measured, dict[int, int]]:
    """A round of machines with these microseconds a step, which stop at trace boundaries before they are late."""
    every = CONFIG.training.trace_every
    took, done, late = {}, {}, set()
    planned = {index: steps_for(index, known, CONFIG) for index in speeds}
    for index, step_us in speeds.items():
        segment_ms = min(every, planned[index]) * step_us / 1000
        segments = -(-planned[index] // every)
        room = int((pace.train_ms - 500 - 0.3 * segment_ms) // segment_ms)
        done[index] = min(planned[index], max(1, min(segments, room)) * min(every, planned[index]))
        took[index] = max(1, round(done[index] * step_us / 1000))
        if took[index] > pace.train_ms:
            late.add(index)
            done[index] = planned[index]
    return Measured(took, done, frozenset(late), frozenset(), 1000, 500), planned


@given(st.lists(st.integers(5_000, 100_000), min_size=2, max_size=8), st.integers(1, 8))
def test_slow_machines_keep_their_place_with_fewer_steps(fast: list[int], factor: int) -> None:
    """Whatever the speeds: each does what twice the median's time holds, and after a few rounds nobody is late of
    whom a single step fits into it.
    """
    speeds = dict(enumerate([*fast, min(fast) * factor * factor]))
    limit = 2 * sorted(speeds.values())[(len(speeds) - 1) // 2]
    hopeless = {index for index, step_us in speeds.items() if step_us > limit * CONFIG.training.h}
    known: dict[int, int] = {}
    pace = Pace.first(CONFIG)
    for number in range(8):
        measured_now, planned = one_round(speeds, known, pace)
        if number > 3:
            assert measured_now.late <= hopeless, (number, pace, planned, measured_now)
        pace, known = next_pace(pace, measured_now, CONFIG), next_speeds(known, measured_now)
    for index, step_us in speeds.items():
        wanted = min(CONFIG.training.h, CONFIG.training.h * limit * 9 // 10 // step_us)
        assert planned[index] >= max(1, wanted // CONFIG.training.trace_every * CONFIG.training.trace_every)


def test_a_late_member_is_known_to_be_at_least_so_slow() -> None:
    late = Measured({1: 9000}, {1: 10}, frozenset({1}), frozenset(), 0, 0)
    assert next_speeds({1: 100}, late) == {1: 900_000}
    assert next_speeds({1: 10**7}, late) == {1: 10**7}
    assert next_speeds({1: 10**7}, Measured({1: 9000}, {1: 10}, frozenset(), frozenset(), 0, 0)) == {1: 900_000}


def test_pace_survives_the_database() -> None:
    pace = Pace(1, 2, 3)
    assert Pace.from_json(pace.to_json()) == pace
