"""The tables of docs/verification.md are those of the committed results, and the results keep their promises."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import bench_copies
import bench_scores
import bench_verify
from benches.block import read_block
from benches.prices import Budget, Prices, budget, rounds_needed

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
BODY = json.loads((ROOT / "bench-results" / "verify.json").read_text())


@pytest.mark.parametrize("name", sorted(bench_verify.tables(BODY)))
def test_a_table_of_the_document_is_that_of_the_results(name: str) -> None:
    assert read_block(bench_verify.DOCUMENT, name) == bench_verify.tables(BODY)[name]


def test_what_is_told_of_likeness_is_what_was_measured() -> None:
    rounds = json.loads((ROOT / "bench-results" / "copies.json").read_text())["rounds"]
    assert read_block(bench_copies.DOCUMENT, "copies") == bench_copies.table(rounds)
    assert any(entry["doubted"] for entry in rounds if entry["text"] == "repeating")
    for entry in rounds:
        early = entry["round"] < bench_copies.SETTINGS[entry["h"]][-1]
        assert entry["text"] == "repeating" or early or entry["doubted"] == 0
        assert entry["copies_doubted"]["0.0"]
        assert float(entry["honest_rel_l2"]) < 1e-3 < float(entry["copy_rel_l2"]) / 100


def test_what_is_told_of_scores_is_what_was_measured() -> None:
    rounds = json.loads((ROOT / "bench-results" / "scores.json").read_text())["rounds"]
    assert read_block(bench_scores.DOCUMENT, "scores") == bench_scores.tables(rounds)
    refused = {(score["who"], bool(score["reason"])) for entry in rounds for score in entry["scores"]}
    assert {who for who, no in refused if not no} >= {"honest", "half the steps"}
    assert not {("honest", True), ("half the steps", True), ("nothing", False), ("negated", False)} & refused


def test_every_cheat_that_was_measured_is_caught_when_drawn_and_honest_work_is_not_refused() -> None:
    for row in BODY["cheats"]:
        assert (row["refused"] == 0) == (row["cheat"] == "honest"), row


def test_draws_strike_as_often_as_their_share_says() -> None:
    in_round, in_epoch, tenth = bench_verify.struck({0, 1, 2, 3, 4}, 10)
    assert 4700 < in_round < 5300
    assert in_epoch > 9900
    assert in_round < 2 * tenth < 2 * in_epoch
    assert bench_verify.struck(set(), 10) == (0, 0, 0)
    assert bench_verify.struck(set(range(10)), 10) == (10_000, 10_000, 10_000)


def test_what_a_budget_pays_for() -> None:
    prices = Prices(step=0.1, segment=0.6, segment_steps=5, score=0.5, recount=0.8, evaluate=1.6)
    found = budget(prices, h=100, trace_every=5, rounds=20)
    assert found == Budget(draw=pytest.approx(0.06), score=pytest.approx(0.05), fixed=pytest.approx(0.03 + 0.003))
    assert found.rate(found.share(0.25)) == pytest.approx(0.25)
    assert found.rate(0.05) == 0.0
    assert rounds_needed(1.0) == 44
    assert rounds_needed(0.1) == 459
    assert rounds_needed(0.0) is None
