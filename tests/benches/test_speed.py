"""The tables of docs/speed.md are those of the committed results."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import bench_allreduce
import bench_checkpoint
import bench_inner
import bench_links
from benches.block import read_block
from benches.results import RESULTS, SPEED

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("bench", [bench_allreduce, bench_checkpoint, bench_inner, bench_links])
def test_a_table_is_that_of_the_results_or_empty(bench) -> None:
    name = bench.__name__.removeprefix("bench_")
    path = RESULTS / f"{name}.json"
    expected = bench.table(json.loads(path.read_text())) if path.exists() else ""
    assert read_block(SPEED, name) == expected


def test_a_round_stands_still_for_less_than_a_twentieth_of_a_save() -> None:
    assert json.loads((RESULTS / "checkpoint.json").read_text())["stall_bps"] < bench_checkpoint.GOAL_BPS
