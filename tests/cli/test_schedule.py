"""The hours in which a machine trains, over midnight and over the change of the clocks."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonweight.errors import UsageError
from commonweight.schedule import Schedule, parse_schedule

pytestmark = pytest.mark.unit
BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = parse_schedule("22:00-07:00", BERLIN)
edges = st.integers(0, 1439)
windows = st.lists(st.tuples(edges, edges).filter(lambda w: w[0] != w[1]), min_size=1, max_size=4)
moments = st.integers(0, 4 * 10**9)


def at(*when: int, fold: int = 0) -> float:
    return datetime(*when, tzinfo=BERLIN, fold=fold).timestamp()  # type: ignore[arg-type, misc]


def text(parts: list[tuple[int, int]]) -> str:
    return ", ".join(f"{b // 60:02}:{b % 60:02}-{e // 60:02}:{e % 60:02}" for b, e in parts)


@pytest.mark.parametrize(
    ("clock", "expected"), [((21, 59), False), ((22, 0), True), ((0, 0), True), ((6, 59), True), ((7, 0), False)]
)
def test_a_window_passes_midnight_and_leaves_its_end_out(clock: tuple[int, int], expected: bool) -> None:
    assert NIGHT.open_at(at(2026, 11, 25, *clock)) is expected


@settings(deadline=None)
@given(windows, moments, st.integers(-14 * 60, 14 * 60))
def test_what_the_clock_shows_decides(parts: list[tuple[int, int]], now: int, offset: int) -> None:
    zone = timezone(timedelta(minutes=offset))
    local = datetime.fromtimestamp(now, zone)
    minute = local.hour * 60 + local.minute
    # Written differently from the code: the minutes that each window holds, listed.
    held = {(b + n) % 1440 for b, e in parts for n in range((e - b) % 1440)}
    assert parse_schedule(text(parts), zone).open_at(now) is (minute in held)


@settings(deadline=None)
@given(windows, moments)
def test_a_day_shift_changes_nothing_where_clocks_stand(parts: list[tuple[int, int]], now: int) -> None:
    schedule = Schedule(tuple(parts), UTC)
    assert schedule.open_at(now) is schedule.open_at(now + 86400)


@settings(deadline=None)
@given(windows, st.integers(1_700_000_000, 1_900_000_000))
def test_the_next_change_is_one_and_the_first(parts: list[tuple[int, int]], now: int) -> None:
    schedule = Schedule(tuple(parts), BERLIN)
    change, held = schedule.next_change(now), schedule.open_at(now)
    if change is None:
        assert all(schedule.open_at(now + 600 * n) is held for n in range(288))
        return
    assert change > now
    assert schedule.open_at(change) is not held
    assert schedule.open_at(change - 1) is held
    assert all(schedule.open_at(t) is held for t in range(now, change, 420))


def test_the_night_is_an_hour_shorter_in_spring_and_longer_in_autumn() -> None:
    spring, autumn = at(2026, 3, 28, 22), at(2026, 10, 24, 22)
    assert NIGHT.next_change(spring) == at(2026, 3, 29, 7) == spring + 8 * 3600
    assert NIGHT.next_change(autumn) == at(2026, 10, 25, 7) == autumn + 10 * 3600


def test_a_window_in_the_hour_that_comes_twice_holds_twice_and_in_the_one_left_out_never() -> None:
    early = parse_schedule("02:10-02:50", BERLIN)
    assert early.open_at(at(2026, 10, 25, 2, 30))
    assert early.open_at(at(2026, 10, 25, 2, 30, fold=1))
    midnight = int(at(2026, 3, 29))
    assert not any(early.open_at(midnight + 60 * n) for n in range(6 * 60))


def test_all_day_never_changes() -> None:
    day = parse_schedule("00:00-24:00", BERLIN)
    assert day.open_at(0)
    assert day.next_change(0) is None


@pytest.mark.parametrize(
    "wrong", ["", "22-7", "24:00-07:00", "22:00-07:60", "07:00-07:00", "22:00-07:00,", "7:00-8:00"]
)
def test_what_is_no_window_is_refused_by_name(wrong: str) -> None:
    with pytest.raises(UsageError, match="no window of a schedule"):
        parse_schedule(wrong)
