"""Muon: momentum steps along matrices that are made orthogonal (K. Jordan and others, 2024; arXiv 2502.16982)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from commonweight.exact.layout import TensorSpec
from commonweight.protocol.runconfig import RunConfig

_A, _B, _C = 3.4445, -4.7750, 2.0315
"""Coefficients of the polynomial that takes singular values from 0 to 1 to about 1 fastest."""
_ITERATIONS = 5
_LENGTH = 0.2
"""Root mean square of an update's elements, at a rate of 1: what AdamW's updates have, so that its rates fit."""

Whole = Callable[[Tensor], Tensor]
"""From a matrix, or this process' rows of it, to what `orthogonal` makes of the whole, or these rows of that."""


def turns(entry: TensorSpec) -> bool:
    """Whether Muon steps this tensor: the matrices between embedding and output. The others take AdamW's steps."""
    return len(entry.shape) == 2 and "embed_tokens" not in entry.name and "lm_head" not in entry.name


def orthogonal(x: Tensor) -> Tensor:
    """About U V^T of x = U S V^T, float32 [rows, columns]: five Newton-Schulz iterations, all in float32, so that a
    replay on another kind of machine comes near.
    """
    tall = x.shape[0] > x.shape[1]
    y: Tensor = x.T if tall else x
    y = y / (torch.linalg.vector_norm(y) + 1e-7)
    for _ in range(_ITERATIONS):
        gram = y @ y.T
        y = _A * y + (_B * gram + _C * gram @ gram) @ y
    result: Tensor = y.T if tall else y
    return result


class Muon:
    """The rule for one matrix at a time. The rate and its warm-up are those of the other tensors."""

    def __init__(self, config: RunConfig) -> None:
        inner = config.training.inner
        self.momentum, self.weight_decay = float(inner.momentum), float(inner.weight_decay)

    def apply(
        self, entry: TensorSpec, lr: float, w: Tensor, m: Tensor, grad: Tensor, whole: Whole = orthogonal
    ) -> None:  # fmt: skip
        """A step on a matrix' weights and momentum along a clipped gradient, in place; each of them with the matrix'
        shape, or all with that of this process' rows.
        """
        m.lerp_(grad, 1.0 - self.momentum)
        update = whole(torch.lerp(grad, m, self.momentum))
        w.mul_(1.0 - lr * self.weight_decay)
        w.add_(update, alpha=-lr * _LENGTH * max(entry.shape) ** 0.5)
