"""Budgets follow what rounds take; slowness is judged fairly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.pace import Measured, Pace, mostly_late, next_pace, slow_ban, steps_for
from tests.oracle.office import make_config

pytestmark = pytest.mark.unit
CONFIG = make_config()


def measured(trained: dict[int, int], late: frozenset[int] = frozenset()) -> Measured:
    return Measured(trained, late, frozenset(), 1000, 500)


def test_a_budget_shrinks_step_by_step_and_grows_at_once() -> None:
    pace = Pace.first(CONFIG)
    faster = next_pace(pace, measured({0: 1000, 1: 1200}), CONFIG)
    assert faster.train_ms == pace.train_ms * 60 // 100
    slower = next_pace(faster, measured({0: 1000, 1: 9000}), CONFIG)
    assert slower.train_ms == 9000 * 135 // 100 + 500


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
    median = sorted(step_us.values())[(len(step_us) - 1) // 2]
    for index, own in step_us.items():
        steps = steps_for(index, step_us, CONFIG)
        assert CONFIG.training.trace_every <= steps <= CONFIG.training.h
        assert (steps == CONFIG.training.h) or own > 2 * median


def test_pace_survives_the_database() -> None:
    pace = Pace(1, 2, 3)
    assert Pace.from_json(pace.to_json()) == pace
