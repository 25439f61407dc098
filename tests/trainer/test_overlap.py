"""Rounds that overlap: steps taken ahead of a base, where it is taken in, what may not be, and who can follow it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from commonweight.errors import RuleBroken
from commonweight.exact.arrays import array_digest
from commonweight.exact.checkpoint import Checkpoint
from commonweight.exact.layout import Layout
from commonweight.exact.trace import State
from commonweight.protocol.documents import Domain, Signed
from commonweight.protocol.records import Commitment, sign_body
from commonweight.protocol.runconfig import RunConfig
from commonweight.protocol.structure import check_trace, went_ahead
from tests.trainer.conftest import KEYS, make_plan, tiny_config
from tests.trainer.test_round import Bench, never, silent, states_of
from trainer.data import Corpus
from trainer.diloco import Enough, RoundTrainer, setting_out, weights_ahead
from trainer.inner import InnerOptimizer
from trainer.recall import Recall
from trainer.replay import Worker, compare, replay_segment

pytestmark = pytest.mark.unit

NEXT_BASE = "0x" + "0c" * 32
Make = Callable[..., Bench]


def overlapped(corpus: Corpus, **training: object) -> RunConfig:
    """Eight steps, five leaves; the base comes in after four, at leaf 2."""
    return tiny_config(corpus.manifest.sha256, **({"h": 8, "overlap": 4} | training))


def committed(bench: Bench) -> Signed:
    """Train, sign, keep."""
    signed = sign_body(bench.train().commitment, KEYS[1], bench.domain)
    bench.folder.save_commitment(signed)
    return signed


def move_on(bench: Bench, **changes: object) -> None:
    """The plan of the second round, from a base that this member had a part in making."""
    config = bench.config
    bench.base = bench.base + np.linspace(-1e-3, 1e-3, bench.base.size, dtype=np.float32)
    bench.plan = make_plan(config, NEXT_BASE, members=2, **({"round": 2} | changes))
    bench.signed = sign_body(bench.plan, KEYS[-1], bench.domain)


@pytest.fixture(params=[False, True], ids=["residual added", "residual carried"])
def config(request: pytest.FixtureRequest, corpus: Corpus) -> RunConfig:
    return overlapped(corpus, codec="int1", carry_residual=request.param)


@pytest.fixture
def make(config: RunConfig, corpus: Corpus, tmp_path: Path, domain: Domain) -> Make:
    """A member that has trained a round, gone ahead, and has had that round counted."""

    def made(name: str = "member", keep: int = 1, enough: Enough = never, counted: bool = True) -> Bench:
        bench = Bench(config, corpus, tmp_path / name, domain)
        bench.trainer = RoundTrainer(config, corpus, bench.journal, 1, keep_states=keep)
        bench.journal.recompute = Recall(config, corpus, bench.journal, 1, config.training.threads)
        signed = committed(bench)
        bench.trainer.go_ahead(bench.folder, enough, silent)
        if counted:
            bench.journal.counted(signed)
        return bench

    return made


def previous(bench: Bench) -> tuple[str, Commitment]:
    first = next(iter(bench.journal.rounds()))
    assert first.commitment is not None
    return first.commitment.digest, Commitment.from_body(first.commitment.body)


def test_a_round_begins_where_the_one_before_ended_and_takes_the_base_in_later(make: Make, corpus: Corpus) -> None:
    bench = make()
    digest, before = previous(bench)
    move_on(bench)
    work, states = bench.train(), states_of(bench)
    assert work.steps_taken == 4, "the other four were taken ahead"
    assert work.commitment.steps == 8
    assert work.commitment.trace.previous == digest
    assert states[0].digests == before.trace.last.onward(before.trace.new_residual)
    check_trace(work.commitment, array_digest(bench.base), bench.config, (digest, before))
    # By hand: four steps from there, then what they changed is put on the base, then four more.
    optimizer, start = InnerOptimizer(bench.config), bench.plan.member(1).data_start
    data = bytes.fromhex(bench.plan.data_seed[2:])
    optimizer.load(states[0])
    for step in range(4):
        optimizer.advance(corpus.batch(data, start, step, 2, 16))
    reached = optimizer.state(states[0].residual)
    carried = bench.config.training.carry_residual
    base = bench.base - states[0].residual if carried else bench.base
    optimizer.load(dataclasses.replace(reached, weights=base + (reached.weights - states[0].weights)))
    for step in range(4, 8):
        optimizer.advance(corpus.batch(data, start, step, 2, 16))
    assert reached.digests == states[2].digests
    assert np.array_equal(optimizer.weights(), states[4].weights)
    sent = bench.base - states[4].weights
    if not carried:
        sent = sent + states[4].residual
    assert np.array_equal(work.payload.new_residual, sent - work.payload.decoded)


def test_every_segment_of_it_can_be_executed_again(make: Make) -> None:
    bench = make()
    move_on(bench)
    bench.train()
    states = states_of(bench)
    ahead_of = weights_ahead(bench.base, states[0].weights)
    assert ahead_of is not None
    for segment in range(4):
        start = states[segment]
        begun = setting_out(bench.config, bench.base, start, 2 * segment, ahead_of)
        again = segment_of(bench, begun, segment)
        assert again.digests == states[segment + 1].digests
        assert compare(begun, states[segment + 1], again).exact
    # One who leaves the base out, at the segment where it belongs, is beyond the tolerance.
    left_out = segment_of(bench, states[2], 2)
    begun = setting_out(bench.config, bench.base, states[2], 4, ahead_of)
    assert not compare(begun, left_out, segment_of(bench, begun, 2)).within(bench.config)


def test_the_signers_worker_takes_the_base_in_where_it_is_shown_the_first_state(
    make: Make, data_dir: Path, tmp_path: Path
) -> None:
    bench = make()
    move_on(bench)
    work, states = bench.train(), states_of(bench)
    layout = Layout.from_model(bench.config.model)
    files = Checkpoint(bench.base, np.zeros_like(bench.base)).to_files(layout)
    (tmp_path / "run.json").write_bytes(bench.config.to_bytes())
    (tmp_path / "base").write_bytes(files["weights.safetensors"])
    (tmp_path / "plan").write_bytes(bench.signed.to_bytes())
    for number, state in enumerate(states):
        (tmp_path / f"state-{number}").write_bytes(state.to_bytes())
    paths = {"config": str(tmp_path / "run.json"), "base": str(tmp_path / "base"), "plan": str(tmp_path / "plan")}
    worker = Worker()

    def outcome(segment: int, **more: object) -> tuple[object, object]:
        request = {"id": 1, "op": "replay", "data": str(data_dir), **paths, "index": 1, "segment": segment,
                   "state": str(tmp_path / f"state-{segment}"), "claimed": str(tmp_path / f"state-{segment + 1}"),
                   **more}  # fmt: skip
        answer = worker.answer(request)
        return answer["outcome"], answer["exact"]

    first = {"first": str(tmp_path / "state-0")}
    last = {"parts": [part.digest for part in work.commitment.parts]}
    shown = [outcome(0), outcome(1), outcome(2, **first), outcome(3, **last)]
    assert shown == [("pass", True)] * 4
    assert outcome(2) == ("fail", False), "without it, it would be somebody who never took the base in"


def segment_of(bench: Bench, begun: State, segment: int) -> State:
    steps = range(2 * segment, 2 * segment + 2)
    return replay_segment(InnerOptimizer(bench.config), bench.corpus, bench.plan, 1, begun, steps)


@pytest.mark.parametrize("killed_at", [5, 7])
def test_a_round_that_was_interrupted_after_it_took_the_base_in_goes_on(
    make: Make, config: RunConfig, corpus: Corpus, killed_at: int
) -> None:
    whole, other = make(), make("killed")
    move_on(whole)
    move_on(other)

    def die(steps: int, loss: float) -> None:
        if steps == killed_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        other.train(progress=die)
    other.trainer = RoundTrainer(config, corpus, other.journal, 1)
    assert other.train().commitment == whole.train().commitment


def test_steps_that_were_cut_short_are_gone_on_with(make: Make) -> None:
    short, whole = make("short", enough=lambda steps, seconds: steps == 2), make("whole")
    move_on(short)
    move_on(whole)
    work = short.train()
    assert work.steps_taken == 6
    assert work.commitment == whole.train().commitment


def test_a_hasty_member_takes_the_base_in_first(corpus: Corpus, tmp_path: Path, domain: Domain) -> None:
    config = overlapped(corpus, h=10, overlap=6)
    bench = Bench(config, corpus, tmp_path / "member", domain)
    signed = committed(bench)
    bench.trainer.go_ahead(bench.folder, lambda steps, seconds: steps == 2, silent)
    bench.journal.counted(signed)
    move_on(bench)
    work = bench.train(enough=lambda steps, seconds: True)
    assert (work.steps_taken, work.commitment.steps) == (6, 8)
    check_trace(work.commitment, array_digest(bench.base), config, previous(bench))


@pytest.mark.parametrize("why", ["not counted", "other data", "a round between", "few steps", "another process"])
def test_what_was_taken_ahead_is_left_where_it_does_not_fit(
    make: Make, config: RunConfig, corpus: Corpus, why: str
) -> None:
    bench = make(counted=why != "not counted")
    move_on(bench, round=3 if why == "a round between" else 2)
    shares = bench.plan.members
    if why == "other data":
        shares = tuple(dataclasses.replace(m, data_start=m.data_start + 1) for m in shares)
    elif why == "few steps":
        shares = tuple(dataclasses.replace(m, steps=4) for m in shares)
    bench.plan = dataclasses.replace(bench.plan, members=shares)
    bench.signed = sign_body(bench.plan, KEYS[-1], bench.domain)
    if why == "another process":
        bench.trainer = RoundTrainer(config, corpus, bench.journal, 1)
    work = bench.train()
    assert work.steps_taken == work.commitment.steps == shares[1].steps
    assert work.commitment.trace.first.weights == array_digest(bench.base)


@pytest.mark.parametrize("leaf", [0, 2])
def test_a_round_whose_states_are_lost_begins_at_the_base(make: Make, leaf: int) -> None:
    bench = make()
    move_on(bench)
    trace = bench.journal.unbound
    assert trace is not None
    (bench.journal.arrays.folder / f"{trace.states[leaf].weights[2:]}.f32").unlink()
    work = bench.train()
    assert work.steps_taken == work.commitment.steps == 8
    assert work.commitment.trace.first.weights == array_digest(bench.base)


def test_a_member_that_did_not_train_here_takes_no_steps_ahead(make: Make, config: RunConfig, corpus: Corpus) -> None:
    bench = make()
    bench.trainer = RoundTrainer(config, corpus, bench.journal, 1)
    assert bench.trainer.go_ahead(bench.folder, never, silent) == 0


def test_states_taken_ahead_stay_while_the_past_is_forgotten(make: Make) -> None:
    bench = make()
    bench.journal.forget_before(0, 9)
    move_on(bench)
    assert bench.train().steps_taken == 4
    bench.journal.forget_before(1, 9)
    assert bench.journal.unbound is None


def test_states_that_are_not_kept_come_out_again_with_the_base_taken_in(make: Make) -> None:
    bench = make(keep=99)
    move_on(bench)
    work = bench.train()
    trace = bench.folder.trace
    assert trace is not None
    assert work.commitment.trace.leaves == 5
    for leaf in (3, 1, 2):
        assert bench.journal.state(bench.folder, leaf).digests == trace.states[leaf]


def test_a_trace_may_go_on_from_the_round_before_only_and_past_the_base(make: Make) -> None:
    bench = make()
    before = previous(bench)
    move_on(bench)
    commitment, base = bench.train().commitment, array_digest(bench.base)
    check_trace(commitment, base, bench.config, before)
    plain = tiny_config(bench.config.data.manifest_sha256, h=8)
    assert went_ahead(commitment, before, 4)
    late = dataclasses.replace(commitment, round=3)
    unmerged = dataclasses.replace(commitment, steps=4)
    for wrong, config, known in (
        (commitment, plain, before), (late, bench.config, before), (unmerged, bench.config, before),
        (commitment, bench.config, None), (commitment, bench.config, (NEXT_BASE, before[1])),
    ):  # fmt: skip
        with pytest.raises(RuleBroken, match="does not start where it must"):
            check_trace(wrong, base, config, known)
