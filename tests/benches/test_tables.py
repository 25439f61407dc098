"""Tables in the documents are those of the committed results, and the default rule keeps its promise."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import bench_robust
from benches.block import read_block

from commonweight.protocol.fields import Fields

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]


def rows() -> list[bench_robust.Row]:
    body = json.loads((ROOT / "bench-results" / "robust.json").read_text())
    return [bench_robust.Row.read(Fields(row, "row")) for row in body["rows"]]


def test_the_table_of_the_document_is_that_of_the_results() -> None:
    assert read_block(bench_robust.DOCUMENT, "robust") == bench_robust.table(rows())


def test_the_default_rule_stays_within_a_hundredth_of_a_nat_and_the_mean_does_not() -> None:
    assert bench_robust.worst_micro(rows(), "clipped-mean") <= bench_robust.GOAL_MICRO
    assert bench_robust.worst_micro(rows(), "mean") > bench_robust.GOAL_MICRO
