"""The inner rate's fall at the end of a run, by round and step, alike for members and whoever replays."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from commonweight.protocol.documents import Domain
from commonweight.protocol.records import sign_body
from commonweight.protocol.runconfig import RunConfig
from tests.trainer.conftest import KEYS, make_plan, tiny_config
from tests.trainer.test_round import Bench, never, silent, states_of
from trainer.data import Corpus
from trainer.diloco import setting_out, weights_ahead
from trainer.inner import InnerOptimizer
from trainer.recall import Recall
from trainer.replay import compare, replay_segment

pytestmark = pytest.mark.unit


def cooled(corpus: Corpus, **training: object) -> RunConfig:
    """Four rounds of six steps, of which the last two cool down."""
    inner = {"optimizer": "adamw", "cooldown": 2, "warmup": 0}
    return tiny_config(corpus.manifest.sha256, **({"max_rounds": 4, "inner": inner} | training))


def test_the_rate_falls_from_step_to_step_to_a_tenth_and_stays_there(corpus: Corpus) -> None:
    training = cooled(corpus).training
    assert {training.pace(number, done) for number in (1, 2) for done in range(6)} == {1.0}
    paces = [training.pace(number, done) for number in (3, 4) for done in range(6)]
    assert paces == pytest.approx([max(0.1, left / 12) for left in range(12, 0, -1)], rel=1e-12)
    assert training.pace(9, 0) == training.pace(4, 0), "a number beyond the last is that of a round made in its stead"
    assert training.pace(4, 40) == training.pace(4, 5)
    long = dataclasses.replace(training, max_rounds=900, inner=dataclasses.replace(training.inner, cooldown=900))
    assert long.pace(900, 5) == long.pace(850, 0) == 0.1 < long.pace(800, 0)
    assert tiny_config(corpus.manifest.sha256, max_rounds=4).training.pace(4, 5) == 1.0


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "sgd"])
def test_a_step_at_half_the_pace_is_one_at_half_the_rate(corpus: Corpus, optimizer: str) -> None:
    batch, reached = corpus.batch(bytes(32), 0, 0, 2, 16), []
    for rate, pace in (("0.01", 0.5), ("0.005", 1.0)):
        inner = {"optimizer": optimizer, "lr": rate, "warmup": 3}
        one = InnerOptimizer(tiny_config(corpus.manifest.sha256, inner=inner))
        one.model.load_flat(np.linspace(-0.3, 0.3, one.model.flat.numel(), dtype=np.float32))
        one.advance(batch, pace=pace)
        reached.append(one.weights().copy())
    assert np.array_equal(*reached)


def test_a_member_cools_down_and_a_replay_follows_it(corpus: Corpus, tmp_path: Path, domain: Domain) -> None:
    config = cooled(corpus)
    bench = Bench(config, corpus, tmp_path / "member", domain, round=4)
    bench.train()
    states = states_of(bench)
    for segment in range(3):
        steps = range(2 * segment, 2 * segment + 2)
        begun = setting_out(config, bench.base, states[segment], steps.start, None)
        again = replay_segment(InnerOptimizer(config), corpus, bench.plan, 1, begun, steps)
        assert again.digests == states[segment + 1].digests
        # One who took these steps at the full rate, for whatever it hopes of that, is beyond the tolerance.
        earlier = dataclasses.replace(bench.plan, round=1)
        warm = replay_segment(InnerOptimizer(config), corpus, earlier, 1, begun, steps)
        assert not compare(begun, warm, again).within(config)


def test_steps_ahead_are_taken_at_the_pace_of_the_round_that_they_belong_to(
    corpus: Corpus, tmp_path: Path, domain: Domain
) -> None:
    config = cooled(corpus, h=8, overlap=4, codec="int1")
    bench = Bench(config, corpus, tmp_path / "member", domain, round=2)
    bench.journal.recompute = Recall(config, corpus, bench.journal, 1, 1)
    signed = sign_body(bench.train().commitment, KEYS[1], domain)
    bench.folder.save_commitment(signed)
    assert bench.trainer.go_ahead(bench.folder, never, silent) == 4
    bench.journal.counted(signed)
    start = bench.plan.member(1).next_start
    bench.plan = make_plan(config, "0x" + "0c" * 32, members=2, round=3)
    share = dataclasses.replace(bench.plan.member(1), data_start=start)
    bench.plan = dataclasses.replace(bench.plan, members=(bench.plan.members[0], share))
    bench.signed = sign_body(bench.plan, KEYS[-1], domain)
    assert bench.train().steps_taken == 4, "the other four were taken ahead"
    states = states_of(bench)
    ahead_of = weights_ahead(bench.base, states[0].weights)
    for segment in range(4):
        steps = range(2 * segment, 2 * segment + 2)
        begun = setting_out(config, bench.base, states[segment], steps.start, ahead_of)
        again = replay_segment(InnerOptimizer(config), corpus, bench.plan, 1, begun, steps)
        assert again.digests == states[segment + 1].digests
