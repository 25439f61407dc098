"""The inner steps: AdamW, SGD or Muon on the flat vector, with one loss and one gradient per step.

The thread count is fixed and only deterministic kernels run, so the same machine kind always gives the same bits. What
a step changes is the training state: weights, both moments and the step count. The error-feedback residual belongs to
it too, but only the end of a round changes that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from commonweight.errors import TrainingError
from commonweight.exact.arrays import F32
from commonweight.exact.layout import TensorSpec
from commonweight.exact.trace import State
from commonweight.protocol.runconfig import RunConfig
from trainer.engine import PLAIN, Engine
from trainer.model import Llama
from trainer.muon import Muon, turns

Settle = Callable[[], None]
"""Called when arrays that `view` gave are about to change: whoever still reads them keeps it from returning."""


def configure_torch(threads: int) -> None:
    """Fix what decides the bits of a step: threads and deterministic kernels. Call it in the thread that trains."""
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms would import the compiler for seconds
    # nothing is read here before it is written
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def at_once() -> None:
    """A `Settle` that nobody keeps waiting."""


class Optimizer(Protocol):
    """The training state of one member, wherever it lies, and the steps that change it."""

    def load(self, state: State) -> None:
        """Take over a state; the residual stays with the caller."""

    def advance(self, batch: NDArray[np.int64], settle: Settle = at_once, pace: float = 1.0) -> float:
        """One inner step on tokens int64 [batch, seq_len + 1]; returns the mean loss before it, in nats per token.

        `settle` is called before anything changes that `view` has given; `pace` is what the rate is multiplied by.
        """

    def state(self, residual: F32) -> State:
        """A copy of the present state, with the residual that belongs to it."""

    def view(self, residual: F32) -> State:
        """The same without a copy where there need be none: good until `advance` calls its `settle`."""

    def weights(self) -> F32:
        """The present weights, float32 [N]; good until the next step."""


class InnerRule:
    """AdamW (arXiv 1711.05101) or SGD, with a global gradient clip and a linear warm-up over a member's first steps.

    Weight decay acts on matrices only. The arithmetic is that of torch.optim with `fused=True` and, for SGD, with
    `foreach=False`; SGD's momentum is the first of `betas` and its buffer takes the place of `m`, while `v` stays as it
    is. Everything is element by element, so a vector may be stepped whole or in pieces. In a run with Muon, `muon`
    steps some matrices instead, each whole; its buffer is their `m`, and their `v` stays as it is.
    """

    def __init__(self, config: RunConfig) -> None:
        inner = config.training.inner
        self.lr, self.eps = float(inner.lr), float(inner.eps)
        self.beta1, self.beta2 = (float(beta) for beta in inner.betas)
        self.weight_decay, self.clip, self.warmup = float(inner.weight_decay), float(inner.clip), inner.warmup
        self.adaptive = inner.optimizer != "sgd"
        self.muon = Muon(config) if inner.optimizer == "muon" else None

    def scale(self, norm: float) -> float:
        """What clipping multiplies a gradient of this norm by."""
        return min(1.0, self.clip / (norm + 1e-6))

    def rate(self, step: int, pace: float) -> float:
        """The learning rate of step number `step` (from 1) at a run's `pace`."""
        return pace * self.lr * (min(1.0, step / self.warmup) if self.warmup else 1.0)

    def step_all(
        self, step: int, rate: float, tensors: Sequence[TensorSpec], w: Tensor, m: Tensor, v: Tensor, grad: Tensor
    ) -> None:  # fmt: skip
        """Step number `step` (from 1) at a learning rate on all tensors of flat vectors, in place."""
        whole = {t for t in tensors if self.muon is not None and turns(t)}
        for t in whole:
            assert self.muon is not None
            at = slice(t.offset, t.stop)
            self.muon.apply(t, rate, w[at].view(t.shape), m[at].view(t.shape), grad[at].view(t.shape))
        for matrices in (True, False):
            places = [slice(t.offset, t.stop) for t in tensors if t not in whole and (len(t.shape) > 1) == matrices]
            self.apply(step, rate, *([x[at] for at in places] for x in (w, m, v, grad)), decays=matrices)

    def apply(
        self, step: int, rate: float, w: list[Tensor], m: list[Tensor], v: list[Tensor], grad: list[Tensor], *,
        decays: bool,
    ) -> None:  # fmt: skip
        """The same on weights, moments and clipped gradients of several tensors."""
        if not w:
            return
        decay = self.weight_decay if decays else 0.0
        if self.adaptive:
            count = torch.full((), float(step), device=w[0].device)  # `tensor` would wait for a copy to a card
            torch._fused_adamw_(
                w, grad, m, v, [], [count] * len(w), lr=rate, beta1=self.beta1, beta2=self.beta2, weight_decay=decay,
                eps=self.eps, amsgrad=False, maximize=False,
            )  # fmt: skip
            return
        for weights, moment, gradient in zip(w, m, grad, strict=True):
            weights.mul_(1.0 - rate * decay)
            moment.mul_(self.beta1).add_(gradient)
            weights.add_(moment, alpha=-rate)


class InnerOptimizer:
    """The inner steps on one device, over the flat vector."""

    def __init__(self, config: RunConfig, engine: Engine = PLAIN) -> None:
        """Raises UsageError when the engine is not to be had here."""
        engine.require()
        self.config = config
        self.engine = engine
        self.rule = InnerRule(config)
        with engine.watched():
            self.model = Llama(config.model, engine.device)
            self.m = torch.zeros_like(self.model.flat)
            self.v = torch.zeros_like(self.model.flat)
        self._loss: Callable[[Tensor], Tensor] = self.model.loss
        if engine.compiled:
            torch.use_deterministic_algorithms(True)  # which tells the compiler too
            self._loss = torch.compile(self.model.loss)
        self.step = 0

    def load(self, state: State) -> None:
        """Take over a state; its arrays are copied. The residual is not used by steps and stays with the caller."""
        with self.engine.watched():
            self.model.load_flat(state.weights)
            self.m.copy_(torch.from_numpy(state.m))
            self.v.copy_(torch.from_numpy(state.v))
        self.step = state.step

    def state(self, residual: F32) -> State:
        """A copy of the present state, with the residual that belongs to it."""
        with self.engine.watched():
            m, v = self.m.cpu().numpy().copy(), self.v.cpu().numpy().copy()
            return State(self.step, self.model.export_flat(), m, v, residual)

    def view(self, residual: F32) -> State:
        """The present state itself on a CPU, a copy of a card's."""
        with self.engine.watched():
            weights, m, v = (x.detach().cpu().numpy() for x in (self.model.flat, self.m, self.v))
        return State(self.step, weights, m, v, residual)

    def weights(self) -> F32:
        """The present weights, float32 [N]; good until the next step."""
        with self.engine.watched():
            return self.model.flat.cpu().numpy()

    def advance(self, batch: NDArray[np.int64], settle: Settle = at_once, pace: float = 1.0) -> float:
        """One inner step on tokens int64 [batch, seq_len + 1]; returns the mean loss before it, in nats per token.

        `settle` is called on a CPU, where `view` copies nothing, when the gradient is there and before the state
        changes; `pace` is what the rate is multiplied by. Raises TrainingError when loss or gradient is not finite:
        such a state must never be committed to; and as `Engine.watched` does.
        """
        with self.engine.watched():
            return self._advance(batch, settle, pace)

    def _advance(self, batch: NDArray[np.int64], settle: Settle, pace: float) -> float:
        self.model.flat_grad.zero_()
        kind, half = self.engine.kind, self.config.training.dtype == "bfloat16"
        with torch.autocast(kind, torch.bfloat16, enabled=half):
            loss = self._loss(torch.from_numpy(batch).to(self.engine.device))
        loss.backward()  # type: ignore[no-untyped-call]
        norm = float(torch.linalg.vector_norm(self.model.flat_grad))
        if not math.isfinite(norm):
            raise diverged(self.step + 1, norm)
        if kind == "cpu":
            settle()
        self.step += 1
        with torch.no_grad():
            grad, scale = self.model.flat_grad, self.rule.scale(norm)
            if scale != 1.0:
                grad.mul_(scale)
            rate = self.rule.rate(self.step, pace)
            self.rule.step_all(self.step, rate, self.model.layout.tensors, self.model.flat, self.m, self.v, grad)
        return float(loss.detach())


def diverged(step: int, norm: float) -> TrainingError:
    """What is said of a step whose gradient is not finite."""
    return TrainingError(
        "The inner step diverged",
        f"the gradient's norm at step {step} is {norm}",
        "the run's learning rate or clip is too high for its data; this round is given up",
    )
