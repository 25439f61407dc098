"""A member's round: trace, payload and commitment; interrupted and resumed; and its replay by somebody else."""

import dataclasses
import gc
import io
import json
import os
import shutil
import subprocess
import sys
import time
import weakref
from pathlib import Path
from threading import Barrier, Event
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from commonweight.errors import CommonweightError, TrainingError
from commonweight.exact.arrays import F32, array_digest
from commonweight.exact.checkpoint import genesis_checkpoint
from commonweight.exact.layout import Layout
from commonweight.exact.payload import check_part
from commonweight.exact.trace import State
from commonweight.protocol.canonical import Json, JsonObject
from commonweight.protocol.documents import Domain
from commonweight.protocol.fields import from_f64_hex
from commonweight.protocol.parts import part_ranges
from commonweight.protocol.records import Commitment, Plan, sign_body
from commonweight.protocol.runconfig import RunConfig
from commonweight.protocol.trace import zero_state
from tests.trainer.conftest import KEYS, make_plan, tiny_config
from trainer.data import Corpus
from trainer.diloco import RoundTrainer, Work, setting_out
from trainer.engine import Engine
from trainer.inner import InnerOptimizer, Settle, at_once
from trainer.journal import Journal, RoundFolder
from trainer.member import Member
from trainer.replay import Worker, compare, replay_segment, serve

pytestmark = pytest.mark.unit


def never(steps: int, seconds: float) -> bool:
    return False


def silent(steps: int, loss: float) -> None:
    return None


class Bench:
    """One member with its folder, ready to train the plan from the genesis checkpoint."""

    def __init__(self, config: RunConfig, corpus: Corpus, folder: Path, domain: Domain, **changes: object) -> None:
        self.config, self.corpus, self.domain = config, corpus, domain
        self.journal = Journal(folder)
        self.base = genesis_checkpoint(config).weights
        self.plan = make_plan(config, "0x" + "0b" * 32, members=2, **changes)
        self.signed = sign_body(self.plan, KEYS[-1], domain)
        self.trainer = RoundTrainer(config, corpus, self.journal, 1)

    @property
    def folder(self) -> RoundFolder:
        return self.journal.open_round(self.signed)

    def train(self, enough=never, progress=silent) -> Work:
        return self.trainer.train(self.folder, self.base, enough, progress)


@pytest.fixture
def bench(corpus: Corpus, tmp_path: Path, domain: Domain) -> Bench:
    config = tiny_config(corpus.manifest.sha256, codec="int8", result_codec="int8")
    return Bench(config, corpus, tmp_path / "member", domain)


def test_a_round_commits_to_its_trace_and_payload(bench: Bench) -> None:
    work = bench.train()
    commitment = Commitment.from_body(work.commitment.to_body())
    digests = [part.digest for part in commitment.parts]
    commitment.trace.check(digests, commitment.steps, bench.config.training.trace_every)
    assert commitment.steps == work.steps_taken == 6
    assert commitment.tokens == 6 * 2 * 16
    assert commitment.trace.first == zero_state(commitment.trace.first.weights, bench.base.size)
    for number, at in enumerate(part_ranges(bench.base.size, 64, 2)):
        part = bench.folder.payload_part(number)
        check_part(part, at.size, "int8", 64, commitment.parts[number])
    decoded = work.payload.decoded
    local = bench.journal.load_state(commitment.trace.last).weights
    assert np.allclose(decoded, bench.base - local, atol=float(np.abs(decoded).max()) / 100)
    assert np.array_equal(work.payload.new_residual, (bench.base - local) - decoded)


@pytest.mark.parametrize("stop_after", [1, 3, 5])
def test_an_interrupted_round_goes_on_and_commits_to_the_same(
    bench: Bench, corpus: Corpus, tmp_path: Path, domain: Domain, stop_after: int
) -> None:
    whole = bench.train()
    other = Bench(bench.config, corpus, tmp_path / "killed", domain)

    def die(steps: int, loss: float) -> None:
        if steps == stop_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        other.train(progress=die)
    again = Bench(bench.config, corpus, tmp_path / "killed", domain).train()
    assert again.commitment == whole.commitment
    assert again.steps_taken == 6 - stop_after // 2 * 2


def test_steps_wait_for_a_slow_disk_and_no_state_is_hashed_after_it_changed(
    bench: Bench, corpus: Corpus, tmp_path: Path, domain: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bench.train()
    other = Bench(bench.config, corpus, tmp_path / "slow", domain)
    put = other.journal.arrays.put

    def slow(array: F32, digest: str | None = None) -> str:
        time.sleep(0.1)
        return put(array, digest)

    monkeypatch.setattr(other.journal.arrays, "put", slow)
    assert other.train().commitment == whole.commitment
    shown = [other.journal.load_state(each) for each in other.folder.trace.states]  # type: ignore[union-attr]
    assert [state.step for state in shown] == [0, 2, 4, 6]


class Copying(InnerOptimizer):
    """As on a card or over several ranks: what it shows is a copy, so that no step has to wait for it."""

    def advance(self, batch: NDArray[np.int64], settle: Settle = at_once, pace: float = 1.0) -> float:
        return super().advance(batch, at_once, pace)

    def view(self, residual: F32) -> State:
        return self.state(residual)


def test_a_copied_state_is_hashed_beside_a_whole_segment_and_its_arrays_at_once_where_cores_are_idle(
    bench: Bench, corpus: Corpus, tmp_path: Path, domain: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bench.train()
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)))
    other = Bench(bench.config, corpus, tmp_path / "copies", domain)
    other.trainer = RoundTrainer(bench.config, corpus, other.journal, 1, make=Copying)
    put, fourth, three = other.journal.arrays.put, Event(), Barrier(3)

    def slow(array: F32, digest: str | None = None) -> str:
        if digest is None and not fourth.is_set():  # of the state after two steps: its three arrays
            three.wait(30)
            assert fourth.wait(30), "steps three and four waited for what comes before them"
        return put(array, digest)

    def progress(steps: int, loss: float) -> None:
        if steps == 2:
            monkeypatch.setattr(other.journal.arrays, "put", slow)
        if steps == 4:
            fourth.set()

    assert other.train(progress=progress).commitment == whole.commitment
    shown = [other.journal.load_state(each) for each in other.folder.trace.states]  # type: ignore[union-attr]
    assert [state.step for state in shown] == [0, 2, 4, 6]


def test_no_copied_state_is_made_while_another_is_held(
    bench: Bench, corpus: Corpus, tmp_path: Path, domain: Domain
) -> None:
    made: list[weakref.ref[F32]] = []
    held: list[int] = []

    class Counting(Copying):
        def view(self, residual: F32) -> State:
            gc.collect()
            held.append(sum(array() is not None for array in made))
            shown = super().view(residual)
            made.append(weakref.ref(shown.weights))
            return shown

    other = Bench(bench.config, corpus, tmp_path / "copies", domain)
    other.trainer = RoundTrainer(bench.config, corpus, other.journal, 1, make=Counting)
    other.train()
    assert held == [0, 0, 0]


def test_a_slow_member_stops_at_a_trace_boundary_and_commits_fewer_steps(bench: Bench) -> None:
    work = bench.train(enough=lambda steps, seconds: steps >= 4)
    assert work.commitment.steps == 4
    assert work.commitment.tokens == 4 * 2 * 16
    work.commitment.trace.check([p.digest for p in work.commitment.parts], 4, 2)


def test_a_second_commitment_for_a_plan_is_refused(bench: Bench) -> None:
    first = bench.train(enough=lambda steps, seconds: steps >= 2).commitment
    second = dataclasses.replace(first, steps=4)
    bench.folder.save_commitment(sign_body(first, KEYS[1], bench.domain))
    bench.folder.save_commitment(sign_body(first, KEYS[1], bench.domain))
    with pytest.raises(TrainingError, match="equivocation"):
        bench.folder.save_commitment(sign_body(second, KEYS[1], bench.domain))


def test_the_next_round_continues_from_the_counted_one(bench: Bench) -> None:
    work = bench.train()
    signed = sign_body(work.commitment, KEYS[1], bench.domain)
    bench.folder.save_commitment(signed)
    bench.journal.counted(signed)
    bench.journal.forget_before(0, 9)
    bench.plan = make_plan(bench.config, "0x" + "0c" * 32, members=2, round=2)
    bench.signed = sign_body(bench.plan, KEYS[-1], bench.domain)
    bench.base = bench.base - work.payload.decoded
    after = bench.train().commitment.trace
    assert after.previous == signed.digest
    assert after.first == work.commitment.trace.last.after(after.first.weights, work.commitment.trace.new_residual)
    assert after.first.step == 6


def second_round(config: RunConfig, corpus: Corpus, folder: Path, domain: Domain) -> Bench:
    """A member whose first round was counted, ready for the next."""
    bench = Bench(config, corpus, folder, domain)
    work = bench.train()
    signed = sign_body(work.commitment, KEYS[1], domain)
    bench.folder.save_commitment(signed)
    bench.journal.counted(signed)
    bench.plan = make_plan(config, "0x" + "0c" * 32, members=2, round=2)
    bench.signed = sign_body(bench.plan, KEYS[-1], domain)
    bench.base = bench.base - work.payload.decoded
    return bench


def test_a_round_begins_with_the_residual_that_is_carried_and_sends_it(
    corpus: Corpus, tmp_path: Path, domain: Domain
) -> None:
    config = tiny_config(corpus.manifest.sha256, codec="int1", carry_residual=True)
    bench = second_round(config, corpus, tmp_path / "member", domain)
    work, states = bench.train(), states_of(bench)
    assert np.array_equal(states[0].weights, bench.base), "the trace still begins at the plan's base"
    assert states[0].residual.any()
    begun = dataclasses.replace(states[0], weights=bench.base - states[0].residual)
    plain = InnerOptimizer(tiny_config(corpus.manifest.sha256))
    by_hand = replay_segment(plain, corpus, bench.plan, 1, begun, range(2))
    assert by_hand.digests == states[1].digests
    for segment in range(3):
        assert replay(bench, bench.plan, states[segment], segment).digests == states[segment + 1].digests
    sent = (bench.base - states[-1].weights) - work.payload.decoded
    assert np.array_equal(work.payload.new_residual, sent), "the residual is not added a second time"


def test_a_member_that_drops_what_it_should_carry_is_found_out(corpus: Corpus, tmp_path: Path, domain: Domain) -> None:
    config = tiny_config(corpus.manifest.sha256, codec="int1", carry_residual=True)
    bench = second_round(config, corpus, tmp_path / "member", domain)
    bench.train()
    start = states_of(bench)[0]
    forgetful = tiny_config(corpus.manifest.sha256, codec="int1", carry_residual=False)
    dropped = replay(bench, bench.plan, start, 0, forgetful)
    begun = setting_out(config, bench.base, start, 0, None)
    assert not compare(begun, dropped, replay(bench, bench.plan, start, 0)).within(config)


def test_a_round_interrupted_before_its_first_leaf_begins_with_the_residual_again(
    corpus: Corpus, tmp_path: Path, domain: Domain
) -> None:
    config = tiny_config(corpus.manifest.sha256, codec="int1", carry_residual=True)
    whole = second_round(config, corpus, tmp_path / "whole", domain).train()
    killed = second_round(config, corpus, tmp_path / "killed", domain)

    def die(steps: int, loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed.train(progress=die)
    killed.trainer = RoundTrainer(config, corpus, killed.journal, 1)
    assert killed.train().commitment == whole.commitment


def test_states_of_a_round_that_was_carried_over_stay_until_a_report_comes_to_it(bench: Bench) -> None:
    first = bench.train().commitment.trace.first
    bench.journal.forget_before(2, 0)
    assert bench.journal.load_state(first).digests == first
    bench.journal.forget_before(2, 1)
    assert list(bench.journal.rounds()) == []


@pytest.mark.parametrize("first", ["plan.json", "trace.json"])
def test_a_kill_while_a_round_is_forgotten_leaves_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    bench.train()

    def killed(folder: Path, ignore_errors: bool) -> None:
        if folder.exists():
            (folder / first).unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as ended:
        ended.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            bench.journal.forget_before(2, 1)
    again = Journal(bench.journal.folder)
    assert list(again.rounds()) == []
    again.sweep()
    again.forget_before(2, 1)
    assert [path for path in bench.journal.folder.rglob("*") if path.is_file()] == []


def test_an_array_that_a_power_failure_has_cut_short_is_stored_again(bench: Bench) -> None:
    array = np.arange(10, dtype=np.float32)
    digest = bench.journal.arrays.put(array)
    path = bench.journal.arrays.folder / f"{digest[2:]}.f32"
    path.write_bytes(b"")
    assert bench.journal.arrays.put(array) == digest
    assert np.array_equal(bench.journal.arrays.get(digest), array)


def test_what_a_commitment_ends_with_is_on_the_disk_before_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    work, synced = bench.train(), list[str]()

    def fsync(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink().name)

    monkeypatch.setattr(os, "fsync", fsync)
    identity = SimpleNamespace(key=KEYS[1], domain=bench.domain)
    member: Any = SimpleNamespace(journal=bench.journal, identity=identity)
    Member.commitment(member, bench.folder, work.commitment)
    trace = work.commitment.trace
    arrays = {trace.last.weights, trace.last.m, trace.last.v, trace.last.residual, trace.new_residual}
    assert {f"{digest[2:]}.f32" for digest in arrays} | {"arrays"} == set(synced[: len(arrays) + 1])
    assert any("commitment.json" in name for name in synced[len(arrays) + 1 :])


def test_what_a_kill_left_of_a_round_without_its_plan_is_swept_and_no_other_round(bench: Bench) -> None:
    bench.train()
    begun = bench.journal.rounds_folder / "00000002-0123456789abcdef"
    begun.mkdir()
    (begun / "part-00000.bin").write_bytes(b"left")
    bench.journal.sweep()
    assert not begun.exists()
    assert [folder.body.round for folder in bench.journal.rounds()] == [1]
    assert bench.folder.trace is not None


def test_arrays_of_settled_epochs_are_dropped_but_not_the_members_own_state(bench: Bench) -> None:
    work = bench.train()
    signed = sign_body(work.commitment, KEYS[1], bench.domain)
    bench.folder.save_commitment(signed)
    bench.journal.counted(signed)
    bench.journal.forget_before(1, 1)
    assert list(bench.journal.rounds()) == []
    with pytest.raises(TrainingError, match="not here any more"):
        bench.journal.load_state(work.commitment.trace.last)
    start = bench.journal.first_state(bench.base)
    assert start.previous == signed.digest
    assert start.state.step == 6
    assert dict(start.known) == {
        "m": array_digest(start.state.m), "v": array_digest(start.state.v),
        "residual": array_digest(start.state.residual),
    }  # fmt: skip


def test_a_damaged_array_counts_as_lost(bench: Bench) -> None:
    work = bench.train()
    digest = work.commitment.trace.last.m
    path = bench.journal.arrays.folder / f"{digest[2:]}.f32"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(TrainingError, match="damaged"):
        bench.journal.arrays.get(digest)
    with pytest.raises(TrainingError, match="not here any more"):
        bench.journal.arrays.get(digest)


def states_of(bench: Bench) -> list[State]:
    trace = bench.folder.trace
    assert trace is not None
    return [bench.journal.load_state(digests) for digests in trace.states]


def replay(bench: Bench, plan: Plan, start: State, segment: int, config: RunConfig | None = None) -> State:
    optimizer = InnerOptimizer(config or bench.config)
    begun = setting_out(optimizer.config, bench.base, start, 2 * segment, None)
    return replay_segment(optimizer, bench.corpus, plan, 1, begun, range(2 * segment, 2 * segment + 2))


def test_every_segment_replays_to_the_same_bits(bench: Bench) -> None:
    bench.train()
    states = states_of(bench)
    assert len(states) == 4
    for segment in range(3):
        result = compare(states[segment], states[segment + 1], replay(bench, bench.plan, states[segment], segment))
        assert result.exact
        assert (result.rel_l2, result.norm_ratio) == (0.0, 0.0)


@pytest.mark.parametrize("cheat", ["higher rate", "other data", "scaled", "one step", "copied", "other moments"])
def test_a_cheated_segment_is_beyond_the_tolerance(bench: Bench, cheat: str) -> None:
    bench.train()
    start, honest = states_of(bench)[1:3]
    claimed = honest
    if cheat == "higher rate":
        config = tiny_config(bench.config.data.manifest_sha256, inner={"lr": "3.3e-3"})
        claimed = replay(bench, bench.plan, start, 1, config)
    elif cheat == "other data":
        claimed = replay(bench, bench.plan, start, 0)
    elif cheat == "scaled":
        claimed = State(honest.step, start.weights + 1.05 * (honest.weights - start.weights), honest.m, honest.v,
                        honest.residual)  # fmt: skip
        claimed = dataclasses.replace(claimed, weights=claimed.weights.astype(np.float32))
    elif cheat == "one step":
        once = replay_segment(InnerOptimizer(bench.config), bench.corpus, bench.plan, 1, start, range(2, 3))
        claimed = dataclasses.replace(once, step=honest.step)
    elif cheat == "copied":
        claimed = dataclasses.replace(start, step=honest.step)
    else:
        claimed = dataclasses.replace(honest, v=honest.v * np.float32(1.01))
    result = compare(start, claimed, honest)
    assert not result.exact
    assert not result.within(bench.config)


def test_rounding_noise_is_within_the_tolerance(bench: Bench) -> None:
    bench.train()
    start, honest = states_of(bench)[1:3]
    noisy = dataclasses.replace(honest, weights=honest.weights * np.float32(1 + 1e-7))
    result = compare(start, noisy, honest)
    assert not result.exact
    assert result.within(bench.config)


def test_a_worker_tells_how_long_it_has_computed_before_a_late_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def compute(_: Worker, request: Json) -> JsonObject:
        until = time.process_time() + 0.3
        while time.process_time() < until:
            sum(range(1000))
        return {"asked": request}

    monkeypatch.setattr("trainer.replay._BUSY_S", 0.02)
    monkeypatch.setattr(Worker, "answer", compute)
    answers = io.StringIO()
    serve(io.StringIO('{"id": 7}\n'), answers)
    *told, last = [json.loads(line) for line in answers.getvalue().splitlines()]
    assert last == {"id": 7, "ok": True, "asked": {"id": 7}}
    assert all(set(line) == {"id", "busy_ms"} and line["id"] == 7 for line in told)
    busy = [line["busy_ms"] for line in told]
    assert busy[-1] - busy[0] > 100
    assert busy == sorted(busy)


class WorkerProcess:
    """The worker as the oracle runs it."""

    def __init__(self, bench: Bench, data_dir: Path, folder: Path) -> None:
        self.folder = folder
        (folder / "run.json").write_bytes(bench.config.to_bytes())
        self.common = {"config": str(folder / "run.json"), "data": str(data_dir)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "trainer.replay"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        self.number = 0

    def ask(self, **request: object) -> dict[str, object]:
        return self.send(json.dumps({"id": self.number + 1, **self.common, **request}))

    def send(self, line: str) -> dict[str, object]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.number += 1
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert isinstance(answer, dict)
        return answer

    def close(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.wait(60)


def test_a_worker_takes_nothing_of_a_run_that_could_not_be_opened_for_the_one_before(
    bench: Bench, data_dir: Path, tmp_path: Path
) -> None:
    layout = Layout.from_model(bench.config.model)
    (tmp_path / "weights").write_bytes(genesis_checkpoint(bench.config).to_files(layout)["weights.safetensors"])
    (tmp_path / "run.json").write_bytes(bench.config.to_bytes())
    fewer = dataclasses.replace(bench.config.verification, heldout_windows=1)
    (tmp_path / "other.json").write_bytes(dataclasses.replace(bench.config, verification=fewer).to_bytes())
    common = {"id": 1, "op": "evaluate", "weights": str(tmp_path / "weights")}
    mine = {**common, "config": str(tmp_path / "run.json"), "data": str(data_dir)}
    worker = Worker()
    before = worker.answer(mine)
    with pytest.raises(CommonweightError):
        worker.answer({**common, "config": str(tmp_path / "other.json"), "data": str(tmp_path / "no such folder")})
    assert worker.answer(mine) == before


def test_a_worker_ends_with_its_device_and_blames_no_steps_for_a_full_one(
    bench: Bench, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.train()
    (tmp_path / "run.json").write_bytes(bench.config.to_bytes())
    (tmp_path / "state").write_bytes(states_of(bench)[0].to_bytes())
    (tmp_path / "base").write_bytes(
        genesis_checkpoint(bench.config).to_files(Layout.from_model(bench.config.model))["weights.safetensors"]
    )
    (tmp_path / "plan").write_bytes(bench.signed.to_bytes())
    request = {
        "op": "replay", "config": str(tmp_path / "run.json"), "data": str(data_dir), "plan": str(tmp_path / "plan"),
        "index": 1, "base": str(tmp_path / "base"), "state": str(tmp_path / "state"), "segment": 0,
    }  # fmt: skip
    troubles = iter([torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA error: launch failure")])

    def fails(self: InnerOptimizer, *_: object) -> float:
        raise next(troubles)

    monkeypatch.setattr(InnerOptimizer, "_advance", fails)
    monkeypatch.setattr(Engine, "require", lambda _: None)
    monkeypatch.setattr(Engine, "kind", "cuda")
    said = io.StringIO()
    serve(io.StringIO("".join(json.dumps({"id": n, **request}) + "\n" for n in range(3))), said)
    answers = [json.loads(line) for line in said.getvalue().splitlines()]
    assert [answer["ok"] for answer in answers] == [False, False]
    assert [answer["error"]["error"] for answer in answers] == ["DeviceFull", "DeviceLost"]


def test_the_worker_replays_evaluates_and_survives_bad_requests(bench: Bench, data_dir: Path, tmp_path: Path) -> None:
    work = bench.train()
    states, commitment = states_of(bench), work.commitment
    for number, state in enumerate(states):
        (tmp_path / f"state-{number}").write_bytes(state.to_bytes())
    files = genesis_checkpoint(bench.config).to_files(Layout.from_model(bench.config.model))
    (tmp_path / "base").write_bytes(files["weights.safetensors"])
    (tmp_path / "plan").write_bytes(bench.signed.to_bytes())
    for number, part in enumerate(work.payload.parts):
        (tmp_path / f"part-{number}").write_bytes(part)
    common = {"plan": str(tmp_path / "plan"), "index": 1, "base": str(tmp_path / "base")}
    digests = [part.digest for part in commitment.parts]
    worker = WorkerProcess(bench, data_dir, tmp_path)

    def replay_request(segment: int, claimed: int, **more: object) -> dict[str, object]:
        return worker.ask(op="replay", **common, segment=segment, state=str(tmp_path / f"state-{segment}"),
                          claimed=str(tmp_path / f"state-{claimed}"), **more)  # fmt: skip

    try:
        honest = replay_request(0, 1)
        assert (honest["id"], honest["ok"], honest["outcome"], honest["exact"]) == (1, True, "pass", True)
        last = replay_request(2, 3, parts=digests, steps=6)
        assert (last["outcome"], last["exact"], last["parts"]) == ("pass", True, digests)
        left = commitment.trace.new_residual
        assert replay_request(2, 3, parts=digests, residual=left)["outcome"] == "pass"
        made_up = replay_request(2, 3, parts=digests, residual=digests[0])
        assert (made_up["outcome"], made_up["exact"]) == ("fail", True)
        assert "residual" in str(made_up["reason"])
        other = replay_request(2, 3, parts=digests[::-1])
        assert other["outcome"] == "fail"
        assert "payload" in str(other["reason"])
        wrong = replay_request(1, 1)
        assert wrong["outcome"] == "fail"
        assert from_f64_hex(str(wrong["rel_l2_f64"])) > 0.5
        assert worker.send("garbage")["ok"] is False
        assert "no such file" in str(worker.ask(op="evaluate", weights="/nowhere/at/all")["error"]).lower()
        assert worker.ask(op="dance")["ok"] is False
        loss = worker.ask(op="evaluate", weights=str(tmp_path / "base"))
        assert loss["tokens"] == 20 * 16
        assert abs(int(str(loss["loss_micro"])) - 5_545_000) < 200_000
        parts = [str(tmp_path / f"part-{n}") for n in range(2)]
        asked = worker.ask(op="contribution", **common, steps=6, seed="5e" * 32, parts=parts, results=parts)
        scores = asked["scores"]
        assert isinstance(scores, dict)
        assert scores["own_gain_micro"] > 0
        assert scores["heldout_gain_micro"] > 0
        assert (scores["lead_micro"], scores["lead_noise_micro"]) == (0, 0)  # against itself
        assert abs(int(scores["surplus_micro"]) - int(scores["own_gain_micro"]) * 7 // 8) <= 1
        assert abs(int(scores["surplus_noise_micro"]) - int(scores["own_noise_micro"]) * 7 // 8) <= 1
    finally:
        assert worker.close() == 0
