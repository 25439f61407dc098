"""Every cheat of benches.cheats, done by the trainer's own code and judged by the oracle's, is caught when drawn."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from benches.cheats import CHEATS, HONEST, Around, Cheat, Deed, Round, do
from benches.court import Court, draw_bytes

from commonweight.exact.genesis import genesis
from commonweight.exact.trace import ARRAYS
from commonweight.protocol.records import sign_body
from commonweight.protocol.typed import Domain
from tests.trainer.conftest import data_dir as data_dir
from tests.trainer.conftest import make_plan, tiny_config
from trainer.data import Corpus

pytestmark = pytest.mark.unit

EVERY = 5
LAST_ONLY = {"x1.05 in the last state only", "x1.05 in the payload only", "made-up residual"}
LONG = {"one step in fifty skipped"}
"""They show in the last of their segments alone, as the others were done as told; this one needs fifty steps."""
TURNED = {"states out of order"}
"""Two states in between have to change places."""


class Bench:
    """Rounds of two members on a tiny model, and the court that judges them."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder = folder
        self.data = data
        self.corpus = Corpus.open(data)
        self.court = Court(folder / "court", data)
        self.known: dict[tuple[int, int, int], Deed] = {}

    def round(self, number: int, h: int) -> Round:
        config = tiny_config(self.corpus.manifest.sha256, h=h, trace_every=EVERY)
        base = genesis(config.model, config.genesis_seed_bytes) * np.float32(1 + number / 100)
        plan = make_plan(config, "0x" + f"{number:064x}", 2, round=number)
        moved = tuple(replace(member, data_start=member.data_start + 1000 * number) for member in plan.members)
        plan = replace(plan, members=moved)
        return Round(config, self.corpus, sign_body(plan, bytes(31) + b"\1", Domain(1, "0x" + "00" * 20)), base)

    def honest(self, number: int, index: int, h: int) -> Deed:
        key = (number, index, h)
        if key not in self.known:
            self.known[key] = do(self.round(number, h), index, HONEST, self.folder / "-".join(map(str, key)))
        return self.known[key]

    def deed(self, cheat: Cheat) -> tuple[Round, Deed]:
        h = 50 if cheat.name in LONG else 15 if cheat.name in TURNED else 10
        around = Around(self.honest(2, 1, h), self.honest(1, 0, h))
        round_ = self.round(2, h)
        return round_, do(round_, 0, cheat, self.folder / f"cheat-{cheat.name.replace(' ', '-')}", around)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"), data_dir)


def test_honest_work_passes_whichever_segment_is_drawn(bench: Bench) -> None:
    found = bench.court.every(bench.round(2, 10), bench.honest(2, 0, 10))
    assert [(one.outcome, one.exact) for one in found] == [("pass", True), ("pass", True)]


@pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: cheat.name)
def test_a_cheat_is_caught_when_its_segment_is_drawn(bench: Bench, cheat: Cheat) -> None:
    round_, deed = bench.deed(cheat)
    assert bench.court.structure(round_, deed) is None  # it keeps to all that is seen without a draw
    caught = [one.caught for one in bench.court.every(round_, deed)]
    wanted = [False] * (len(caught) - 1) + [True] if cheat.name in LAST_ONLY | LONG else [True] * len(caught)
    assert caught == wanted


def test_bytes_of_a_draw_are_those_of_the_arrays_that_come(bench: Bench) -> None:
    round_, deed = bench.deed(HONEST)
    shown = [state.digests for state in deed.states[1:3] if state is not None]
    arrays = [{getattr(digests, name) for name in ARRAYS} for digests in shown]
    size = round_.base.size
    assert draw_bytes(size, exact=True) == 4 * size * len(arrays[0])
    assert draw_bytes(size, exact=False) == 4 * size * len(arrays[0] | arrays[1])
