"""A run on private shards: a member trains on its own, goes on where it was, and shows what it saw to nobody."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from commonweight.errors import DataError, PeerRefused, TrainingError, UsageError
from commonweight.protocol.contribution import PrivateScores
from commonweight.protocol.records import sign_body
from commonweight.protocol.runconfig import RunConfig
from commonweight.protocol.typed import Domain
from commonweight.store import open_store
from tests.trainer.conftest import KEYS, make_plan
from tests.trainer.test_peers import SIGNER, Serving
from tests.trainer.test_round import Bench
from trainer import diloco
from trainer.data import Corpus, own_shards, publish
from trainer.inner import InnerOptimizer
from trainer.preparation import prepare
from trainer.scoring import Update, score, window_losses

pytestmark = pytest.mark.unit

SEQ_LEN = 16


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A member's prepared shards: 40 windows and a bit, no two alike."""
    text = tmp_path / "mine.txt"
    text.write_bytes(bytes(np.random.default_rng(1).integers(1, 127, 40 * SEQ_LEN + 5, np.uint8)))
    prepare([text], tmp_path / "shards", heldout_bps=0)
    return tmp_path / "shards"


@pytest.fixture
def private(config: RunConfig) -> RunConfig:
    return replace(config, data=replace(config.data, private_credit_bps=0))


def test_nothing_or_everything_can_be_held_out(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("some text")
    own = prepare([tmp_path / "a.txt"], tmp_path / "own", heldout_bps=0).manifest
    assert (own.train.tokens, own.heldout.shards) == (10, ())
    run = prepare([tmp_path / "a.txt"], tmp_path / "run", heldout_bps=10_000).manifest
    assert (run.train.shards, run.heldout.tokens) == ((), 10)
    assert Corpus.open(tmp_path / "run", run.sha256).manifest == run
    with pytest.raises(DataError, match="too little text"):
        prepare([tmp_path / "a.txt"], tmp_path / "both", heldout_bps=5000)
    with pytest.raises(DataError, match="no training data"):
        Corpus.open(tmp_path / "run").batch(bytes(32), 0, 0, 1, SEQ_LEN)


def test_shards_are_asked_for_and_taken_where_the_run_wants_them_and_fit(
    config: RunConfig, mine: Path, tmp_path: Path
) -> None:
    store, published = open_store(tmp_path / "store"), tmp_path / "published"
    (tmp_path / "public.txt").write_text("held out " * 30)
    manifest = prepare([tmp_path / "public.txt"], published, heldout_bps=10_000).manifest
    source = replace(config.data, manifest_cid=str(publish(store, published)), manifest_sha256=manifest.sha256)
    private = replace(config, data=replace(source, private_credit_bps=0))
    with pytest.raises(UsageError, match="stay with their owners"):
        own_shards(store, private, None)
    with pytest.raises(UsageError, match="published shards alone"):
        own_shards(store, config, mine)
    assert own_shards(store, config, None) is None
    before = sorted(path.name for path in (tmp_path / "store").rglob("*"))
    assert own_shards(store, private, mine).manifest == Corpus.open(mine).manifest  # type: ignore[union-attr]
    assert sorted(path.name for path in (tmp_path / "store").rglob("*")) == before
    with pytest.raises(DataError, match="nothing to train on"):
        own_shards(store, private, published)
    other = replace(Corpus.open(mine).manifest, vocab_size=255)
    (mine / "manifest.json").write_bytes(other.to_bytes())
    with pytest.raises(DataError, match="not in this run's tokens"):
        own_shards(store, private, mine)


def test_a_member_goes_through_its_own_shards_from_round_to_round(
    private: RunConfig, mine: Path, tmp_path: Path, domain: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the plan's ranges lie, and though a round is interrupted, no window comes twice before all were seen."""
    corpus, honest = Corpus.open(mine), diloco.batch_of
    seen: dict[int, list[bytes]] = {}

    def noted(config, corpus, plan, index, before, step):  # type: ignore[no-untyped-def]
        batch = honest(config, corpus, plan, index, before, step)
        seen[6 * plan.round + step] = [bytes(window.astype(np.uint8)) for window in batch]
        return batch

    def die(steps: int, loss: float) -> None:
        if steps == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(diloco, "batch_of", noted)
    bench = Bench(private, corpus, tmp_path / "member", domain)
    for number in (1, 2, 3):
        bench.plan = make_plan(private, "0x" + "0b" * 32, members=2, round=number)
        bench.signed = sign_body(bench.plan, KEYS[-1], domain)
        with pytest.raises(KeyboardInterrupt):
            bench.train(progress=die)
        work = bench.train()
        signed = sign_body(work.commitment, KEYS[1], domain)
        bench.folder.save_commitment(signed)
        bench.journal.counted(signed)
    assert len(seen) == 18
    taken = [window for step in sorted(seen) for window in seen[step]]
    assert len(set(taken)) == 36
    text = (mine / "train-00000.bin").read_bytes()
    assert all(text.index(window) % SEQ_LEN == 0 for window in taken), "they are windows of its own text"


async def test_no_signer_is_shown_a_state(private: RunConfig, mine: Path, tmp_path: Path, domain: Domain) -> None:
    serving = Serving(Bench(private, Corpus.open(mine), tmp_path / "member", domain), tmp_path, domain)
    async with serving, serving.open(SIGNER, "signer") as peer:
        for method, more in (("state", {}), ("array", {"array": "weights", "from": 0})):
            with pytest.raises(PeerRefused) as refused:
                await peer.call(method, {"round": 1, "leaf": 1, **more})
            assert refused.value.code == "private"
    kept = [trace.states for trace in [serving.bench.folder.trace] if trace is not None]
    with pytest.raises(TrainingError):
        serving.bench.journal.load_state(kept[0][1])  # so none but the first and the last stays on its disk
    serving.bench.journal.load_state(kept[0][-1])


def test_what_a_payload_does_to_held_out_text_is_all_that_is_scored(
    private: RunConfig, corpus: Corpus, mine: Path, tmp_path: Path, domain: Domain
) -> None:
    bench = Bench(private, corpus, tmp_path / "member", domain)
    payload, model = bench.train().payload.decoded, InnerOptimizer(private).model
    nothing = np.zeros_like(payload)

    def scored(vector: np.ndarray) -> PrivateScores:
        update = Update(bench.base, vector, nothing)
        found = score(model, corpus, private, bench.plan, 1, 6, b"\x5e" * 32, update)
        assert isinstance(found, PrivateScores)
        return found

    scores = scored(payload)
    held = corpus.heldout_windows(private.verification.contribution_windows, private.training.seq_len)
    losses = []
    for weights in (bench.base, bench.base - payload):
        model.load_flat(weights)
        losses.append(np.array(window_losses(model, held)))
    gains = losses[0] - losses[1]
    assert scores.heldout_gain == pytest.approx(1e6 * gains.mean(), abs=1)
    assert scores.heldout_noise == pytest.approx(1e6 * gains.std(ddof=1) / len(gains) ** 0.5, abs=1)
    assert scores.heldout_gain > 0
    assert scored(nothing) == PrivateScores(0, 0)
