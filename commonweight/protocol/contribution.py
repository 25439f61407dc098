"""Contribution scores: which counted payloads are scored by whom and on which windows, and what the scores decide.

A scored payload is tried on windows of its member's own batches, on random windows and on held-out text; on held-out
text alone where the batches are of shards that nobody else sees. The losses
are real numbers of a real machine; what is published of them is rounded to micro-nats with its own sampling noise, and
everything after that is integers: whoever has the scores has the outcome.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Self

from commonweight.errors import FormatError
from commonweight.protocol.data import permute
from commonweight.protocol.record_documents import Record
from commonweight.protocol.runconfig import Verification

__all__ = [
    "FAR",
    "PrivateScores",
    "ScoreDraw",
    "Scores",
    "judge",
    "leads",
    "least_share",
    "own_offsets",
    "random_key",
    "score_draws",
    "scores_of",
    "tolerances",
]

TAG = b"commonweight.scores.v1"
SIGMAS = 4
SHARE = 8
FAR = 10**12
"""What stands for a loss that is not finite, and for a noise that one window alone has, in micro-nats."""


@dataclass(frozen=True)
class ScoreDraw:
    """The payload of member `index` is scored by signer number `position` (ascending by address)."""

    index: int
    position: int


class _Named:
    """Scores as a verdict holds them: integers by name, `_micro` at the end, ascending."""

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names, ascending."""
        return tuple(sorted(f"{f.name}_micro" for f in fields(cls)))  # type: ignore[arg-type]

    def named(self) -> tuple[tuple[str, int], ...]:
        """The scores as a verdict holds them, ascending by name."""
        return tuple((name, getattr(self, name.removesuffix("_micro"))) for name in self.names())

    @classmethod
    def of(cls, named: Iterable[tuple[str, int]]) -> Self:
        """Reads what `named` gives. Raises FormatError."""
        found = dict(named)
        if set(found) != set(cls.names()):
            raise FormatError("These are no contribution scores", f"they have {sorted(found)}"[:200])
        noises = [value for name, value in found.items() if name.endswith("_noise_micro")]
        if any(abs(value) > 2 * FAR for value in found.values()) or min(noises) < 0:
            raise FormatError("A contribution score is out of range", f"{found}"[:200])
        return cls(**{name.removesuffix("_micro"): value for name, value in found.items()})


@dataclass(frozen=True)
class PrivateScores(_Named):
    """What a payload made of shards that nobody else sees did to the loss on held-out text, in micro-nats per token."""

    heldout_gain: int
    heldout_noise: int


@dataclass(frozen=True)
class Scores(_Named):
    """What a payload did, in micro-nats per token; each figure with its standard error over the windows.

    `own_gain` and `heldout_gain` are by how much the loss falls from the base to base less payload. `lead` is by how
    much more the payload beats the round's canonical update on own windows than on random ones: what all members have
    learned alike, and how hard the texts are, cancels out. `surplus` is by how much its gain on own windows exceeds its
    least share (`least_share`) of that update's gain there.
    """

    own_gain: int
    own_noise: int
    heldout_gain: int
    heldout_noise: int
    lead: int
    lead_noise: int
    surplus: int
    surplus_noise: int


def scores_of(named: Iterable[tuple[str, int]]) -> Scores | PrivateScores:
    """The scores of a verdict, of either kind. Raises FormatError."""
    found = tuple(named)
    return PrivateScores.of(found) if len(found) == len(fields(PrivateScores)) else Scores.of(found)


def score_draws(seed: bytes, record: Record, rule: Verification, signers: int) -> tuple[ScoreDraw, ...]:
    """The counted members of a round that are scored, ascending, each at `contribution_rate_bps`."""
    return tuple(
        ScoreDraw(entry.index, _number(seed, record.round, entry.index, b"turn") % signers)
        for entry in record.counted
        if _number(seed, record.round, entry.index, b"rate") % 10_000 < rule.contribution_rate_bps
    )


def own_offsets(seed: bytes, number: int, index: int, count: int, windows: int) -> list[int]:
    """Which `count` of the `windows` that a member trained on are scored, counted from its `data_start`."""
    key = _digest(seed, number, index, b"own")
    return [permute(key, place, windows) for place in range(min(count, windows))]


def random_key(seed: bytes, number: int, index: int) -> bytes:
    """The data seed of the random windows: they are the first of the sequence that it gives."""
    return _digest(seed, number, index, b"random")


def least_share(steps: int, h: int) -> float:
    """What part of the round's update a payload of `steps` steps has to do on its own windows, at the very least.

    Honest payloads do most of what the update does, slow ones more than their steps' share; noise does nothing of it.
    """
    return steps / (SHARE * h)


def judge(scores: Scores | PrivateScores, rule: Verification) -> str:
    """Why a payload is refused, empty when it is not. A doubt of four standard errors and the margin is in its favour.

    The payload must lower the loss on the member's own windows, by an eighth of what its steps' share of the round's
    update does at the least, and more than on random ones, and not raise it on held-out text. The margin counts where
    the true value may be as small as nothing: for the lead and on held-out text. Where only held-out text can be looked
    at, the payload must lower the loss on it.
    """
    if isinstance(scores, PrivateScores):
        gained = scores.heldout_gain + SIGMAS * scores.heldout_noise > 0
        return "" if gained else "the payload does not lower the loss on held-out text"
    margin = rule.contribution_margin_micro
    if scores.own_gain + SIGMAS * scores.own_noise <= 0:
        return "the payload does not lower the loss on its own batches"
    if scores.surplus + SIGMAS * scores.surplus_noise < 0:
        return "the payload does less than an eighth of its steps' share in the round's update"
    if scores.heldout_gain + SIGMAS * scores.heldout_noise + margin < 0:
        return "the payload raises the loss on held-out text"
    if scores.lead + SIGMAS * scores.lead_noise + margin < 0:
        return "the payload does less for its own batches than for random ones"
    return ""


def tolerances(measured: Scores | PrivateScores, rule: Verification) -> tuple[tuple[str, int], ...]:
    """By how much each figure of an honest score on another machine may lie from what was measured here, by name.

    That is `loss_tolerance_micro`, and a thousandth of the figure or of its standard error, whichever is greater:
    losses of a ruined model are large, and no sum of them is exact to more than a share.
    """
    named = dict(measured.named())
    found = []
    for name, value in named.items():
        stem = name.removesuffix("_micro").removesuffix("_gain").removesuffix("_noise")
        scale = max(abs(value), named[f"{stem}_noise_micro"])
        found.append((name, rule.loss_tolerance_micro + scale // 1000))
    return tuple(found)


def leads(found: Mapping[int, Iterable[Scores]]) -> frozenset[int]:
    """Members whose leads, over eight scored rounds or more, add up to no lead at all: to be replayed more often."""
    summed = {index: [scores.lead for scores in scored] for index, scored in found.items()}
    return frozenset(index for index, values in summed.items() if len(values) >= 8 and sum(values) <= 0)


def _digest(seed: bytes, number: int, index: int, purpose: bytes) -> bytes:
    return hashlib.sha256(TAG + seed + number.to_bytes(8, "big") + index.to_bytes(4, "big") + purpose).digest()


def _number(seed: bytes, number: int, index: int, purpose: bytes) -> int:
    return int.from_bytes(_digest(seed, number, index, purpose)[:8], "big")
