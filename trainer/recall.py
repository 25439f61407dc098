"""States of a trace that are not kept, computed again when somebody asks for them.

The steps from the kept state before lead to the same bits on the same machine with the same threads; what comes out is
checked against the digests that the trace holds, and is never handed out when it differs.
"""

from __future__ import annotations

import threading

from commonweight.errors import TrainingError
from commonweight.exact.trace import State, TraceBuilder
from commonweight.protocol.runconfig import RunConfig
from commonweight.protocol.trace import leaf_steps
from trainer.data import Corpus
from trainer.diloco import setting_out, weights_ahead
from trainer.inner import InnerOptimizer
from trainer.journal import Journal, RoundFolder
from trainer.replay import replay_segment

_REMEMBERED = 2


class Recall:
    """Takes the steps to any leaf of this member's rounds again, from the last state before it. Thread-safe."""

    def __init__(self, config: RunConfig, corpus: Corpus, journal: Journal, index: int, threads: int) -> None:
        self._config = config
        self._corpus = corpus
        self._journal = journal
        self._index = index
        self._threads = threads
        self._lock = threading.Lock()
        self._optimizer: InnerOptimizer | None = None
        self._recent: list[State] = []

    def __call__(self, folder: RoundFolder, leaf: int) -> State:
        """The state at a leaf. TrainingError when nothing is left to begin from, or other bits come out."""
        trace = folder.trace
        if trace is None:
            raise TrainingError(f"Round {folder.body.round} has no trace here", "it was not begun, or is dropped")
        with self._lock:
            at, state = self._nearest(trace, leaf)
            if at == leaf:
                return state
            self._optimizer = self._optimizer or InnerOptimizer(self._config)
            again = self._advanced(folder, trace, state, at, leaf)
            if again.digests != trace.states[leaf]:
                raise TrainingError(
                    f"Leaf {leaf} of round {folder.body.round} comes out otherwise when it is computed again",
                    "torch, the processor or the number of threads is another one than when it was made",
                    "start with --keep-states 1 after such a change; this state is lost",
                )
            self._recent = [again, *self._recent][:_REMEMBERED]
            return again

    def _advanced(self, folder: RoundFolder, trace: TraceBuilder, state: State, at: int, leaf: int) -> State:
        """The state at `leaf` by the steps from `state` at leaf `at`; the base comes in on the way where it did."""
        assert self._optimizer is not None
        training, done = self._config.training, trace.states[-1].step - trace.states[0].step
        reached, until = (leaf_steps(place, done, training.trace_every) for place in (at, leaf))
        get, known = self._journal.arrays.get, folder.base_weights
        base = get(known or trace.states[0].weights)
        ahead_of = None if known is None else weights_ahead(base, get(trace.states[0].weights))
        while reached < until:
            stop = training.overlap if ahead_of is not None and reached < training.overlap < until else until
            begun = setting_out(self._config, base, state, reached, ahead_of)
            steps = range(reached, stop)
            state = replay_segment(self._optimizer, self._corpus, folder.body, self._index, begun, steps, self._threads)
            reached = stop
        return state

    def _nearest(self, trace: TraceBuilder, leaf: int) -> tuple[int, State]:
        """The last state up to a leaf that can be had without taking steps, and its leaf."""
        for at in range(leaf, -1, -1):
            digests = trace.states[at]
            for state in self._recent:
                if state.digests == digests:
                    return at, state
            try:
                return at, self._journal.load_state(digests)
            except TrainingError:
                continue
        raise TrainingError("No state of this round is here any more", "its epoch is settled, or the disk lost it")
