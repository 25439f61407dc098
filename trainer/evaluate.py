"""Held-out loss in integer micro-nats per token, and the loss on given windows: what every signer computes alike."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from commonweight.protocol.runconfig import RunConfig
from trainer.data import Corpus
from trainer.model import Llama

_BATCH = 16


def windows_loss_micro(model: Llama, windows: NDArray[np.int64]) -> int:
    """Mean loss over all tokens of windows int64 [n, seq_len + 1], in micro-nats per token, rounded to nearest.

    Losses are float32 per token and summed exactly, so only the model's own arithmetic depends on the machine kind.
    """
    losses: list[float] = []
    with torch.inference_mode():
        for start in range(0, len(windows), _BATCH):
            tokens = torch.from_numpy(windows[start : start + _BATCH])
            logits = model(tokens[:, :-1])
            each = functional.cross_entropy(
                logits.reshape(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1), reduction="none"
            )
            losses += each.tolist()
    return round(math.fsum(losses) / len(losses) * 1e6)


def heldout_loss_micro(model: Llama, corpus: Corpus, config: RunConfig) -> tuple[int, int]:
    """(micro-nats per token, tokens) on the run's held-out windows."""
    windows = corpus.heldout_windows(config.verification.heldout_windows, config.training.seq_len)
    return windows_loss_micro(model, windows), windows.shape[0] * (windows.shape[1] - 1)
