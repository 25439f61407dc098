"""Muon: momentum steps along matrices that are made orthogonal (K. Jordan and others, 2024; arXiv 2502.16982)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from commonweight.exact.layout import TensorSpec
from commonweight.protocol.runconfig import RunConfig

POLYNOMIALS = ((3.4445, -4.7750, 2.0315),) * 5
"""For each iteration (a, b, c): singular values s from 0 to 1 become a s + b s^3 + c s^5, about 1 in the end."""
_TOGETHER, _ONE_BY_ONE = (2, 3), (1,) * 5
"""How many iterations follow each other on one Gram matrix."""
_LARGE = 256
"""From what size on a product in parts pays."""
_LENGTH = 0.2
"""Root mean square of an update's elements, at a rate of 1: what AdamW's updates have, so that its rates fit."""

Whole = Callable[[Tensor], Tensor]
"""From a matrix, or this process' rows of it, to what `orthogonal` makes of the whole, or these rows of that."""


def turns(entry: TensorSpec) -> bool:
    """Whether Muon steps this tensor: the matrices between embedding and output. The others take AdamW's steps."""
    return len(entry.shape) == 2 and "embed_tokens" not in entry.name and "lm_head" not in entry.name


def orthogonal(x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """About U V^T of x = U S V^T, float32 [rows, columns], by five Newton-Schulz iterations in `dtype`.

    An iteration multiplies y by a polynomial of its Gram matrix G = y y^T. All of these commute, so those of several
    iterations are found on G alone, which is the smaller matrix, and y is multiplied once. That multiplies the error of
    G in the directions that y hardly has, so G is made anew after two iterations: in float32 what is lost then stays
    far below what another kind of machine may differ by. In bfloat16 it is made anew in each.
    """
    tall = x.shape[0] > x.shape[1]
    y: Tensor = x.T if tall else x
    y = (y / (torch.linalg.vector_norm(y) + 1e-7)).to(dtype)
    wide = 2 * y.shape[1] >= 3 * y.shape[0]
    polynomials = iter(POLYNOMIALS)
    for iterations in _TOGETHER if wide and dtype == torch.float32 else _ONE_BY_ONE:
        gram = _symmetric(y, y.T)
        product: Tensor | None = None
        for left in reversed(range(iterations)):
            a, b, c = next(polynomials)
            factor = _symmetric(gram, gram).mul_(c).add_(gram, alpha=b)
            factor.diagonal().add_(a)
            product = factor if product is None else _symmetric(factor, product)
            if left:
                gram = _symmetric(factor, _symmetric(factor, gram))
        assert product is not None
        y = product @ y
    result: Tensor = (y.T if tall else y).to(x.dtype)
    return result


def _symmetric(a: Tensor, b: Tensor) -> Tensor:
    """a b, [n, n], which the caller knows to be symmetric: of a large one a quarter is copied and not computed."""
    n = a.shape[0]
    if n < _LARGE:
        return a @ b
    half = n // 2
    result = a.new_empty(n, n)
    torch.mm(a[:half], b, out=result[:half])
    torch.mm(a[half:], b[:, half:], out=result[half:, half:])
    result[half:, :half] = result[:half, half:].T
    return result


class Muon:
    """The rule for one matrix at a time. The rate and its warm-up are those of the other tensors."""

    def __init__(self, config: RunConfig) -> None:
        inner = config.training.inner
        self.momentum, self.weight_decay = float(inner.momentum), float(inner.weight_decay)
        self._dtype = torch.bfloat16 if config.training.dtype == "bfloat16" else torch.float32

    def orthogonal(self, x: Tensor) -> Tensor:
        """`orthogonal` with the precision of the run."""
        return orthogonal(x, self._dtype)

    def apply(
        self, entry: TensorSpec, lr: float, w: Tensor, m: Tensor, grad: Tensor, whole: Whole | None = None
    ) -> None:  # fmt: skip
        """A step on a matrix' weights and momentum along a clipped gradient, in place; each of them with the matrix'
        shape, or all with that of this process' rows.
        """
        m.lerp_(grad, 1.0 - self.momentum)
        update = (whole or self.orthogonal)(torch.lerp(grad, m, self.momentum))
        w.mul_(1.0 - lr * self.weight_decay)
        w.add_(update, alpha=-lr * _LENGTH * max(entry.shape) ** 0.5)
