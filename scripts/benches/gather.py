"""Two published ways of working together that are not the project's own, made after their papers.

SparseLoCo (arXiv 2508.15706): rounds of AdamW steps; of the decayed error feedback plus pseudo-gradient each chunk of
4096 sends its 64 greatest, in 2 bits; the mean of what all sent is the outer step at rate 1, without momentum. DeMo
(arXiv 2411.19870): no optimizer state but a momentum, of which every step the greatest DCT coefficients of each 64 x 64
tile leave for all others; everybody steps along the sign of what all sent. Both send to all. A place counts 12 bits,
values count as they are sent, and frames do not count.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from commonweight.exact.arrays import F32
from commonweight.exact.trace import State
from commonweight.protocol.runconfig import RunConfig
from trainer.inner import InnerOptimizer

CHUNK = 4096
_PLACE_BITS = 12
Batch = Callable[[int, int], NDArray[np.int64]]


class Rule(Protocol):
    """A way of working together that sends to all."""

    def __init__(self, config: RunConfig, members: int, start: State, batch: Batch) -> None: ...

    def train(self, optimizer: InnerOptimizer, steps: int) -> tuple[F32, int, int]:
        """Weights after `steps` steps, the bytes that one member encoded in them, and the number of exchanges."""


class SparseLoCo:
    """Top-64 of each chunk of 4096 in 2 bits, error feedback decayed by 0.95, outer rate 1."""

    TOP, DECAY = 64, 0.95

    def __init__(self, config: RunConfig, members: int, start: State, batch: Batch) -> None:
        self.h = config.training.h
        self.batch = batch
        self.global_ = start.weights.copy()
        self.states = [start] * members
        self.feedback = np.zeros((members, start.weights.size), np.float32)

    def train(self, optimizer: InnerOptimizer, steps: int) -> tuple[F32, int, int]:
        """Rounds of H steps."""
        chunks = -(-self.global_.size // CHUNK)
        encoded = (chunks * self.TOP * (_PLACE_BITS + 2) + 7) // 8 + 4 * chunks
        rounds = range(0, steps, self.h)
        for first in rounds:
            total = np.zeros_like(self.global_)
            for i, state in enumerate(self.states):
                optimizer.load(State(state.step, self.global_, state.m, state.v, state.residual))
                for step in range(first, min(first + self.h, steps)):
                    optimizer.advance(self.batch(step, i))
                self.states[i] = optimizer.state(state.residual)
                self.feedback[i] = np.float32(self.DECAY) * self.feedback[i] + (self.global_ - optimizer.weights())
                sent = self._sent(self.feedback[i])
                self.feedback[i] -= sent
                total += sent
            self.global_ = self.global_ - total / np.float32(len(self.states))
        return self.global_, encoded * len(rounds), len(rounds)

    def _sent(self, x: F32) -> F32:
        """What everybody decodes of a member's vector: per chunk the greatest, as one of two magnitudes and a sign."""
        padded = np.zeros(-(-x.size // CHUNK) * CHUNK, np.float32)
        padded[: x.size] = x
        chunks = padded.reshape(-1, CHUNK)
        places = np.argpartition(-np.abs(chunks), self.TOP - 1, axis=1)[:, : self.TOP]
        kept = np.take_along_axis(chunks, places, axis=1)
        size = np.abs(kept)
        split = size.mean(axis=1, keepdims=True)
        high = size > split
        means = [np.sum(size * side, axis=1) / np.maximum(1, np.sum(side, axis=1)) for side in (high, ~high)]
        values = np.sign(kept) * np.where(high, means[0][:, None], means[1][:, None])
        sent = np.zeros_like(chunks)
        np.put_along_axis(sent, places, values.astype(np.float32), axis=1)
        return sent.reshape(-1)[: x.size]


class DeMo:
    """Momentum 0.999 whose 16 greatest DCT coefficients of each 64 x 64 tile leave every step; signs of the mean."""

    TOP, DECAY, TILE = 16, 0.999, 64
    RATE = 1e-3

    def __init__(self, config: RunConfig, members: int, start: State, batch: Batch) -> None:
        self.batch = batch
        self.weight_decay = float(config.training.inner.weight_decay)
        self.start = start
        self.momentum = torch.zeros(members, start.weights.size)
        n = torch.arange(self.TILE, dtype=torch.float32)
        basis = torch.cos(torch.pi / self.TILE * (n[None, :] + 0.5) * n[:, None]) * (2 / self.TILE) ** 0.5
        basis[0] /= 2**0.5
        self.basis = basis

    def train(self, optimizer: InnerOptimizer, steps: int) -> tuple[F32, int, int]:
        """An exchange every step."""
        optimizer.load(self.start)
        model = optimizer.model
        matrices = [t for t in model.layout.tensors if len(t.shape) > 1]
        tiles = sum(-(-t.shape[0] // self.TILE) * -(-t.shape[1] // self.TILE) for t in matrices)
        tiles += sum(-(-t.numel // CHUNK) for t in model.layout.tensors if len(t.shape) == 1)
        encoded = (tiles * self.TOP * (_PLACE_BITS + 32) + 7) // 8
        for step in range(steps):
            total = torch.zeros_like(model.flat)
            for i in range(len(self.momentum)):
                model.flat_grad.zero_()
                model.loss(torch.from_numpy(self.batch(step, i))).backward()  # type: ignore[no-untyped-call]
                self.momentum[i].mul_(self.DECAY).add_(model.flat_grad)
                for t in model.layout.tensors:
                    piece = self.momentum[i, t.offset : t.stop]
                    sent = self._sent(piece.view(t.shape))
                    piece -= sent.reshape(-1)
                    total[t.offset : t.stop] += sent.reshape(-1)
            with torch.no_grad():
                for t in matrices:
                    model.flat[t.offset : t.stop].mul_(1 - self.RATE * self.weight_decay)
                model.flat.add_(total.sign(), alpha=-self.RATE)
        return model.export_flat(), encoded * steps, steps

    def _sent(self, x: Tensor) -> Tensor:
        """The greatest coefficients of each tile, transformed back; vectors go without transform."""
        if x.dim() == 1:
            return _top(x[None], self.TOP)[0]
        rows, columns = x.shape
        down, right = -rows % self.TILE, -columns % self.TILE
        padded = torch.nn.functional.pad(x, (0, right, 0, down))
        tiles = padded.unfold(0, self.TILE, self.TILE).unfold(1, self.TILE, self.TILE)
        kept = _top((self.basis @ tiles @ self.basis.T).flatten(2), self.TOP).view(tiles.shape)
        back = self.basis.T @ kept @ self.basis
        whole: Tensor = back.permute(0, 2, 1, 3).reshape(padded.shape)[:rows, :columns]
        return whole


def _top(x: Tensor, count: int) -> Tensor:
    """x with all but the greatest `count` of its last dimension set to 0."""
    places = x.abs().topk(min(count, x.shape[-1]), dim=-1).indices
    kept: Tensor = torch.zeros_like(x).scatter_(-1, places, x.gather(-1, places))
    return kept


GATHERED: dict[str, type[Rule]] = {"sparseloco": SparseLoCo, "demo": DeMo}
