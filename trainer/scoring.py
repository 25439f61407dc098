"""What a payload did: losses before and after it, on its member's own batches, on random ones and on held-out text.

The windows are those that `commonweight.protocol.contribution` draws. A window's loss is the exact mean of float32
losses of its tokens, so that only the model's own arithmetic depends on the kind of machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from commonweight.exact.arrays import F32
from commonweight.protocol.contribution import FAR, PrivateScores, Scores, least_share, own_offsets, random_key
from commonweight.protocol.records import Plan
from commonweight.protocol.runconfig import RunConfig
from trainer.data import Corpus
from trainer.evaluate import Windows, token_losses
from trainer.model import Llama


@dataclass(frozen=True, eq=False)
class Update:
    """A change of the base weights, float32 [N]: what is subtracted from them."""

    base: F32
    payload: F32
    reference: F32


def score(
    model: Llama, corpus: Corpus, config: RunConfig, plan: Plan, index: int, steps: int, seed: bytes, update: Update
) -> Scores | PrivateScores:
    """The scores of a member's payload after `steps` inner steps, beside the round's canonical update as reference.

    On private shards only what the payload does to held-out text can be looked at.
    """
    if config.private:
        return score_heldout(model, corpus, config, update)
    training, count = config.training, config.verification.contribution_windows
    start = plan.member(index).data_start
    drawn = own_offsets(seed, plan.round, index, count, steps * training.batch)
    data = bytes.fromhex(plan.data_seed.removeprefix("0x"))
    own = np.concatenate([corpus.batch(data, start + offset, 0, 1, training.seq_len) for offset in drawn])
    random = corpus.batch(random_key(seed, plan.round, index), 0, 0, count, training.seq_len)
    held = corpus.heldout_windows(count, training.seq_len)
    with np.errstate(over="ignore", invalid="ignore"):
        after, reference = update.base - update.payload, update.base - update.reference
    model.load_flat(after)
    own_after, random_after, held_after = (window_losses(model, at) for at in (own, random, held))
    model.load_flat(reference)
    own_reference = window_losses(model, own)
    own_lead = _less(own_reference, own_after)
    random_lead = _less(window_losses(model, random), random_after)
    model.load_flat(update.base)
    own_before = window_losses(model, own)
    own_gains = _less(own_before, own_after)
    least = least_share(steps, plan.h)
    surplus = [gain - least * of for gain, of in zip(own_gains, _less(own_before, own_reference), strict=True)]
    held_gains = _less(window_losses(model, held), held_after)
    noise2 = _noise(own_lead) ** 2 + _noise(random_lead) ** 2
    return Scores(
        _micro(_mean(own_gains)), _micro(_noise(own_gains)), _micro(_mean(held_gains)), _micro(_noise(held_gains)),
        _micro(_mean(own_lead) - _mean(random_lead)), _micro(math.sqrt(noise2)), _micro(_mean(surplus)),
        _micro(_noise(surplus)),
    )  # fmt: skip


def score_heldout(model: Llama, corpus: Corpus, config: RunConfig, update: Update) -> PrivateScores:
    """The scores of a payload whose own batches nobody else can look at."""
    held = corpus.heldout_windows(config.verification.contribution_windows, config.training.seq_len)
    with np.errstate(over="ignore", invalid="ignore"):
        model.load_flat(update.base - update.payload)
    after = window_losses(model, held)
    model.load_flat(update.base)
    gains = _less(window_losses(model, held), after)
    return PrivateScores(_micro(_mean(gains)), _micro(_noise(gains)))


def window_losses(model: Llama, windows: Windows) -> list[float]:
    """The mean loss of each window of int64 [n, seq_len + 1], in nats per token; infinite where it is not a number."""
    return [
        math.fsum(losses) / len(losses) if all(map(math.isfinite, losses)) else math.inf
        for losses in token_losses(model, windows)
    ]


def _less(before: Sequence[float], after: Sequence[float]) -> list[float]:
    """By how much each loss falls; what is not finite counts as a million nats."""
    return [min(a, 1e6) - min(b, 1e6) for a, b in zip(before, after, strict=True)]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _noise(values: Sequence[float]) -> float:
    """The standard error of the mean; of a single value it is beyond all bounds."""
    if len(values) < 2:
        return FAR / 1e6
    mean = _mean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))


def _micro(nats: float) -> int:
    return round(min(max(nats * 1e6, -FAR), FAR))
