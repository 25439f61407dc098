"""A staged run whose members really train, and some of them cheat."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from commonweight.chain.local import start_local
from commonweight.exact.payload import Payload
from commonweight.exact.round import reduce_part
from commonweight.exact.trace import State, TraceBuilder
from commonweight.protocol.contribution import PrivateScores, Scores
from commonweight.protocol.records import Commitment, Plan
from commonweight.store import FolderStore
from tests.audit import staging
from tests.golden.golden_round import config_json
from trainer import data
from trainer.diloco import batch_of, payload_of
from trainer.evaluate import heldout_loss_micro
from trainer.inner import InnerOptimizer, configure_torch
from trainer.preparation import prepare
from trainer.scoring import Update, score

Cheats = dict[tuple[int, int], str]
CHEATS: Cheats = {(2, 1): "skip", (2, 2): "scale", (4, 1): "nudge"}
SCORE_LIES: dict[tuple[int, int], int] = {(3, 2): 500_000, (4, 0): 1_500}
"""By (round, index): by how many micro-nats the published gain is too large; the latter is within the tolerance."""

LOSS_LIES: dict[int, int] = {0: 1_500, 1: 500_000}
"""By epoch: by how many micro-nats the attested loss is too small; the first is within the tolerance."""


@dataclass
class Trained(staging.Staged):
    """A staged run whose members really train; some cheat in some rounds, by (round, index)."""

    corpus: data.Corpus = field(init=False)
    own: dict[int, data.Corpus] = field(init=False, default_factory=dict)
    """What each trains on, in a run on private shards."""

    def _work(self, plan: Plan, plan_digest: str, index: int) -> tuple[Commitment, Payload, State]:
        configure_torch(self.config.training.threads)
        optimizer, cheat = InnerOptimizer(self.config), CHEATS.get((plan.round, index))
        base, steps = self.checkpoint.weights, plan.member(index).steps
        previous = self.last_counted.get(index)
        state = State.fresh(base)
        if previous is not None:
            state = State(previous[1].step, base, previous[1].m, previous[1].v, previous[2])
        optimizer.load(state)
        corpus, before = self.own.get(index, self.corpus), state.step
        builder = TraceBuilder(previous[0] if previous else None, [state.digests])
        for done in range(steps):
            if cheat != "skip" or done % 2 == 0:
                optimizer.advance(batch_of(self.config, corpus, plan, index, before, done))
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

    def _score(
        self, plan: Plan, work: Mapping[int, tuple[Commitment, Payload, State]], index: int, seed: bytes
    ) -> Scores | PrivateScores:
        """As a signer measures it; some lie, in numbers that fit their outcome."""
        weights = {i: body.tokens for i, (body, _, _) in work.items()}
        parts = [
            reduce_part(
                self.config, plan, self.layout.numel, p, {i: made.parts[p] for i, (_, made, _) in work.items()}, weights
            ).x
            for p in range(plan.parts)
        ]
        body, payload, _ = work[index]
        update = Update(self.checkpoint.weights, payload.decoded, np.concatenate(parts))
        optimizer = InnerOptimizer(self.config)
        found = score(optimizer.model, self.corpus, self.config, plan, index, body.steps, seed, update)
        lie = SCORE_LIES.get((plan.round, index), 0)
        if isinstance(found, PrivateScores):
            return replace(found, heldout_gain=found.heldout_gain + lie)
        return replace(found, own_gain=found.own_gain + lie)

    def _loss(self, epoch: int) -> tuple[int, int]:
        """As a signer measures it, but for a lie by epoch."""
        optimizer = InnerOptimizer(self.config)
        optimizer.model.load_flat(self.checkpoint.weights)
        loss, tokens = heldout_loss_micro(optimizer.model, self.corpus, self.config)
        return loss - LOSS_LIES.get(epoch, 0), tokens


def words(folder: Path, sentence: str) -> None:
    """Sixty documents of one sentence."""
    folder.mkdir(parents=True)
    for number in range(60):
        (folder / f"{number}.txt").write_text(f"{number}: " + f"{sentence} " * 40)


def private(folder: Path, index: int) -> data.Corpus:
    """A member's own shards, with words that nobody else has."""
    name = f"owner-{index}"
    words(folder / name, f"The {name} keeps {' '.join(chr(97 + index + k) * 5 for k in range(8))}.")
    prepare([folder / name], folder / f"{name}-shards", heldout_bps=0)
    return data.Corpus.open_private(folder / f"{name}-shards", data.Corpus.open(folder / "data").manifest)


@contextmanager
def trained_run(
    folder: Path, batch: int = 2, credit_value: int = 0, after: Callable[[Trained, int], None] = lambda *_: None,
    private_bps: int | None = None,
) -> Iterator[Trained]:  # fmt: skip
    """Two epochs of two rounds, both final, `after` each of which something may be done.

    Work of a small `batch` rounds down to no credits. A stake has room for as many credits as it is `credit_value`s.
    With `private_bps` each member trains on shards of its own, for that share of a credit.
    """
    words(folder / "text", "The quick brown fox jumps over it.")
    prepare([folder / "text"], folder / "data", heldout_bps=500 if private_bps is None else 10_000)
    store = FolderStore(folder / "store")
    cid = data.publish(store, folder / "data")
    corpus = data.Corpus.open(folder / "data")
    config = config_json()
    config["model"]["vocab_size"] = 256
    config["training"]["batch"] = batch
    config["verification"]["credit_value_floor"] = str(credit_value)
    config["data"] = {"manifest_cid": str(cid), "manifest_sha256": corpus.manifest.sha256}
    if private_bps is not None:
        config["data"]["private_credit_bps"] = private_bps
    patch = pytest.MonkeyPatch()
    patch.setattr(staging, "config_json", lambda: config)
    patch.setattr(staging, "Staged", Trained)
    try:
        with start_local("anvil", directory=folder / "chain", block_time_s=None) as chain:
            staged = staging.stage(chain.url, folder)
            assert isinstance(staged, Trained)
            staged.corpus = corpus
            if private_bps is not None:
                staged.own = {index: private(folder, index) for index in range(len(staging.PROVIDERS))}
            for epoch in (0, 1):
                staged.play_epoch(epoch)
                staged.report(epoch)
                staged.world.finalize(epoch)
                after(staged, epoch)
            yield staged
    finally:
        patch.undo()
