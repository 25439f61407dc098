"""States that are not kept: what stays on disk, and that the others come out of the same steps with the same bits."""

from dataclasses import replace
from pathlib import Path

import pytest

from commonweight.errors import TrainingError
from commonweight.exact.trace import ARRAYS, State
from commonweight.protocol.canonical import sha256_hex
from commonweight.protocol.runconfig import RunConfig
from commonweight.protocol.typed import Domain
from tests.trainer.conftest import tiny_config
from tests.trainer.test_round import Bench
from trainer.data import Corpus
from trainer.diloco import RoundTrainer
from trainer.journal import Journal, RoundFolder
from trainer.recall import Recall
from trainer.thinning import affordable, kept_every

pytestmark = pytest.mark.unit


def bench_that_keeps(every: int, config: RunConfig, corpus: Corpus, folder: Path, domain: Domain) -> Bench:
    bench = Bench(config, corpus, folder, domain)
    bench.trainer = RoundTrainer(config, corpus, bench.journal, 1, keep_states=every)
    bench.journal.recompute = Recall(config, corpus, bench.journal, 1, config.training.threads)
    return bench


@pytest.fixture
def long(corpus: Corpus) -> RunConfig:
    """Twelve steps, seven leaves."""
    return tiny_config(corpus.manifest.sha256, h=12)


def on_disk(bench: Bench) -> list[int]:
    trace = bench.folder.trace
    assert trace is not None
    found = []
    for leaf, digests in enumerate(trace.states):
        try:
            bench.journal.load_state(digests)
            found.append(leaf)
        except TrainingError:
            continue
    return found


@pytest.mark.parametrize(
    ("every", "kept"), [(1, [0, 1, 2, 3, 4, 5, 6]), (2, [0, 2, 4, 6]), (4, [0, 4, 6]), (99, [0, 6])]
)
def test_every_nth_state_stays_and_the_commitment_is_the_same(
    every: int, kept: list[int], long: RunConfig, corpus: Corpus, tmp_path: Path, domain: Domain
) -> None:
    bench = bench_that_keeps(every, long, corpus, tmp_path / "thin", domain)
    work = bench.train()
    assert work.commitment == Bench(long, corpus, tmp_path / "all", domain).train().commitment
    assert on_disk(bench) == kept


def test_a_state_that_is_not_kept_comes_out_again(
    long: RunConfig, corpus: Corpus, tmp_path: Path, domain: Domain
) -> None:
    bench = bench_that_keeps(4, long, corpus, tmp_path / "thin", domain)
    bench.train()
    trace = bench.folder.trace
    assert trace is not None
    for leaf in (3, 1, 2, 5, 0, 6):
        state = bench.journal.state(bench.folder, leaf)
        assert state.digests == trace.states[leaf]
    assert on_disk(bench) == [0, 4, 6]
    with pytest.raises(TrainingError, match="no leaf 7"):
        bench.journal.state(bench.folder, 7)


def test_pieces_of_states_that_are_not_kept_cost_their_steps_once(
    long: RunConfig, corpus: Corpus, tmp_path: Path, domain: Domain
) -> None:
    """Also where several signers ask for several states in turn; a few are kept, beside what the round keeps."""
    bench = bench_that_keeps(99, long, corpus, tmp_path / "thin", domain)
    bench.train()
    trace, again = bench.folder.trace, bench.journal.recompute
    assert trace is not None
    assert again is not None
    size, taken = 4 * bench.base.size, []

    def counted(folder: RoundFolder, leaf: int) -> State:
        taken.append(leaf)
        return again(folder, leaf)

    bench.journal.recompute = counted
    cut = size // 2 + 3
    for leaves in ((1, 2, 3, 4), (5,)):
        for name in ARRAYS:
            first = [bench.journal.piece(bench.folder, leaf, name, 0, cut) for leaf in leaves]
            rest = [bench.journal.piece(bench.folder, leaf, name, cut, cut) for leaf in leaves]
            for leaf, *halves in zip(leaves, first, rest, strict=True):
                assert sha256_hex(b"".join(halves)) == getattr(trace.states[leaf], name)
    assert sorted(taken) == [1, 2, 3, 4, 5]
    kept = {path.stem for path in (bench.journal.folder / "again").iterdir()}
    assert trace.states[1].m[2:] not in kept, "it gave way to the fifth"
    assert {trace.states[leaf].m[2:] for leaf in (2, 3, 4, 5)} <= kept
    assert on_disk(bench) == [0, 6]
    with pytest.raises(TrainingError, match="no leaf 7"):
        bench.journal.piece(bench.folder, 7, "m", 0, cut)
    Journal(bench.journal.folder)
    assert list((bench.journal.folder / "again").iterdir()) == []


def test_a_piece_of_a_damaged_array_is_that_of_the_state_computed_again(
    long: RunConfig, corpus: Corpus, tmp_path: Path, domain: Domain
) -> None:
    bench = bench_that_keeps(2, long, corpus, tmp_path / "thin", domain)
    bench.train()
    trace = bench.folder.trace
    assert trace is not None
    path = bench.journal.arrays.folder / f"{trace.states[2].m[2:]}.f32"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert bench.journal.piece(bench.folder, 2, "m", 0, 100) == whole[:100]
    assert bench.journal.piece(bench.folder, 2, "m", 100, 2 * len(whole)) == whole[100:]
    for lost in (whole[:300], bytes(len(whole)), b""):  # by the power, after the first piece has gone out
        path.write_bytes(whole)
        assert bench.journal.piece(bench.folder, 2, "m", 0, 100) == whole[:100]
        path.write_bytes(lost)
        bench.journal.forget_before(0, 0)
        bench.journal._forgotten = (-1, -1)
        assert list((bench.journal.folder / "again").iterdir()) == [], "what is forgotten takes no room"
        assert bench.journal.piece(bench.folder, 2, "m", 100, 2 * len(whole)) == whole[100:]


def test_a_damaged_kept_state_is_passed_over(long: RunConfig, corpus: Corpus, tmp_path: Path, domain: Domain) -> None:
    bench = bench_that_keeps(2, long, corpus, tmp_path / "thin", domain)
    bench.train()
    trace = bench.folder.trace
    assert trace is not None
    (bench.journal.arrays.folder / f"{trace.states[2].m[2:]}.f32").write_bytes(b"lost")
    assert bench.journal.state(bench.folder, 3).digests == trace.states[3]


def test_other_bits_are_never_handed_out(long: RunConfig, corpus: Corpus, tmp_path: Path, domain: Domain) -> None:
    bench = bench_that_keeps(4, long, corpus, tmp_path / "thin", domain)
    bench.train()
    other = tiny_config(corpus.manifest.sha256, h=12, inner={"lr": "2e-3"})
    bench.journal.recompute = Recall(other, corpus, bench.journal, 1, 1)
    with pytest.raises(TrainingError, match="comes out otherwise"):
        bench.journal.state(bench.folder, 2)


def test_an_interrupted_round_loses_no_more_steps_than_when_all_is_kept(
    long: RunConfig, corpus: Corpus, tmp_path: Path, domain: Domain
) -> None:
    bench = bench_that_keeps(99, long, corpus, tmp_path / "thin", domain)

    def die(steps: int, loss: float) -> None:
        if steps == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.train(progress=die)
    again = bench_that_keeps(99, long, corpus, tmp_path / "thin", domain).train()
    assert again.steps_taken == 6
    assert again.commitment == Bench(long, corpus, tmp_path / "all", domain).train().commitment


def test_slow_machines_keep_more_than_they_were_told(long: RunConfig) -> None:
    wait_s = long.verification.state_wait_ms / 1000
    assert kept_every(long, 1e-4, 50) == 50
    assert affordable(long, wait_s / 4 / 2 / 3) == kept_every(long, wait_s / 4 / 2 / 3, 50) == 4
    assert kept_every(long, wait_s, 50) == 1


@pytest.mark.parametrize("step_s", [0.0, 1e-9, 1e-4, 1.0, 1e4])
@pytest.mark.parametrize("wait_ms", [1000, 10**8])
def test_who_keeps_all_states_thins_out_none_however_fast_it_is(
    step_s: float, wait_ms: int, long: RunConfig, corpus: Corpus, tmp_path: Path, domain: Domain
) -> None:
    """A member of several processes depends on it: none of them could compute a state again to the bit."""
    config = replace(long, verification=replace(long.verification, state_wait_ms=wait_ms))
    assert kept_every(config, step_s, 1) == 1
    bench = Bench(config, corpus, tmp_path / "all", domain)
    bench.trainer.step_s = step_s
    bench.train()
    assert on_disk(bench) == [0, 1, 2, 3, 4, 5, 6]
