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
Windows = NDArray[np.int64]


def token_losses(model: Llama, windows: Windows) -> list[list[float]]:
    """The loss of each token of each window of int64 [n, seq_len + 1], in nats, as the model's float32 has it."""
    found: list[list[float]] = []
    with torch.inference_mode():
        for start in range(0, len(windows), _BATCH):
            tokens = torch.from_numpy(windows[start : start + _BATCH]).to(model.flat.device)
            logits = model(tokens[:, :-1])
            each = functional.cross_entropy(
                logits.reshape(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1), reduction="none"
            )
            found += each.reshape(len(tokens), -1).tolist()
    return found


def windows_loss_micro(model: Llama, windows: Windows) -> int:
    """Mean loss over all tokens of windows, in micro-nats per token, rounded to nearest.

    Losses are float32 per token and summed exactly, so only the model's own arithmetic depends on the machine kind.
    """
    losses = [loss for window in token_losses(model, windows) for loss in window]
    return round(math.fsum(losses) / len(losses) * 1e6)


def heldout_loss_micro(model: Llama, corpus: Corpus, config: RunConfig) -> tuple[int, int]:
    """(micro-nats per token, tokens) on the run's held-out windows."""
    windows = corpus.heldout_windows(config.verification.heldout_windows, config.training.seq_len)
    return windows_loss_micro(model, windows), windows.shape[0] * (windows.shape[1] - 1)
