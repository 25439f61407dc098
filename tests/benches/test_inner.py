"""The inner loop's benchmark compares whole turns, or the short first one where there is no time for more."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import bench_inner
from benches.budget import Budget

from tests.trainer.conftest import tiny_config
from trainer.data import Corpus
from trainer.engine import Engine
from trainer.preparation import prepare

pytestmark = pytest.mark.unit

SIDES = {"adamw": {"plain", "fused"}, "muon": {"plain", "fused", "float32"}}


@pytest.mark.parametrize(("optimizer", "minutes", "steps", "turns"), [
    ("muon", 5.0, 6, 2), ("adamw", 5.0, 6, 2), ("muon", 0.0, 2, 1),
])  # fmt: skip
def test_all_sides_take_the_same_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str, minutes: float, steps: int, turns: int
) -> None:
    text = tmp_path / "text"
    text.mkdir()
    for document in range(40):
        (text / f"{document}.txt").write_text(" ".join(f"word{number * document % 97}" for number in range(60)))
    prepare([text], tmp_path / "data", shard_tokens=20_000, heldout_bps=1000)
    monkeypatch.setattr(bench_inner, "_FOLDER", tmp_path)
    corpus = Corpus.open(tmp_path / "data")
    config = tiny_config(corpus.manifest.sha256, inner={"optimizer": optimizer})
    row = bench_inner._compare(config, corpus, Engine("cpu", False), 2, Budget(minutes))
    assert (row["steps"], row["turns"]) == (steps, turns)
    assert set(row["tokens_per_s"]) == {"ours"} | SIDES[optimizer]
    assert set(row["ratio_milli"]) == SIDES[optimizer]
    assert all(ratio > 0 for ratio in row["ratio_milli"].values())
