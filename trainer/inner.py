"""The inner steps: AdamW on the flat vector, element by element, with one loss and one gradient per step.

The thread count is fixed and only deterministic kernels run, so the same machine kind always gives the same bits. What
a step changes is the training state: weights, both moments and the step count. The error-feedback residual belongs to
it too, but only the end of a round changes that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from commonweight.errors import TrainingError
from commonweight.exact.arrays import F32
from commonweight.exact.trace import State
from commonweight.protocol.runconfig import RunConfig
from trainer.model import Llama


def configure_torch(threads: int) -> None:
    """Fix what decides the bits of a step: threads and deterministic kernels. Call it in the thread that trains."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)


class Optimizer(Protocol):
    """The training state of one member, wherever it lies, and the steps that change it."""

    def load(self, state: State) -> None:
        """Take over a state; the residual stays with the caller."""

    def advance(self, batch: NDArray[np.int64]) -> float:
        """One inner step on tokens int64 [batch, seq_len + 1]; returns the mean loss before it, in nats per token."""

    def state(self, residual: F32) -> State:
        """A copy of the present state, with the residual that belongs to it."""

    def weights(self) -> F32:
        """The present weights, float32 [N]; good until the next step."""


class InnerRule:
    """AdamW (arXiv 1711.05101) or SGD, with a global gradient clip and a linear warm-up over a member's first steps.

    Weight decay acts on matrices only. The arithmetic is that of torch.optim with `foreach=False`; SGD's momentum is
    the first of `betas` and its buffer takes the place of `m`, while `v` stays as it is. Everything is element by
    element, so a vector may be stepped whole or in pieces.
    """

    def __init__(self, config: RunConfig) -> None:
        inner = config.training.inner
        self.lr, self.eps = float(inner.lr), float(inner.eps)
        self.beta1, self.beta2 = (float(beta) for beta in inner.betas)
        self.weight_decay, self.clip, self.warmup = float(inner.weight_decay), float(inner.clip), inner.warmup
        self.adaptive = inner.optimizer == "adamw"

    def scale(self, norm: float) -> float:
        """What clipping multiplies a gradient of this norm by."""
        return min(1.0, self.clip / (norm + 1e-6))

    def apply(self, step: int, w: Tensor, m: Tensor, v: Tensor, grad: Tensor, decayed: Sequence[slice]) -> None:
        """Step number `step` (from 1) on weights, moments and a clipped gradient, in place."""
        lr = self.lr * min(1.0, step / self.warmup) if self.warmup else self.lr
        for matrix in decayed:
            w[matrix].mul_(1.0 - lr * self.weight_decay)
        if not self.adaptive:
            m.mul_(self.beta1).add_(grad)
            w.add_(m, alpha=-lr)
            return
        m.lerp_(grad, 1.0 - self.beta1)
        v.mul_(self.beta2).addcmul_(grad, grad, value=1.0 - self.beta2)
        denominator = (v.sqrt() / math.sqrt(1.0 - self.beta2**step)).add_(self.eps)
        w.addcdiv_(m, denominator, value=-lr / (1.0 - self.beta1**step))


class InnerOptimizer:
    """The inner steps on one device, over the flat vector."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.rule = InnerRule(config)
        self.model = Llama(config.model)
        self.decayed = [slice(t.offset, t.offset + t.numel) for t in self.model.layout.tensors if len(t.shape) > 1]
        self.m = torch.zeros_like(self.model.flat)
        self.v = torch.zeros_like(self.model.flat)
        self.step = 0

    def load(self, state: State) -> None:
        """Take over a state; its arrays are copied. The residual is not used by steps and stays with the caller."""
        self.model.load_flat(state.weights)
        self.m.numpy()[:] = state.m
        self.v.numpy()[:] = state.v
        self.step = state.step

    def state(self, residual: F32) -> State:
        """A copy of the present state, with the residual that belongs to it."""
        m, v = self.m.numpy().copy(), self.v.numpy().copy()
        return State(self.step, self.model.export_flat(), m, v, residual)

    def weights(self) -> F32:
        """The present weights, float32 [N]; good until the next step."""
        return self.model.flat.numpy()

    def advance(self, batch: NDArray[np.int64]) -> float:
        """One inner step on tokens int64 [batch, seq_len + 1]; returns the mean loss before it, in nats per token.

        Raises TrainingError when loss or gradient is not finite: such a state must never be committed to.
        """
        self.model.flat_grad.zero_()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.training.dtype == "bfloat16"):
            loss = self.model.loss(torch.from_numpy(batch))
        loss.backward()  # type: ignore[no-untyped-call]
        norm = float(torch.linalg.vector_norm(self.model.flat_grad))
        if not math.isfinite(norm):
            raise diverged(self.step + 1, norm)
        self.step += 1
        with torch.no_grad():
            grad = self.model.flat_grad.mul_(self.rule.scale(norm))
            self.rule.apply(self.step, self.model.flat, self.m, self.v, grad, self.decayed)
        return float(loss.detach())


def diverged(step: int, norm: float) -> TrainingError:
    """What is said of a step whose gradient is not finite."""
    return TrainingError(
        "The inner step diverged",
        f"the gradient's norm at step {step} is {norm}",
        "the run's learning rate or clip is too high for its data; this round is given up",
    )
