"""One round of a member: from the base weights over its inner steps to a payload and a commitment (DiLoCo, 2311.08105).

Every `trace_every` steps the training state is hashed and kept, so that anyone drawn to do so can execute a segment
again. A round that was interrupted goes on from its last kept state; what it commits to is the same either way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from commonweight.errors import TrainingError
from commonweight.exact.arrays import F32
from commonweight.exact.payload import Payload, departure, make_payload
from commonweight.exact.trace import State, TraceBuilder
from commonweight.protocol.fields import digest_bytes
from commonweight.protocol.records import Commitment, Plan
from commonweight.protocol.runconfig import RunConfig
from trainer.data import Corpus
from trainer.inner import InnerOptimizer, Optimizer, configure_torch
from trainer.journal import Journal, RoundFolder, Start
from trainer.thinning import Thinning, affordable

Enough = Callable[[int, float], bool]
"""Asked at each trace boundary with the steps done and the seconds a segment takes; True ends the inner steps."""

Progress = Callable[[int, float], None]
"""Told after each inner step: steps done, and the loss in nats per token."""


@dataclass(frozen=True)
class Work:
    """A finished round of a member: what it commits to, the payload, and what it cost.

    `steps_taken` and `loss` count what this process did: a resumed round took its first steps before. `seconds` is the
    time of all of it, `trace_seconds` the part in which the steps waited for states to be copied, hashed and kept.
    """

    commitment: Commitment
    payload: Payload
    steps_taken: int
    loss: float
    seconds: float
    trace_seconds: float


class _Keeper:
    """Hashes and stores trace states in a thread of its own while the next steps are taken, one state at a time."""

    def __init__(self, journal: Journal, folder: RoundFolder, trace: TraceBuilder, thinning: Thinning) -> None:
        self._journal = journal
        self._folder = folder
        self._trace = trace
        self._thinning = thinning
        self._residual = {} if not trace.states else {"residual": trace.states[0].residual}
        self._pool = ThreadPoolExecutor(1, "trace")
        self._pending: Future[None] | None = None
        self.seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._pool:
            self._finish()

    def keep(self, state: State) -> None:
        """Add a state to the trace; its arrays are the keeper's from now on. Waits for the state before."""
        self._finish()
        self._pending = self._pool.submit(self._store, state, self._residual)

    def begin(self, start: Start) -> None:
        """Add the first state. Its weights are not to be changed; nothing waits for it."""
        self._residual = {"residual": start.known["residual"]}
        self._pending = self._pool.submit(self._store, start.state, start.known)

    def _finish(self) -> None:
        started = time.perf_counter()
        if self._pending is not None:
            self._pending.result()
        self.seconds += time.perf_counter() - started

    def _store(self, state: State, known: Mapping[str, str]) -> None:
        self._trace.add(self._journal.store_state(state, known))
        self._folder.save_trace(self._trace)
        self._thinning.added(self._trace)


class RoundTrainer:
    """Trains rounds for one member, one after the other, in whatever thread calls it."""

    def __init__(
        self, config: RunConfig, corpus: Corpus, journal: Journal, index: int, threads: int | None = None,
        keep_states: int = 1, make: Callable[[RunConfig], Optimizer] = InnerOptimizer,
    ) -> None:  # fmt: skip
        """`threads` other than the run's own make replays of this member inexact, though within the tolerance.

        Every `keep_states`-th trace state stays on disk. `make` gives the optimizer that takes the steps.
        """
        self.config = config
        self.threads = threads or config.training.threads
        self.corpus = corpus
        self.journal = journal
        self.index = index
        self._keep_states = keep_states
        self._step_s = 0.0
        self._optimizer: Optimizer | None = None
        self._make = make

    def warm_up(self) -> None:
        """Build the model and take two steps that are thrown away: the first round pays for nothing, one is timed."""
        configure_torch(self.threads)
        self._optimizer = self._optimizer or self._make(self.config)
        training = self.config.training
        for _ in range(2):
            started = time.perf_counter()
            self._optimizer.advance(np.zeros((training.batch, training.seq_len + 1), dtype=np.int64))
            self._step_s = time.perf_counter() - started

    def train(self, folder: RoundFolder, base: F32, enough: Enough, progress: Progress) -> Work:
        """Take the plan's inner steps from `base` (float32 [N]); keep the trace, the payload and what they commit to.

        `enough` may end the steps early at a trace boundary. Raises TrainingError when the steps diverge.
        """
        configure_torch(self.threads)
        optimizer = self._optimizer = self._optimizer or self._make(self.config)
        plan, started = folder.body, time.perf_counter()
        trace, state, fresh = self._begin(folder, base)
        before = state.step if fresh is not None else trace.states[0].step
        done = state.step - before
        optimizer.load(state if done else departing(self.config, state))
        planned = plan.member(self.index).steps
        losses: list[float] = []
        thinning = Thinning(self.journal, affordable(self.config, self._step_s, self._keep_states))
        with _Keeper(self.journal, folder, trace, thinning) as keeper:
            if fresh is not None:
                keeper.begin(fresh)
            while done < planned:
                segment_started = time.perf_counter()
                stop = min(done + self.config.training.trace_every, planned)
                for step in range(done, stop):
                    batch = batch_of(self.config, self.corpus, plan, self.index, step, before)
                    losses.append(optimizer.advance(batch))
                    progress(step + 1, losses[-1])
                self._step_s = (time.perf_counter() - segment_started) / (stop - done)
                done = stop
                keeper.keep(optimizer.state(state.residual))
                if enough(done, time.perf_counter() - segment_started):
                    break
            payload = payload_of(self.config, plan, base, optimizer.weights(), state.residual)
        self.journal.arrays.put(payload.new_residual, payload.new_residual_digest)
        folder.save_payload(payload.parts)
        return Work(
            commitment=commitment_of(self.config, folder, self.index, done, trace, payload),
            payload=payload,
            steps_taken=len(losses),
            loss=float(np.mean(losses)) if losses else float("nan"),
            seconds=time.perf_counter() - started,
            trace_seconds=keeper.seconds,
        )

    def _begin(self, folder: RoundFolder, base: F32) -> tuple[TraceBuilder, State, Start | None]:
        """The trace so far, the state to go on from, and what the trace has to start with if it is empty."""
        trace = folder.trace
        if trace is not None:
            try:
                return trace, self.journal.load_state(trace.states[-1]), None
            except TrainingError:
                del trace  # its arrays are gone: the round begins anew and comes to the same states
        start = self.journal.first_state(base)
        return TraceBuilder(start.previous), start.state, start


def batch_of(config: RunConfig, corpus: Corpus, plan: Plan, index: int, step: int, before: int) -> NDArray[np.int64]:
    """The tokens of a member's inner step (from 0) of a round: int64 [batch, seq_len + 1].

    They lie where the plan says; in a run on private shards, where all are the member's own, after those of the
    `before` optimizer steps that its state has seen in earlier rounds.
    """
    training = config.training
    start = before * training.batch if config.private else plan.member(index).data_start
    return corpus.batch(digest_bytes(plan.data_seed), start, step, training.batch, training.seq_len)


def departing(config: RunConfig, first: State) -> State:
    """The state in which the inner steps of a round begin, from the first of its trace: its weights are the base, or
    the base less the residual where the run has residuals carried.
    """
    if not config.training.carry_residual:
        return first
    return replace(first, weights=departure(first.weights, first.residual))


def payload_of(config: RunConfig, plan: Plan, base: F32, local: F32, residual: F32) -> Payload:
    """The payload of weights `local` reached from `base`; all float32 [N]. PayloadError when it is not finite."""
    training = config.training
    owed = None if training.carry_residual else residual
    return make_payload(base, local, owed, plan.parts, plan.codec, plan.block, training.error_feedback)


def commitment_of(
    config: RunConfig, folder: RoundFolder, index: int, steps: int, trace: TraceBuilder, payload: Payload
) -> Commitment:
    """The body that the member signs."""
    plan = folder.body
    return Commitment(
        run=plan.run,
        round=plan.round,
        plan=folder.plan.digest,
        index=index,
        base=plan.base,
        steps=steps,
        tokens=config.tokens(steps),
        parts=payload.committed,
        payload_bytes=payload.size,
        trace=trace.finish(payload.digests, payload.new_residual_digest),
    )
