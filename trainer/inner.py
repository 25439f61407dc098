"""The inner steps: AdamW on the flat vector, element by element, with one loss and one gradient per step.

The thread count is fixed and only deterministic kernels run, so the same machine kind always gives the same bits. What
a step changes is the training state: weights, both moments and the step count. The error-feedback residual belongs to
it too, but only the end of a round changes that.
"""

from __future__ import annotations

import math

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


class InnerOptimizer:
    """AdamW (arXiv 1711.05101) or SGD, with a global gradient clip and a linear warm-up over a member's first steps.

    Weight decay acts on matrices only. The arithmetic is that of torch.optim with `foreach=False`; SGD's momentum is
    the first of `betas` and its buffer takes the place of `m`, while `v` stays as it is.
    """

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        inner = config.training.inner
        self.lr, self.eps = float(inner.lr), float(inner.eps)
        self.beta1, self.beta2 = (float(beta) for beta in inner.betas)
        self.weight_decay, self.clip, self.warmup = float(inner.weight_decay), float(inner.clip), inner.warmup
        self.adaptive = inner.optimizer == "adamw"
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
            raise TrainingError(
                "The inner step diverged",
                f"the gradient's norm at step {self.step + 1} is {norm}",
                "the run's learning rate or clip is too high for its data; this round is given up",
            )
        with torch.no_grad():
            self._apply(self.model.flat_grad.mul_(min(1.0, self.clip / (norm + 1e-6))))
        return float(loss.detach())

    def _apply(self, grad: Tensor) -> None:
        self.step += 1
        lr = self.lr * min(1.0, self.step / self.warmup) if self.warmup else self.lr
        for matrix in self.decayed:
            self.model.flat[matrix].mul_(1.0 - lr * self.weight_decay)
        if not self.adaptive:
            self.m.mul_(self.beta1).add_(grad)
            self.model.flat.add_(self.m, alpha=-lr)
            return
        self.m.lerp_(grad, 1.0 - self.beta1)
        self.v.mul_(self.beta2).addcmul_(grad, grad, value=1.0 - self.beta2)
        denominator = (self.v.sqrt() / math.sqrt(1.0 - self.beta2**self.step)).add_(self.eps)
        self.model.flat.addcdiv_(self.m, denominator, value=-lr / (1.0 - self.beta1**self.step))
