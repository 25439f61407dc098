"""What a way of working together keeps of the gain from one worker to synchronous data parallel, and its traffic.

Four workers train a byte model of 1.3M parameters for 400 steps, from where one of them came in 100. A `Row` says how:
alone; synchronously, averaging gradients each step; or in rounds by the project's own payloads, aggregation and outer
step, with settings as a run's configuration names them. Step t of worker i takes the same windows of text in all rows,
so tokens are equal on all sides. Each inner optimizer has a start and both ends of the gain of its own; its settings
are the same on all sides, those of a new run.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benches.gather import GATHERED
from benches.wire import RoundBytes, gathered_bytes, round_bytes, synchronous_bytes
from commonweight.exact.arrays import F32, array_digest
from commonweight.exact.checkpoint import Checkpoint, genesis_checkpoint
from commonweight.exact.round import apply_parts, reduce_part
from commonweight.exact.trace import State
from commonweight.protocol.canonical import JsonObject
from commonweight.protocol.data import data_seed
from commonweight.protocol.fields import digest_bytes
from commonweight.protocol.records import Plan, PlanMember
from commonweight.protocol.runconfig import RunConfig
from trainer.data import Corpus
from trainer.diloco import payload_of, setting_out, weights_ahead
from trainer.evaluate import heldout_loss_micro
from trainer.inner import InnerOptimizer, configure_torch
from trainer.journal import write_whole

MEMBERS, STEPS, START_STEPS = 4, 400, 100
MODEL: JsonObject = {
    "preset": "custom", "vocab_size": 256, "hidden_size": 160, "intermediate_size": 432, "num_layers": 4,
    "num_heads": 5, "num_kv_heads": 5, "head_dim": 32, "max_seq_len": 96,
}  # fmt: skip
BATCH, SEQ_LEN, HELDOUT_WINDOWS = 8, 96, 1024
ALONE, SYNCHRONOUS = "alone", "synchronous"
_ZERO = "0x" + "00" * 32


@dataclass(frozen=True, eq=False)
class Row:
    """One way of working together. `how` is `alone`, `synchronous`, `rounds`, or the name of a rule of `gather`.

    `inner` names the inner optimizer; `training` are other settings of run.json.
    """

    name: str
    how: str
    training: JsonObject = field(default_factory=dict)
    inner: str = "adamw"

    @property
    def slug(self) -> str:
        """A file name that follows from everything which decides the row's figures, but for the code."""
        told = repr((self.how, self.inner, sorted(self.training.items(), key=str)))
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    @property
    def worker_steps(self) -> int:
        """Inner steps of all workers, in batches of one: what playing it costs."""
        return STEPS if self.how == ALONE else MEMBERS * STEPS


@dataclass(frozen=True)
class Played:
    """A row played with one seed: held-out loss, and the bytes that a worker `sent` and `received` in all 400 steps,
    of both what was `encoded` values alone; `weights` names the bits of the last checkpoint.
    """

    loss_micro: int
    sent: int
    received: int
    encoded: int
    rounds: int
    seconds: float
    weights: str

    def to_json(self) -> JsonObject:
        """All of it; seconds in thousandths."""
        return {
            "loss_micro": self.loss_micro, "sent": self.sent, "received": self.received, "encoded": self.encoded,
            "rounds": self.rounds, "seconds_milli": round(self.seconds * 1000), "weights": self.weights,
        }  # fmt: skip


class Race:
    """Plays rows on the text in `folder`/data; keeps the shared starts in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.corpus = Corpus.open(folder / "data")

    def config(self, row: Row, seed: int) -> RunConfig:
        """The run that a row plays."""
        return RunConfig.parse({
            "name": "loss", "model": MODEL, "genesis_seed": "0x" + hashlib.sha256(b"loss %d" % seed).hexdigest(),
            "data": {"manifest_cid": "", "manifest_sha256": self.corpus.manifest.sha256},
            "training": {
                "inner": {"optimizer": row.inner}, "batch": BATCH, "seq_len": SEQ_LEN, "trace_every": 1, **row.training
            },
            "verification": {"heldout_windows": HELDOUT_WINDOWS},
        })  # fmt: skip

    def play(self, row: Row, seed: int, steps: int = STEPS) -> Played:
        """Train by a row and measure. `steps` is divided into rounds of the row's H."""
        config, began = self.config(row, seed), time.process_time()
        configure_torch(1)
        optimizer, start = InnerOptimizer(config), self.start(row.inner, seed)
        if row.how == ALONE:
            traffic, rounds = RoundBytes(0.0, 0.0, 0.0), 0
            weights = self._together(config, optimizer, start, steps, 1)
        elif row.how == SYNCHRONOUS:
            traffic, rounds = synchronous_bytes(start.weights.size, MEMBERS).times(steps), steps
            weights = self._together(config, optimizer, start, steps, MEMBERS)
        elif row.how == "rounds":
            weights, traffic, rounds = self._rounds(config, optimizer, start, steps)
        else:
            rule = GATHERED[row.how](config, MEMBERS, start, lambda t, i: self.batch(config, t, i))
            weights, encoded, rounds = rule.train(optimizer, steps)
            traffic = gathered_bytes(encoded, MEMBERS)
        optimizer.model.load_flat(weights)
        loss = heldout_loss_micro(optimizer.model, self.corpus, config)[0]
        return Played(
            loss, round(traffic.sent), round(traffic.received), round(traffic.encoded), rounds,
            time.process_time() - began, array_digest(weights),
        )  # fmt: skip

    def batch(self, config: RunConfig, step: int, worker: int) -> NDArray[np.int64]:
        """The tokens of a worker's step, the same in every row."""
        first = (START_STEPS + step * MEMBERS + worker) * BATCH
        return self.corpus.batch(_source(config), first, 0, BATCH, SEQ_LEN)

    def start(self, inner: str, seed: int) -> State:
        """Weights and moments after START_STEPS steps of one worker."""
        config = self.config(Row("", ALONE, inner=inner), seed)
        kept = self.folder / f"start-{seed}-{config.sha256[2:10]}.safetensors"
        if kept.exists():
            return State.from_bytes(kept.read_bytes(), config.model.parameters())
        optimizer, source = InnerOptimizer(config), _source(config)
        optimizer.load(State.fresh(genesis_checkpoint(config).weights))
        for step in range(START_STEPS):
            optimizer.advance(self.corpus.batch(source, step * BATCH, 0, BATCH, SEQ_LEN))
        state = optimizer.state(np.zeros(config.model.parameters(), np.float32))
        write_whole(kept, state.to_bytes())
        return state

    def _together(self, config: RunConfig, optimizer: InnerOptimizer, start: State, steps: int, workers: int) -> F32:
        """One optimizer on the batches of `workers` workers at once, which averages their gradients exactly."""
        optimizer.load(start)
        for step in range(steps):
            optimizer.advance(np.concatenate([self.batch(config, step, i) for i in range(workers)]))
        return optimizer.weights().copy()

    def _rounds(
        self, config: RunConfig, optimizer: InnerOptimizer, start: State, steps: int
    ) -> tuple[F32, RoundBytes, int]:
        """Rounds of H steps by the protocol: weights after the last, all traffic, number of rounds."""
        checkpoint = Checkpoint(start.weights, np.zeros_like(start.weights))
        states = dict.fromkeys(range(MEMBERS), start)
        traffic, number = RoundBytes(0.0, 0.0, 0.0), 0
        for first, length in lengths(steps, config.training.h):
            number += 1
            plan, payloads = make_plan(config, number, length), {}
            base, overlap = checkpoint.weights, config.training.overlap
            for i, state in states.items():
                ahead_of = weights_ahead(base, state.weights) if length > overlap > 0 else None
                begun = state if ahead_of is not None else replace(state, weights=base)
                optimizer.load(setting_out(config, base, begun, 0, ahead_of))
                for step in range(length):
                    if ahead_of is not None and step == overlap:
                        optimizer.load(setting_out(config, base, optimizer.state(state.residual), step, ahead_of))
                    optimizer.advance(self.batch(config, first + step, i))
                last = optimizer.state(state.residual)
                payloads[i] = payload_of(config, plan, base, last.weights, last.residual)
                states[i] = replace(last, residual=payloads[i].new_residual)
            tokens = {i: config.tokens(length) for i in states}
            reduced = [
                reduce_part(config, plan, start.weights.size, part, {i: p.parts[part] for i, p in payloads.items()},
                            tokens)
                for part in range(plan.parts)
            ]  # fmt: skip
            checkpoint = apply_parts(config, checkpoint, [part.x for part in reduced])
            sizes = [[len(part) for part in payloads[i].parts] for i in states]
            traffic = traffic.plus(round_bytes(plan, sizes, [len(part.encoded) for part in reduced]))
        return checkpoint.weights, traffic, number


def _source(config: RunConfig) -> bytes:
    return digest_bytes(data_seed(config.genesis_seed_bytes))


def lengths(steps: int, h: int) -> Iterator[tuple[int, int]]:
    """(first step, steps) of each round; what H leaves over is a shorter last round."""
    return ((first, min(h, steps - first)) for first in range(0, steps, h))


def make_plan(config: RunConfig, number: int, steps: int) -> Plan:
    """The plan of a round in which each member reduces a part, as a coordinator deals them out."""
    training, members = config.training, range(MEMBERS)
    starts = [((number - 1) * MEMBERS + i) * training.h * training.batch for i in members]
    turn = [(number + place) % MEMBERS for place in range(MEMBERS + 1)] if training.topology == "butterfly" else []
    return Plan(
        run="0x" + "00" * 20, round=number, epoch=0, base=_ZERO, base_cid="", config=config.sha256,
        data_seed=data_seed(config.genesis_seed_bytes),
        members=tuple(PlanMember(i, steps, starts[i]) for i in members), h=training.h,
        overlap=0, codec=training.codec,
        codec_version=1, block=training.block, parts=MEMBERS, reducers=tuple(turn[:-1]), backups=tuple(turn[1:]),
        min_members=1, commit_by_ms=1000, anchor_by_ms=2000, exchange_by_ms=3000, record_by_ms=4000,
        previous_record=None,
    )  # fmt: skip


def _rounds(
    name: str, h: int, codecs: tuple[str, str], outer: tuple[str, str], block: int = 128, carry: bool = False,
    overlap: int = 0, topology: str = "butterfly", inner: str = "adamw",
) -> Row:  # fmt: skip
    """A row that run.json can name."""
    training: JsonObject = {
        "h": h, "topology": topology, "codec": codecs[0], "result_codec": codecs[1], "block": block,
        "carry_residual": carry, "outer": {"lr": outer[0], "momentum": outer[1]}, "overlap": overlap,
    }  # fmt: skip
    ahead = f", overlap {overlap}" if overlap else ""
    label = "Muon, " if inner == "muon" else ""
    return Row(f"{label}{name}, H {h}{ahead}, outer {outer[0]}/{outer[1]}", "rounds", training, inner)


def _carried(
    results: str, h: int, outer: tuple[str, str], overlap: int = 0, topology: str = "star", inner: str = "muon"
) -> Row:
    """Signs up, what is reduced down in `results`, and residuals carried."""
    name = f"{topology}: int1 carried, results {results}"
    return _rounds(name, h, ("int1", results), outer, 512, True, overlap, topology, inner)


PUBLISHED, SHORT, CALM = ("0.7", "0.9"), ("0.7", "0.8"), ("1.0", "0.4")
"""Outer rate and momentum: DiLoCo's own, for tens of rounds of AdamW, and for Muon."""
ROWS: tuple[tuple[Row, bool], ...] = (
    (Row("one worker", ALONE), True),
    (Row("synchronous, fp32", SYNCHRONOUS), True),
    (_rounds("DiLoCo as published, fp32", 50, ("fp32", "fp32"), PUBLISHED), False),
    (_rounds("DiLoCo as published, int8", 50, ("int8", "int8"), PUBLISHED), False),
    (Row("SparseLoCo, top 64 of 4096 in 2 bits, H 20", "sparseloco", {"h": 20}), False),
    (Row("DeMo, 16 of 64 x 64, every step", "demo"), False),
    (_rounds("butterfly: int8", 20, ("int8", "int8"), PUBLISHED), False),
    (_rounds("butterfly: int1, results int2", 13, ("int1", "int2"), SHORT, 512), False),
    (_carried("ternary", 11, SHORT, 0, "butterfly", "adamw"), False),
    (_carried("ternary", 13, SHORT, 0, "star", "adamw"), True),
    (Row("Muon, one worker", ALONE, inner="muon"), True),
    (Row("Muon, synchronous, fp32", SYNCHRONOUS, inner="muon"), True),
    (_rounds("butterfly: fp32", 34, ("fp32", "fp32"), CALM, inner="muon"), False),
    (Row("Muon, default of a run", "rounds", inner="muon"), True),
    (_carried("ternary", 13, CALM, 0, "butterfly"), False),
    (_carried("ternary", 58, CALM, 0, "butterfly"), False),
    (_carried("ternary", 7, CALM), True),
    (_carried("ternary", 13, CALM), True),
    (_carried("ternary", 34, CALM), True),
    (_carried("ternary", 34, CALM, 3), False),
    (_carried("ternary", 58, CALM), False),
)
"""Every row of the table, and whether the default tier plays it."""
