"""Tables in the documents are those of the committed results, and the default rule keeps its promise."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import bench_page
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


def test_the_table_of_the_page_is_that_of_its_results() -> None:
    body = json.loads((ROOT / "bench-results" / "page.json").read_text())
    assert read_block(bench_page.DOCUMENT, "page") == bench_page.table(body["rows"])


def test_gas_is_told_as_the_snapshot_has_it() -> None:
    table = re.findall(
        r"^\| (?!transaction|---)(.*?) \| (.*?) \|", (ROOT / "docs" / "gas.md").read_text(), re.MULTILINE
    )
    told = {int(figure.replace(",", "")) for _, cell in table for figure in cell.split(" / ")}
    assert told == set(json.loads((ROOT / "snapshots" / "gas.json").read_text()).values())
