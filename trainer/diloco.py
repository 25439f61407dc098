"""One round of a member: from the base weights over its inner steps to a payload and a commitment (DiLoCo, 2311.08105).

Every `trace_every` steps the training state is hashed and kept, so that anyone drawn to do so can execute a segment
again. A round that was interrupted goes on from its last kept state; what it commits to is the same either way.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import numpy as np
from numpy.typing import NDArray

from commonweight.errors import TrainingError
from commonweight.exact.arrays import F32
from commonweight.exact.payload import Payload, departure, make_payload, merged
from commonweight.exact.trace import ARRAYS, State, TraceBuilder
from commonweight.protocol.fields import digest_bytes
from commonweight.protocol.records import Commitment, Plan
from commonweight.protocol.runconfig import RunConfig
from trainer.data import Corpus
from trainer.inner import InnerOptimizer, Optimizer, configure_torch
from trainer.journal import Journal, RoundFolder, Start
from trainer.thinning import Thinning, kept_every

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


@dataclass
class Ahead:
    """Steps that a member has taken of the round after `round` before there is a plan for it: from where its work of
    that round, `commitment`, ended, on data from `data_start` on. Nobody waits for them; a crash loses them.
    """

    round: int
    commitment: str
    data_start: int
    trace: TraceBuilder
    done: int = 0


class _Keeper:
    """Hashes and stores trace states in threads of its own while the next steps are taken, one state at a time, as many
    of its arrays at once as there are `lanes`.
    """

    def __init__(
        self, journal: Journal, trace: TraceBuilder, thinning: Thinning, save: Callable[[TraceBuilder], None],
        lanes: int,
    ) -> None:  # fmt: skip
        self._journal = journal
        self._trace = trace
        self._thinning = thinning
        self._save = save
        self._residual = {} if not trace.states else {"residual": trace.states[0].residual}
        self._pool = ThreadPoolExecutor(2, "trace")  # a second one for the residual alone, when no step is taken
        self._lanes = ThreadPoolExecutor(lanes, "array")
        self._pending: list[Future[None]] = []
        self.seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lanes, self._pool:
            self.finish()

    def keep(self, state: State) -> None:
        """Add a state to the trace, after `finish`; its arrays are not to be changed before the next one."""
        self._pending.append(self._pool.submit(self._store, state, self._residual))

    def begin(self, start: Start) -> None:
        """Add the first state. Its arrays are not to be changed."""
        self._residual = {"residual": start.known["residual"]}
        self._pending.append(self._pool.submit(self._store, start.state, start.known))

    def keep_residual(self, payload: Payload) -> None:
        """Store what the next round begins with, beside the last state."""
        self._pending.append(self._pool.submit(self._store_residual, payload))

    def finish(self) -> None:
        """Wait until what was given last is hashed and stored."""
        started = time.perf_counter()
        pending, self._pending = self._pending, []
        for each in pending:
            each.result()
        self.seconds += time.perf_counter() - started

    def _store(self, state: State, known: Mapping[str, str]) -> None:
        with self._journal.storing:
            self._trace.add(self._journal.store_state(state, known, self._lanes.map))
        self._save(self._trace)
        self._thinning.added(self._trace)

    def _store_residual(self, payload: Payload) -> None:
        self._journal.arrays.put(payload.new_residual, payload.new_residual_digest)


class _Batches:
    """The batches of inner steps in order, each read while the step before is taken."""

    def __init__(self, read: Callable[[int], NDArray[np.int64]], steps: range) -> None:
        self._read = read
        self._steps = steps
        self._pool = ThreadPoolExecutor(1, "batches")

    def __enter__(self) -> Iterator[NDArray[np.int64]]:
        return self._in_turn()

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _in_turn(self) -> Iterator[NDArray[np.int64]]:
        coming = None
        for step in self._steps:
            coming, here = self._pool.submit(self._read, step), coming
            if here is not None:
                yield here.result()
        if coming is not None:
            yield coming.result()


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
        self.step_s = 0.0
        self._optimizer: Optimizer | None = None
        self._make = make
        self._ended: str | None = None
        self._ahead: Ahead | None = None

    def warm_up(self) -> None:
        """Build the model and take two steps that are thrown away: the first round pays for nothing, one is timed."""
        configure_torch(self.threads)
        self._optimizer = self._optimizer or self._make(self.config)
        training = self.config.training
        for _ in range(2):
            started = time.perf_counter()
            self._optimizer.advance(np.zeros((training.batch, training.seq_len + 1), dtype=np.int64))
            self.step_s = time.perf_counter() - started

    def train(self, folder: RoundFolder, base: F32, enough: Enough, progress: Progress) -> Work:
        """Take the plan's inner steps from `base` (float32 [N]); keep the trace, the payload and what they commit to.

        `enough` may end the steps early at a trace boundary, but not before the base is taken in: steps ahead of it are
        no work on it. Raises TrainingError when the steps diverge.
        """
        configure_torch(self.threads)
        optimizer = self._optimizer = self._optimizer or self._make(self.config)
        self._ended = None
        plan, started = folder.body, time.perf_counter()
        trace, state, fresh, ahead_of = self._begin(folder, base)
        before = state.step if fresh is not None else trace.states[0].step
        done = state.step - before
        optimizer.load(setting_out(self.config, base, state, done, ahead_of))
        residual = state.residual
        del state  # its moments are the optimizer's now
        planned = plan.member(self.index).steps
        losses: list[float] = []
        read = partial(batch_of, self.config, self.corpus, plan, self.index, before)
        batches = _Batches(read, range(done, planned))
        with self._keeper(trace, folder.save_trace) as keeper, batches as coming:
            if fresh is not None:
                keeper.begin(fresh)
                del fresh
            while done < planned:
                segment_started = time.perf_counter()
                stop = min(done + self.config.training.trace_every, planned)
                for step in range(done, stop):
                    pace = self.config.training.pace(plan.round, step)
                    losses.append(optimizer.advance(next(coming), keeper.finish, pace))
                    progress(step + 1, losses[-1])
                self.step_s = (time.perf_counter() - segment_started) / (stop - done)
                done = stop
                keeper.finish()  # two states at once are more memory than one
                reached = optimizer.view(residual)
                keeper.keep(reached)
                if ahead_of is not None and done == self.config.training.overlap:
                    onward = setting_out(self.config, base, reached, done, ahead_of)
                    keeper.finish()
                    optimizer.load(onward)
                    del onward
                del reached  # the keeper lets go of it before the next one is made
                on_base = ahead_of is None or done > self.config.training.overlap
                if on_base and enough(done, time.perf_counter() - segment_started):
                    break
            payload = payload_of(self.config, plan, base, optimizer.weights(), residual)
            keeper.keep_residual(payload)
            folder.save_payload(payload.parts)
        self._ended = folder.plan.digest
        return Work(
            commitment=commitment_of(self.config, folder, self.index, done, trace, payload),
            payload=payload,
            steps_taken=len(losses),
            loss=float(np.mean(losses)) if losses else float("nan"),
            seconds=time.perf_counter() - started,
            trace_seconds=keeper.seconds,
        )

    def go_ahead(self, folder: RoundFolder, enough: Enough, progress: Progress) -> int:
        """Take the first steps of the next round from where this one has ended here, as many as rounds overlap by; the
        next `train` goes on from them if it can. Returns how many were taken; `enough` may end them at a trace
        boundary.

        Raises TrainingError when they diverge.
        """
        plan, commitment, training = folder.body, folder.commitment, self.config.training
        start = plan.member(self.index).next_start
        if self._optimizer is None or commitment is None or start is None or self._ended != folder.plan.digest:
            return 0  # another process trained that round: this one has its last state on disk only
        self._ended = None
        self.journal.unbound = None
        ended = Commitment.from_body(commitment.body).trace
        residual = self.journal.arrays.get(ended.new_residual)
        trace = TraceBuilder(commitment.digest, [ended.last.onward(ended.new_residual)])
        ahead = self._ahead = Ahead(plan.round, commitment.digest, start, trace)
        self.journal.unbound = trace
        configure_torch(self.threads)
        at = ended.last.step * training.batch if self.config.private else start
        batches = _Batches(partial(batch_at, self.config, self.corpus, plan, at), range(training.overlap))
        with self._keeper(trace, lambda _: None) as keeper, batches as coming:
            segment_s = 0.0
            while ahead.done < training.overlap and not enough(ahead.done, segment_s):
                began = time.perf_counter()
                for step in range(ahead.done, ahead.done + training.trace_every):
                    pace = training.pace(plan.round + 1, step)
                    progress(step + 1, self._optimizer.advance(next(coming), keeper.finish, pace))
                segment_s = time.perf_counter() - began
                self.step_s = segment_s / training.trace_every
                keeper.finish()
                keeper.keep(self._optimizer.view(residual))
                ahead.done += training.trace_every
        return ahead.done

    def _keeper(self, trace: TraceBuilder, save: Callable[[TraceBuilder], None]) -> _Keeper:
        thinning = Thinning(self.journal, kept_every(self.config, self.step_s, self._keep_states))
        spare = _usable_cores() - self.threads
        return _Keeper(self.journal, trace, thinning, save, lanes=max(1, min(len(ARRAYS), spare)))

    def _ahead_of(self, folder: RoundFolder, trace: TraceBuilder, base: F32) -> F32 | None:
        """The weights of a trace's first state, if this member has gone ahead of the base, which is kept then too."""
        if self.config.training.overlap == 0:
            return None
        ahead_of = weights_ahead(base, self.journal.arrays.get(trace.states[0].weights))
        if ahead_of is not None:
            with self.journal.storing:
                folder.save_base(self.journal.arrays.put(base))
        return ahead_of

    def _adopted(self, folder: RoundFolder) -> TraceBuilder | None:
        """The steps taken ahead, if they are the first ones of this round: the work that they go on from was counted,
        the plan gives this member the data that they were taken on, and steps beyond them.
        """
        ahead, self._ahead = self._ahead, None
        position, share = self.journal.position, folder.body.member(self.index)
        if ahead is None or ahead.done == 0 or folder.trace is not None:
            return None
        if position is None or position.commitment != ahead.commitment:
            return None
        mine = (folder.body.round - 1, share.data_start) == (ahead.round, ahead.data_start)
        if not mine or share.steps <= self.config.training.overlap:
            return None
        folder.save_trace(ahead.trace)
        return ahead.trace

    def _begin(self, folder: RoundFolder, base: F32) -> tuple[TraceBuilder, State, Start | None, F32 | None]:
        """The trace so far, the state to go on from, what the trace has to start with if it is empty, and the weights
        that it started from if this member has gone ahead.
        """
        trace = self._adopted(folder) or folder.trace
        self.journal.unbound = None
        if trace is not None:
            try:
                state, ahead_of = self.journal.load_state(trace.states[-1]), self._ahead_of(folder, trace, base)
                return trace, state, None, ahead_of
            except TrainingError:
                del trace  # its arrays are gone: the round begins anew
        start = self.journal.first_state(base)
        return TraceBuilder(start.previous), start.state, start, None


def batch_of(config: RunConfig, corpus: Corpus, plan: Plan, index: int, before: int, step: int) -> NDArray[np.int64]:
    """The tokens of a member's inner step (from 0) of a round: int64 [batch, seq_len + 1].

    They lie where the plan says; in a run on private shards, where all are the member's own, after those of the
    `before` optimizer steps that its state has seen in earlier rounds.
    """
    start = before * config.training.batch if config.private else plan.member(index).data_start
    return batch_at(config, corpus, plan, start, step)


def batch_at(config: RunConfig, corpus: Corpus, plan: Plan, start: int, step: int) -> NDArray[np.int64]:
    """The tokens of inner step `step` of a member whose data begin at position `start`: int64 [batch, seq_len + 1]."""
    training = config.training
    return corpus.batch(digest_bytes(plan.data_seed), start, step, training.batch, training.seq_len)


def setting_out(config: RunConfig, base: F32, state: State, done: int, ahead_of: F32 | None) -> State:
    """The state in which the inner step after `done` steps of a round begins, from the trace's state there.

    At the start it is the base, or the base less the residual where the run has residuals carried. A member that has
    gone ahead of it, from weights `ahead_of` (float32 [N], those of the trace's first state), takes it in after the
    plan's overlap. Everywhere else it is the trace's state itself.
    """
    training = config.training
    if ahead_of is None:
        begins = done == 0 and training.carry_residual
        return replace(state, weights=departure(state.weights, state.residual)) if begins else state
    if done != training.overlap:
        return state
    owed = state.residual if training.carry_residual else None
    return replace(state, weights=merged(base, owed, ahead_of, state.weights))


def weights_ahead(base: F32, first: F32) -> F32 | None:
    """The weights of a trace's first state if they are not the base's, bit for bit: of a member that has gone ahead."""
    return None if np.array_equal(first.view(np.uint32), base.view(np.uint32)) else first


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


def _usable_cores() -> int:
    """The cores that this process may run on, which can be fewer than the machine has; a limit on its time is none."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
