"""On text that repeats itself honest payloads are as alike as copies are: only replays tell them apart, and they do."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from benches.cheats import CHEATS, Around, Deed, do

from commonweight.exact.copies import Shown, coordinates, copies, sampled
from commonweight.protocol.draws import doubted_segment
from tests.adversaries.test_cheats import Bench
from tests.trainer.conftest import data_dir as data_dir

pytestmark = pytest.mark.unit

H = 20
COPIES = ("two show one's work", "copied, perturbed")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Bench:
    """The tests' usual text: two hundred documents of the same thirty-one words."""
    return Bench(tmp_path_factory.mktemp("bench"), data_dir)


def doubted(bench: Bench, new: Sequence[Deed]) -> set[int]:
    """Whose payload the rule says is like another."""

    def shown(deed: Deed) -> Shown:
        plan = bench.round(deed.commitment.round, H).plan
        numel = bench.round(2, H).base.size
        at = coordinates("0x" + "11" * 32, numel)
        body = deed.commitment
        return Shown(body, f"0x{body.index:064x}", body.index, sampled(deed.parts, plan, numel, at))

    return set(copies([shown(deed) for deed in new], [], bench.round(2, H).config))


def test_honest_members_are_alike_there_and_each_is_cleared(bench: Bench) -> None:
    deeds = {index: bench.honest(2, index, H) for index in (0, 1)}
    assert doubted(bench, list(deeds.values())) == {0, 1}
    for index, deed in deeds.items():
        segment = doubted_segment(bytes(32), 2, index, deed.segments)
        found = bench.court.replay(bench.round(2, H), deed, segment)
        assert (found.outcome, found.exact) == ("pass", True)


@pytest.mark.parametrize("name", COPIES)
def test_copies_are_doubted_and_no_segment_clears_them(bench: Bench, name: str) -> None:
    cheat = next(cheat for cheat in CHEATS if cheat.name == name)
    other = bench.honest(2, 0, H)
    deed = do(bench.round(2, H), 1, cheat, bench.folder / name.replace(" ", "-"), Around(other))
    assert doubted(bench, [other, deed]) == {0, 1}
    assert all(found.caught for found in bench.court.every(bench.round(2, H), deed))

