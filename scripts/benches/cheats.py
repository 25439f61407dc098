"""Ways to be paid for training that was not done, each by the code paths that a member uses.

A cheat changes one thing: the optimizer that takes the steps (`Cheat.optimizer`), or what is made of the honest states
afterwards (`Cheat.forge`). Everything else is the product: batches by the plan, the trace, the encoder with its error
feedback, the commitment. Those who cheat know the rules and keep to all that is checked without replay: step counts,
leaf counts, first states, norms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from commonweight.exact.arrays import F32
from commonweight.exact.norms import norm2
from commonweight.exact.payload import Payload
from commonweight.exact.trace import State, TraceBuilder
from commonweight.protocol.documents import Signed
from commonweight.protocol.records import Commitment, Plan
from commonweight.protocol.runconfig import RunConfig
from trainer.data import Corpus
from trainer.diloco import RoundTrainer, commitment_of, payload_of
from trainer.inner import InnerOptimizer, Settle, at_once
from trainer.journal import Journal

_SOMEWHERE = 10**9
_PERTURBED = 1e-3


@dataclass(frozen=True)
class Round:
    """What a member knows of a round: its signed plan, the base (float32[N]), the text."""

    config: RunConfig
    corpus: Corpus
    signed: Signed
    base: F32

    @property
    def plan(self) -> Plan:
        """The plan's body."""
        return Plan.from_body(self.signed.body)


@dataclass(frozen=True)
class Deed:
    """What a member did in a round: the commitment it signs, and its states, None for those it cannot show."""

    commitment: Commitment
    states: tuple[State | None, ...]
    proofs: tuple[tuple[str, ...], ...]
    parts: tuple[bytes, ...] = ()

    @property
    def segments(self) -> int:
        """How many segments can be drawn."""
        return len(self.states) - 1

    @property
    def honest_states(self) -> tuple[State, ...]:
        """All states; for work whose states are all there."""
        return tuple(state for state in self.states if state is not None)


Forge = Callable[[Round, Deed, "Around"], tuple[Sequence[State | None], Payload | None]]
"""Of the deed that the optimizer's steps gave, the states and the payload that are committed to instead; None: the
payload that the last state encodes to.
"""


@dataclass(frozen=True)
class Around:
    """What else a cheat may use: another member's deed of this round, and an own honest one of an earlier round."""

    others: Deed | None = None
    earlier: Deed | None = None


@dataclass(frozen=True)
class Cheat:
    """One way to cheat. `needs` says what of `Around` it uses."""

    name: str
    optimizer: Callable[[RunConfig], InnerOptimizer] = InnerOptimizer
    forge: Forge | None = None
    needs: str = ""


# --- other steps than those that are told ---------------------------------------------------------------------------


class Skipping(InnerOptimizer):
    """Counts every step and takes all but every n-th."""

    every = 2

    def advance(self, batch: NDArray[np.int64], settle: Settle = at_once, pace: float = 1.0) -> float:
        """One step, or none."""
        if self.step % self.every == self.every - 1:
            settle()
            self.step += 1
            return 0.0
        return super().advance(batch, settle, pace)


class SkippingFifth(Skipping):
    """One step in five."""

    every = 5


class SkippingFiftieth(Skipping):
    """One step in fifty."""

    every = 50


class OtherBatch(InnerOptimizer):
    """Changes the batch before each step."""

    def other(self, batch: NDArray[np.int64]) -> NDArray[np.int64]:
        """The batch that is trained on instead."""
        raise NotImplementedError

    def advance(self, batch: NDArray[np.int64], settle: Settle = at_once, pace: float = 1.0) -> float:
        """A step on the other batch."""
        return super().advance(self.other(batch), settle, pace)


class OneBatchAgain(OtherBatch):
    """Other data: trains on the batch that it has at hand, again and again."""

    kept: NDArray[np.int64] | None = None

    def other(self, batch: NDArray[np.int64]) -> NDArray[np.int64]:
        """The first batch that was seen, its rows turned."""
        self.kept = batch[:, ::-1].copy() if self.kept is None else self.kept
        return self.kept


class OneLess(OtherBatch):
    """A batch without its last window."""

    def other(self, batch: NDArray[np.int64]) -> NDArray[np.int64]:
        """All rows but one."""
        return batch[:-1]


class HalfBatch(OtherBatch):
    """Half of the batch."""

    def other(self, batch: NDArray[np.int64]) -> NDArray[np.int64]:
        """The first half of the rows."""
        return batch[: max(1, len(batch) // 2)]


class HalfWindows(OtherBatch):
    """The first half of each window."""

    def other(self, batch: NDArray[np.int64]) -> NDArray[np.int64]:
        """The first half of the columns, and the token after it."""
        return batch[:, : batch.shape[1] // 2 + 1]


class HalfAtTwiceTheRate(Skipping):
    """Every second step only, at twice the rate, so that it comes as far."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        self.rule.lr *= 2.0


class UsedTwice(InnerOptimizer):
    """Every gradient is used for two steps: half of the passes are saved, and no step is left out."""

    def advance(self, batch: NDArray[np.int64], settle: Settle = at_once, pace: float = 1.0) -> float:
        """A step on a new gradient, or on that of the step before."""
        if self.step % 2 == 0:
            return super().advance(batch, settle, pace)
        settle()
        self.step += 1
        with torch.no_grad():
            model = self.model
            rate = self.rule.rate(self.step, pace)
            self.rule.step_all(self.step, rate, model.layout.tensors, model.flat, self.m, self.v, model.flat_grad)
        return 0.0


class LaterTokens(InnerOptimizer):
    """Another loss than the run's: that of the later half of each window, where there is more to go by."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        self._loss = self._later

    def _later(self, tokens: Tensor) -> Tensor:
        half = tokens.shape[1] // 2
        logits = self.model(tokens[:, :-1])[:, half:]
        return functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), tokens[:, half + 1 :].reshape(-1))


class Shallow(InnerOptimizer):
    """A smaller model: the upper half of the layers is left out of every step."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        layers = self.model.model.layers
        self.model.model.layers = layers[: max(1, len(layers) // 2)]


class Frozen(InnerOptimizer):
    """The lower half of the layers gets no gradient."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        layers = self.model.model.layers
        for layer in list(layers)[: max(1, len(layers) // 2)]:
            layer.requires_grad_(False)


class Faster(InnerOptimizer):
    """A learning rate a tenth too high."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        self.rule.lr *= 1.1


class Coarse(InnerOptimizer):
    """bfloat16 sold as float32."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__(replace(config, training=replace(config.training, dtype="bfloat16")))


# --- other states or payloads than the steps led to ----------------------------------------------------------------


def _moved(deed: Deed, make: Callable[[F32], F32]) -> list[State]:
    """The states with every move from the first one's weights replaced."""
    first, *rest = deed.honest_states
    moved = [replace(s, weights=first.weights + make(s.weights - first.weights)) for s in rest]
    return [first, *moved]


def _last_moved(deed: Deed, make: Callable[[F32], F32]) -> list[State]:
    """The same for the last state alone: all segments but the last stay honest."""
    return [*deed.honest_states[:-1], _moved(deed, make)[-1]]


def negated(_: Round, deed: Deed, __: Around) -> tuple[Sequence[State | None], Payload | None]:
    """The pseudo-gradient's opposite, in every state."""
    return _moved(deed, np.negative), None


def scaled(_: Round, deed: Deed, __: Around) -> tuple[Sequence[State | None], Payload | None]:
    """A twentieth more, in every state."""
    return _moved(deed, lambda x: x * np.float32(1.05)), None


def scaled_at_the_end(_: Round, deed: Deed, __: Around) -> tuple[Sequence[State | None], Payload | None]:
    """A twentieth more, in the last state alone."""
    return _last_moved(deed, lambda x: x * np.float32(1.05)), None


def scaled_payload(round_: Round, deed: Deed, _: Around) -> tuple[Sequence[State | None], Payload | None]:
    """Honest states to the last, and a payload that is a twentieth longer than what the last encodes to."""
    last = _moved(deed, lambda x: x * np.float32(1.05))[-1]
    payload = payload_of(round_.config, round_.plan, round_.base, last.weights, last.residual)
    return deed.states, payload


def noise(_: Round, deed: Deed, __: Around) -> tuple[Sequence[State | None], Payload | None]:
    """Noise of the pseudo-gradient's norm; no step was taken."""
    return _moved(deed, lambda x: _noise(x, 1.0)), None


def forged_trace(_: Round, deed: Deed, __: Around) -> tuple[Sequence[State | None], Payload | None]:
    """First and last state are those of the steps; in between lies a straight line that nobody walked."""
    first, last, n = deed.honest_states[0], deed.honest_states[-1], len(deed.states) - 1
    between = []
    for at in range(1, n):
        share = np.float32(at / n)
        mixed = {name: _mix(getattr(first, name), getattr(last, name), share) for name in ("weights", "m", "v")}
        between.append(State(deed.honest_states[at].step, residual=first.residual, **mixed))
    return [first, *between, last], None


def out_of_order(_: Round, deed: Deed, __: Around) -> tuple[Sequence[State | None], Payload | None]:
    """All states are true, but those in between stand in the opposite order under the right step numbers."""
    first, *between, last = deed.honest_states
    turned = [replace(state, step=here.step) for state, here in zip(reversed(between), between, strict=True)]
    return [first, *turned, last], None


def made_up_residual(round_: Round, deed: Deed, _: Around) -> tuple[Sequence[State | None], Payload | None]:
    """Honest states, honest payload, and a residual that is not what is left over: the next payload carries it."""
    last = deed.honest_states[-1]
    payload = payload_of(round_.config, round_.plan, round_.base, last.weights, last.residual)
    return deed.states, replace(payload, new_residual=payload.new_residual - payload.decoded)


def never_shown(_: Round, deed: Deed, __: Around) -> tuple[Sequence[State | None], Payload | None]:
    """Honest work, of which no state is ever shown."""
    return [None] * len(deed.states), None


def old_work(_: Round, deed: Deed, around: Around) -> tuple[Sequence[State | None], Payload | None]:
    """An earlier round's states under this round's base."""
    assert around.earlier is not None
    return _after(deed, around.earlier), None


def copied(_: Round, deed: Deed, around: Around) -> tuple[Sequence[State | None], Payload | None]:
    """Another's states, which it shows for both: collusion of two, of whom one computes."""
    assert around.others is not None
    return _after(deed, around.others), None


def copied_perturbed(round_: Round, deed: Deed, around: Around) -> tuple[Sequence[State | None], Payload | None]:
    """Another's states, a little noise on top, so that no digest is equal."""
    states, _ = copied(round_, deed, around)
    first, *rest = [state for state in states if state is not None]
    close = [replace(s, weights=s.weights + _noise(s.weights - first.weights, _PERTURBED)) for s in rest]
    return [first, *close], None


def _after(deed: Deed, taken: Deed) -> list[State]:
    """The own first state, then those of another deed under the own step numbers and residual."""
    own = deed.honest_states
    rest = zip(own[1:], taken.honest_states[1:], strict=True)
    return [own[0], *(replace(theirs, step=mine.step, residual=mine.residual) for mine, theirs in rest)]


def _noise(like: F32, share: float) -> F32:
    """Gaussian noise with this share of an array's norm."""
    drawn = np.random.default_rng(17).standard_normal(like.size, np.float32)
    return drawn * np.float32(share * float(np.sqrt(norm2(like) / norm2(drawn))))


def _mix(a: F32, b: F32, share: np.float32) -> F32:
    mixed: F32 = a + (b - a) * share
    return mixed


HONEST = Cheat("honest")
SWAPPED = "swapped data"
CHEATS: tuple[Cheat, ...] = (
    Cheat("half of the steps skipped", Skipping),
    Cheat("one step in five skipped", SkippingFifth),
    Cheat("one step in fifty skipped", SkippingFiftieth),
    Cheat("other data", OneBatchAgain),
    Cheat("batch one smaller", OneLess),
    Cheat("half of the batch", HalfBatch),
    Cheat("half of each window", HalfWindows),
    Cheat("half of the steps at twice the rate", HalfAtTwiceTheRate),
    Cheat("every gradient used twice", UsedTwice),
    Cheat("another loss", LaterTokens),
    Cheat("smaller model", Shallow),
    Cheat("frozen layers", Frozen),
    Cheat("learning rate x1.1", Faster),
    Cheat("bfloat16 sold as float32", Coarse),
    Cheat("negated pseudo-gradient", forge=negated),
    Cheat("pseudo-gradient x1.05", forge=scaled),
    Cheat("x1.05 in the last state only", forge=scaled_at_the_end),
    Cheat("x1.05 in the payload only", forge=scaled_payload),
    Cheat("made-up residual", forge=made_up_residual),
    Cheat("noise", forge=noise),
    Cheat("forged trace", forge=forged_trace),
    Cheat("states out of order", forge=out_of_order),
    Cheat("never shown", forge=never_shown),
    Cheat("old work again", forge=old_work, needs="earlier"),
    Cheat("two show one's work", forge=copied, needs="others"),
    Cheat("copied, perturbed", forge=copied_perturbed, needs="others"),
    Cheat(SWAPPED),
)


# --- doing it --------------------------------------------------------------------------------------------------------


def do(round_: Round, index: int, cheat: Cheat, folder: Path, around: Around | None = None) -> Deed:
    """A member's round, cheated or not, by the trainer's own round; `folder` is emptied of nothing and kept."""
    trainer = RoundTrainer(round_.config, round_.corpus, Journal(folder), index, make=cheat.optimizer)
    signed = _with_swapped_data(round_, index) if cheat.name == SWAPPED else round_.signed
    work_folder = trainer.journal.open_round(signed)
    work = trainer.train(work_folder, round_.base, lambda *_: False, lambda *_: None)
    trace = work_folder.trace
    assert trace is not None
    states = tuple(trainer.journal.load_state(digests) for digests in trace.states)
    if cheat.name == SWAPPED:
        return _commit(round_, index, folder / "own", states, None)
    builder = TraceBuilder(trace.previous, list(trace.states))
    builder.finish(work.payload.digests, work.payload.new_residual_digest)
    proofs = tuple(builder.proof(leaf) for leaf in range(len(states)))
    deed = Deed(work.commitment, states, proofs, tuple(work.payload.parts))
    if cheat.forge is None:
        return deed
    forged, payload = cheat.forge(round_, deed, around or Around())
    return _commit(round_, index, folder / "forged", forged, payload, deed)


def _commit(
    round_: Round, index: int, folder: Path, states: Sequence[State | None], payload: Payload | None,
    honest: Deed | None = None,
) -> Deed:  # fmt: skip
    """Commit to these states in the way that the trainer does; those that are never shown are made up."""
    journal = Journal(folder)
    work_folder = journal.open_round(round_.signed)
    builder = TraceBuilder(None)
    for at, state in enumerate(states):
        known = state if state is not None or honest is None else honest.honest_states[at]
        assert known is not None
        builder.add(known.digests)
    last = states[-1] if states[-1] is not None or honest is None else honest.honest_states[-1]
    assert last is not None
    if payload is None:
        payload = payload_of(round_.config, round_.plan, round_.base, last.weights, last.residual)
    steps = last.step - builder.states[0].step
    commitment = commitment_of(round_.config, work_folder, index, steps, builder, payload)
    proofs = tuple(builder.proof(leaf) for leaf in range(len(states)))
    return Deed(commitment, tuple(states), proofs, tuple(payload.parts))


def _with_swapped_data(round_: Round, index: int) -> Signed:
    """The plan as one sees it who does another's data in place of its own."""
    plan, members = round_.plan, list(round_.plan.members)
    at = next(n for n, member in enumerate(members) if member.index == index)
    other = members[(at + 1) % len(members)]
    members[at] = replace(members[at], data_start=other.data_start)
    return Signed(round_.signed.kind, replace(plan, members=tuple(members)).to_body(), round_.signed.signature)
