"""`audit replay`: what providers did is done again from the published files, bit for bit, and cheats are found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from commonweight.audit.settings import AuditSettings
from commonweight.chain.local import start_local
from commonweight.cli.replaying import replay_work
from commonweight.errors import UsageError
from commonweight.exact.payload import Payload
from commonweight.exact.trace import State, TraceBuilder
from commonweight.protocol.records import Commitment, Plan
from commonweight.store import FolderStore
from tests.audit import staging
from tests.cli.conftest import User
from tests.golden.golden_round import config_json
from trainer import data
from trainer.diloco import batch_of, payload_of
from trainer.inner import InnerOptimizer, configure_torch

pytestmark = pytest.mark.chain
Cheats = dict[tuple[int, int], str]
CHEATS: Cheats = {(2, 1): "skip", (2, 2): "scale", (4, 1): "nudge"}


@dataclass
class Trained(staging.Staged):
    """A staged run whose members really train; some cheat in some rounds, by (round, index)."""

    corpus: data.Corpus = field(init=False)

    def _work(self, plan: Plan, plan_digest: str, index: int) -> tuple[Commitment, Payload, State]:
        configure_torch(self.config.training.threads)
        optimizer, cheat = InnerOptimizer(self.config), CHEATS.get((plan.round, index))
        base, steps = self.checkpoint.weights, plan.member(index).steps
        previous = self.last_counted.get(index)
        state = State.fresh(base)
        if previous is not None:
            state = State(previous[1].step, base, previous[1].m, previous[1].v, previous[2])
        optimizer.load(state)
        builder = TraceBuilder(previous[0] if previous else None, [state.digests])
        for done in range(steps):
            if cheat != "skip" or done % 2 == 0:
                optimizer.advance(batch_of(self.config, self.corpus, plan, index, done))
            else:
                optimizer.step += 1
            if (done + 1) % self.config.training.trace_every == 0 or done + 1 == steps:
                state = optimizer.state(state.residual)
                if cheat == "scale" and done + 1 == steps:
                    state = replace(state, weights=base - np.float32(1.1) * (base - state.weights))
                if cheat == "nudge" and done + 1 == steps:  # what another kind of machine may do
                    state = replace(state, weights=state.weights * np.float32(1 + 1e-7))
                builder.add(state.digests)
        payload = payload_of(self.config, plan, base, state.weights, state.residual)
        trace = builder.finish(payload.digests, payload.new_residual_digest)
        tokens = self.config.tokens(steps)
        body = Commitment(
            self.campaign,
            plan.round,
            plan_digest,
            index,
            plan.base,
            steps,
            tokens,
            payload.committed,
            payload.size,
            trace,
        )
        return body, payload, state


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """Two epochs of two rounds, both final."""
    folder = tmp_path_factory.mktemp("replay")
    (folder / "text").mkdir()
    for number in range(60):
        (folder / "text" / f"{number}.txt").write_text(f"{number}: " + "The quick brown fox jumps over it. " * 40)
    data.prepare([folder / "text"], folder / "data")
    store = FolderStore(folder / "store")
    cid = data.publish(store, folder / "data")
    corpus = data.Corpus.open(folder / "data")
    config = config_json()
    config["model"]["vocab_size"] = 256
    config["training"]["batch"] = 2
    config["data"] = {"manifest_cid": str(cid), "manifest_sha256": corpus.manifest.sha256}
    patch = pytest.MonkeyPatch()
    patch.setattr(staging, "config_json", lambda: config)
    patch.setattr(staging, "Staged", Trained)
    try:
        with start_local("anvil", directory=folder / "chain", block_time_s=None) as chain:
            staged = staging.stage(chain.url, folder)
            assert isinstance(staged, Trained)
            staged.corpus = corpus
            for epoch in (0, 1):
                staged.play_epoch(epoch)
                staged.report(epoch)
                staged.world.finalize(epoch)
            yield staged
    finally:
        patch.undo()


def settings_of(staged: Trained, store: Path | None = None) -> AuditSettings:
    return AuditSettings(staged.run.address, (staged.world.url,), str(store or staged.store.folder), 0)


@pytest.mark.parametrize(("provider", "number"), [("0", None), ("0", 1), ("3", 4), ("1", 1)])
def test_honest_work_comes_out_bit_for_bit(trained: Trained, provider: str, number: int | None) -> None:
    found = replay_work(settings_of(trained), provider, number)
    assert found.verdict == "verified", found.checks
    last = [c for c in found.checks if c.name == "steps-replayed"][-1]
    assert "bit for bit" in last.detail
    assert last.subject == f"round {number or 4}"


def test_an_account_names_its_provider(trained: Trained) -> None:
    account = trained.run.registry.account_of(0)
    assert replay_work(settings_of(trained), account, 2).verdict == "verified"


def test_steps_that_were_skipped_are_found(trained: Trained) -> None:
    found = replay_work(settings_of(trained), "1", 2)
    assert found.verdict == "refuted"
    assert "not what these steps lead to" in next(c.detail for c in found.checks if c.verdict == "refuted")


def test_a_scaled_payload_is_found(trained: Trained) -> None:
    assert replay_work(settings_of(trained), "2", 2).verdict == "refuted"


def test_after_work_that_is_not_exact_a_start_is_not_known(trained: Trained) -> None:
    """Its later rounds continue a state that cannot be recomputed: never verified, and never blamed for it either."""
    found = replay_work(settings_of(trained), "1", 3)
    by_subject = {(c.name, c.subject): c.verdict for c in found.checks}
    assert by_subject["steps-replayed", "round 2"] == "refuted"
    assert by_subject["start-state", "round 3"] == "unavailable"
    assert by_subject["steps-replayed", "round 3"] != "refuted"


def test_work_that_was_never_published_is_said_so(trained: Trained) -> None:
    with pytest.raises(UsageError, match="no published work in round 9"):
        replay_work(settings_of(trained), "0", 9)


def test_what_cannot_be_had_is_incomplete(trained: Trained, tmp_path: Path) -> None:
    found = replay_work(settings_of(trained, tmp_path / "empty"), "0")
    assert found.exit_code == 3


def test_as_a_command(trained: Trained, user: User) -> None:
    arguments = ("audit", "replay", "--run", trained.run.address, "--rpc", trained.world.url, "--confirmations", "0")
    arguments += ("--store", str(trained.store.folder))
    done = user.run(*arguments, "--provider", "0", "--round", "1", "--json")
    assert done.code == 0
    assert done.json["verdict"] == "verified"
    refuted = user.run(*arguments, "--provider", "1", "--round", "2")
    assert refuted.code == 1
    assert refuted.out.rstrip().endswith("refuted")
