"""A default tier ends in time: what would end later is not begun, and the benchmark says what that was."""

from __future__ import annotations

import sys
from concurrent.futures import Future
from pathlib import Path
from typing import Self

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import bench_loss
from benches.budget import Budget
from benches.loss import ALONE, ROWS, SYNCHRONOUS, Row

pytestmark = pytest.mark.unit


class Clock:
    """Seconds that pass when a test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Pool:
    """Plays each row in as many seconds as it has steps, one after another."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.played = clock, list[tuple[Row, int]]()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, _: object, row: Row, seed: int) -> Future[float]:
        self.clock.now += row.worker_steps
        self.played.append((row, seed))
        done = Future[float]()
        done.set_result(float(row.worker_steps))
        return done


def test_time_is_counted_from_the_beginning_and_ends() -> None:
    clock = Clock()
    budget = Budget(2, clock)
    assert budget.left_s() == 120
    assert (budget.has(119), budget.has(120)) == (True, False)
    clock.now += 300
    assert budget.left_s() == 0
    assert not budget.has(0), "nothing is begun after the end"
    assert Budget(None, clock).has(1e12)


@pytest.mark.parametrize(("minutes", "played"), [(None, 4), (4000 / 60, 3), (2001 / 60, 2)])
def test_rows_for_which_no_time_is_left_are_not_begun(
    monkeypatch: pytest.MonkeyPatch, minutes: float | None, played: int
) -> None:
    clock = Clock()
    pool = Pool(clock)
    monkeypatch.setattr(bench_loss, "ProcessPoolExecutor", lambda *_: pool)
    rows = [(row, 0) for row, _ in ROWS if row.inner == "muon"][:4]
    left = bench_loss._play_all(sorted(rows, key=bench_loss._turn), 1, Budget(minutes, clock))
    assert [row.how for row, _ in pool.played][:2] == [ALONE, SYNCHRONOUS]
    assert len(pool.played) == played
    assert pool.played + left == sorted(rows, key=bench_loss._turn)
    if minutes is not None:
        assert clock.now - 1000.0 <= minutes * 60


def test_both_ends_of_the_gain_of_new_runs_come_first() -> None:
    order = sorted(((row, seed) for seed in (1, 0) for row, _ in ROWS), key=bench_loss._turn)
    assert [(row.name, seed) for row, seed in order[:3]] == [
        ("Muon, one worker", 0), ("Muon, synchronous, fp32", 0), ("Muon, butterfly: fp32, H 34, outer 1.0/0.4", 0)
    ]  # fmt: skip
    assert all(seed == 0 for _, seed in order[: len(ROWS)])
