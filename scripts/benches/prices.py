"""What verification costs in CPU time, beside the training that it verifies; and which epochs a budget pays for."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benches.cheats import HONEST, Round, do
from benches.court import Court
from commonweight.exact.arrays import array_digest
from commonweight.exact.checkpoint import Checkpoint
from commonweight.exact.layout import Layout
from commonweight.exact.round import apply_parts, reduce_part
from commonweight.protocol.canonical import Json, JsonObject
from commonweight.protocol.records import Plan
from trainer.inner import InnerOptimizer, configure_torch

SIGNERS, MEMBERS = 3, 8


@dataclass(frozen=True)
class Prices:
    """CPU seconds: an inner step; a drawn segment of `segment_steps` steps; scoring a payload; recomputing a round of
    MEMBERS members, for one signer; measuring a checkpoint's held-out loss.
    """

    step: float
    segment: float
    segment_steps: int
    score: float
    recount: float
    evaluate: float

    def to_json(self) -> JsonObject:
        """In microseconds."""
        return {
            "inner_step_us": round(1e6 * self.step), "draw_us": round(1e6 * self.segment),
            "draw_steps": self.segment_steps, "score_us": round(1e6 * self.score),
            "recount_of_a_round_us": round(1e6 * self.recount), "evaluate_us": round(1e6 * self.evaluate),
        }  # fmt: skip


@dataclass(frozen=True)
class Budget:
    """What all signers together spend, as shares of the members' training: per draw a member and round, per score, and
    what each round costs whatever is drawn.
    """

    draw: float
    score: float
    fixed: float

    def share(self, rate: float, scores: float = 1.0) -> float:
        """All of it when members are drawn at `rate` a round and scored `scores` times."""
        return self.fixed + scores * self.score + rate * self.draw

    def rate(self, share: float, scores: float = 1.0) -> float:
        """The rate of draws a member and round that a share pays for; 0 when the rest uses it up."""
        return max(0.0, (share - self.fixed - scores * self.score) / self.draw)


def budget(prices: Prices, h: int, trace_every: int, rounds: int) -> Budget:
    """The budget of runs of `h` steps a round and `trace_every` steps a segment, `rounds` rounds an epoch.

    A draw costs its steps and, whatever they are, the handling of its states; each signer recomputes every round and
    measures one checkpoint an epoch.
    """
    training = h * prices.step
    handling = max(0.0, prices.segment - prices.segment_steps * prices.step)
    draw = (trace_every * prices.step + handling) / training
    recount = SIGNERS * prices.recount / MEMBERS / training
    evaluate = SIGNERS * prices.evaluate / (rounds * MEMBERS) / training
    return Budget(draw, prices.score / training, recount + evaluate)


def rounds_needed(rate: float, false_share: float = 0.1, caught: float = 0.99) -> int | None:
    """Rounds until one of the draws has struck a false segment with this chance; None when nothing is drawn."""
    return None if rate <= 0.0 else math.ceil(math.log(1.0 - caught) / math.log(1.0 - min(rate, 1.0) * false_share))


def measure(round_: Round, data: Path, folder: Path, repeats: int) -> Prices:
    """Measure on this machine, the median of `repeats`, CPU time of all threads."""
    config = round_.config
    configure_torch(config.training.threads)
    optimizer = InnerOptimizer(config)
    batch = np.zeros((config.training.batch, config.training.seq_len + 1), np.int64)
    shutil.rmtree(folder, ignore_errors=True)
    court, deed = Court(folder / "court", data), do(round_, 0, HONEST, folder / "member")
    parts: list[Json] = [court.put(f"part-{n}", part) for n, part in enumerate(deed.parts)]
    base = court.weights(round_)

    def score() -> None:
        asked: JsonObject = {"op": "contribution", "index": 0, "steps": deed.commitment.steps, "seed": "00" * 32}
        court.ask(round_, {**asked, "plan": court.plan(round_), "base": base, "parts": parts, "results": parts})

    def evaluate() -> None:
        court.ask(round_, {"op": "evaluate", "weights": base})

    return Prices(
        _median(lambda: optimizer.advance(batch), 4 * repeats), _median(lambda: court.replay(round_, deed, 1), repeats),
        config.training.trace_every, _median(score, repeats),
        _median(lambda: _recount(round_, deed.parts), repeats), _median(evaluate, repeats),
    )  # fmt: skip


def _recount(round_: Round, parts: Sequence[bytes]) -> None:
    """What a signer recomputes of a round: every part of every member, the checkpoint and its files."""
    config, plan = round_.config, _of_all(round_.plan)
    tokens = {index: config.tokens(plan.member(index).steps) for index in plan.indices}
    reduced = [
        reduce_part(config, plan, round_.base.size, part, dict.fromkeys(plan.indices, parts[part]), tokens).x
        for part in range(plan.parts)
    ]
    after = apply_parts(config, Checkpoint(round_.base, np.zeros_like(round_.base)), reduced)
    after.to_files(Layout.from_model(config.model))
    array_digest(after.weights)


def _of_all(plan: Plan) -> Plan:
    if len(plan.indices) != MEMBERS:
        raise ValueError(f"prices are of {MEMBERS} members, not of {len(plan.indices)}")
    return plan


def _median(action: Callable[[], object], repeats: int) -> float:
    action()
    times = []
    for _ in range(repeats):
        started = time.process_time()
        action()
        times.append(time.process_time() - started)
    return sorted(times)[len(times) // 2]
