"""Room on the disk: what a round is reckoned to take, and which states go when there is none."""

from dataclasses import replace
from pathlib import Path

import pytest

from commonweight.errors import TrainingError
from commonweight.protocol.records import sign_body
from commonweight.protocol.runconfig import RunConfig
from commonweight.protocol.typed import Domain
from tests.trainer.conftest import KEYS, tiny_config
from tests.trainer.test_recall import bench_that_keeps
from tests.trainer.test_round import Bench
from trainer.data import Corpus
from trainer.journal import RoundFolder
from trainer.room import Room, disk_bytes, round_bytes

pytestmark = pytest.mark.unit
_SPARE = 16 << 20


@pytest.fixture
def long(corpus: Corpus) -> RunConfig:
    """Twelve steps, seven leaves."""
    return tiny_config(corpus.manifest.sha256, h=12)


def files(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def rounds_of(bench: Bench, count: int) -> list[RoundFolder]:
    """So many rounds in a row, each counted."""
    first, found = bench.plan, []
    for number in range(1, count + 1):
        bench.plan = replace(first, round=number)
        bench.signed = sign_body(bench.plan, KEYS[-1], bench.domain)
        commitment = sign_body(bench.train().commitment, KEYS[1], bench.domain)
        bench.folder.save_commitment(commitment)
        bench.journal.counted(commitment)
        found.append(bench.folder)
    return found


def on_disk(bench: Bench, folder: RoundFolder) -> list[int]:
    trace, found = folder.trace, []
    assert trace is not None
    for leaf, digests in enumerate(trace.states):
        try:
            bench.journal.load_state(digests)
            found.append(leaf)
        except TrainingError:
            continue
    return found


@pytest.mark.parametrize("every", [1, 2, 5])
def test_a_round_takes_what_it_is_reckoned_to_take(
    every: int, long: RunConfig, corpus: Corpus, tmp_path: Path, domain: Domain
) -> None:
    bench = bench_that_keeps(every, long, corpus, tmp_path / "one", domain)
    bench.train()
    numel = long.model.parameters()
    reckoned = round_bytes(long, every) - _SPARE - 8 * numel  # the checkpoint lies elsewhere
    assert 0.6 * reckoned < files(bench.journal.folder) <= reckoned + (1 << 16)
    assert disk_bytes(long, 3, every) > 3 * reckoned


def test_states_go_from_the_oldest_round_on_and_come_out_again(
    long: RunConfig, corpus: Corpus, tmp_path: Path, domain: Domain
) -> None:
    bench = bench_that_keeps(1, long, corpus, tmp_path / "one", domain)
    rounds = rounds_of(bench, 3)
    full = files(bench.journal.folder)
    state = 12 * long.model.parameters()
    cap = round_bytes(long) + full - state
    room = Room(tmp_path / "one", bench.journal, long, cap=cap)
    assert room.make()
    assert room.short == ""
    assert on_disk(bench, rounds[0]) == [0]  # all that could go of it went: it is the oldest
    assert on_disk(bench, rounds[1]) == on_disk(bench, rounds[2]) == [0, 1, 2, 3, 4, 5, 6]
    for folder in rounds:
        trace = folder.trace
        assert trace is not None
        for leaf in (5, 1, 6):
            assert bench.journal.state(folder, leaf).digests == trace.states[leaf]
    bench.plan = replace(bench.plan, round=4)
    bench.signed = sign_body(bench.plan, KEYS[-1], domain)
    trace_of_4 = bench.train().commitment.trace
    assert trace_of_4.previous == rounds[2].commitment.digest  # type: ignore[union-attr]


def test_the_newest_round_is_left_alone_and_a_round_without_room_is_told(
    long: RunConfig, corpus: Corpus, tmp_path: Path, domain: Domain
) -> None:
    bench = bench_that_keeps(1, long, corpus, tmp_path / "one", domain)
    rounds = rounds_of(bench, 3)
    room = Room(tmp_path / "one", bench.journal, long, cap=round_bytes(long))
    assert not room.make()
    assert "of --max-disk are taken" in room.short
    assert [on_disk(bench, folder) for folder in rounds] == [[0], [0], [0, 1, 2, 3, 4, 5, 6]]
    room.cap = None
    assert room.make()
    assert room.short == ""


def test_states_that_signers_would_wait_too_long_for_stay(
    long: RunConfig, corpus: Corpus, tmp_path: Path, domain: Domain
) -> None:
    bench = bench_that_keeps(1, long, corpus, tmp_path / "one", domain)
    rounds = rounds_of(bench, 2)
    slow_s = long.verification.state_wait_ms / 1000 / 4 / long.training.trace_every
    assert not Room(tmp_path / "one", bench.journal, long, cap=1, step_s=lambda: slow_s).make()
    assert on_disk(bench, rounds[0]) == [0, 2, 4, 6]
    assert not Room(tmp_path / "one", bench.journal, long, cap=1, recalls=False).make()
    assert on_disk(bench, rounds[0]) == [0, 2, 4, 6]


def test_what_nothing_was_committed_to_goes_whole(
    long: RunConfig, corpus: Corpus, tmp_path: Path, domain: Domain
) -> None:
    bench = bench_that_keeps(1, long, corpus, tmp_path / "one", domain)
    bench.plan = replace(bench.plan, round=1)
    bench.signed = sign_body(bench.plan, KEYS[-1], domain)
    bench.train()
    idle = bench.folder
    bench.plan = replace(bench.plan, round=2, data_seed="0x" + "aa" * 32)
    bench.signed = sign_body(bench.plan, KEYS[-1], domain)
    bench.train()
    assert not Room(tmp_path / "one", bench.journal, long, cap=1, recalls=False).make()
    trace = idle.trace
    assert trace is not None
    kept = [s for s in trace.states[1:] if (bench.journal.arrays.folder / f"{s.weights[2:]}.f32").exists()]
    assert kept == []
    assert on_disk(bench, bench.folder) == [0, 1, 2, 3, 4, 5, 6]
