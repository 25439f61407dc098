"""Rounds of eight members with liars among them: the trainer's own inner steps and the protocol's own aggregation.

A `Case` says how many members attack, how, and by which rule the parts are aggregated. `play` trains it from where one
machine alone came in 400 steps, past the plateau in which any step helps, and gives the held-out loss. Members exchange
encoded parts, error feedback included; a part that does not decode is refused, as between real members, and its sender
is not counted. Nothing here depends on time or threads: a case has one answer on one kind of machine.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benches.attacks import ATTACKS, not_finite
from commonweight.errors import PayloadError
from commonweight.exact.arrays import F32
from commonweight.exact.checkpoint import Checkpoint, genesis_checkpoint
from commonweight.exact.codecs import decode
from commonweight.exact.round import apply_parts, reduce_part
from commonweight.exact.trace import State
from commonweight.protocol.canonical import JsonObject
from commonweight.protocol.data import data_seed
from commonweight.protocol.parts import part_ranges
from commonweight.protocol.records import Plan, PlanMember
from commonweight.protocol.runconfig import METHODS, RunConfig
from trainer.data import Corpus
from trainer.diloco import batch_of, payload_of, setting_out
from trainer.evaluate import heldout_loss_micro
from trainer.inner import InnerOptimizer, configure_torch
from trainer.journal import write_whole

MEMBERS, ROUNDS, START_STEPS, TRIM_BPS = 8, 4, 400, 2500
BANNED, REFUSED, HONEST = "banned", "not finite", "none"
MODEL: JsonObject = {
    "preset": "custom", "vocab_size": 256, "hidden_size": 64, "intermediate_size": 176, "num_layers": 3,
    "num_heads": 4, "num_kv_heads": 4, "head_dim": 16, "max_seq_len": 64,
}  # fmt: skip
TRAINING: JsonObject = {"h": 20, "batch": 8, "seq_len": 64, "trace_every": 5}
_ZERO = "0x" + "00" * 32


@dataclass(frozen=True)
class Case:
    """`attackers` of the members do what `attack` names, or are banned from the start; each seed is another run."""

    method: str
    attack: str
    attackers: int
    seed: int

    @property
    def name(self) -> str:
        """A file name."""
        return f"{self.seed}-{self.method}-{self.attackers}-{self.attack.replace(' ', '_')}"


def cases(seeds: int, counts: tuple[int, ...] = (1, 2)) -> Iterator[Case]:
    """Every case of the table, those that the others are measured against first."""
    for seed in range(seeds):
        yield from (Case("mean", BANNED, count, seed) for count in counts)
        yield from (Case(method, HONEST, 0, seed) for method in METHODS)
        for method, attack, count in itertools.product(METHODS, (*ATTACKS, REFUSED), counts):
            yield Case(method, attack, count, seed)


class Arena:
    """Plays cases, one after the other; the first round's honest work is the same in all of them and done once.

    `folder` holds the prepared text in `data`, and keeps the starts.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.corpus = Corpus.open(folder / "data")
        self._first: dict[tuple[str, int], State] = {}

    def config(self, case: Case) -> RunConfig:
        """The run that a case plays."""
        return RunConfig.parse({
            "name": "robust",
            "model": MODEL,
            "genesis_seed": "0x" + hashlib.sha256(b"robust %d" % case.seed).hexdigest(),
            "data": {"manifest_cid": "", "manifest_sha256": self.corpus.manifest.sha256},
            "training": {**TRAINING, "aggregation": {"method": case.method, "trim_bps": TRIM_BPS}},
            "verification": {"heldout_windows": 1000},
        })  # fmt: skip

    def play(self, case: Case, rounds: int = ROUNDS) -> int:
        """The held-out loss after the last round, in micro-nats per token."""
        config = self.config(case)
        configure_torch(config.training.threads)
        optimizer = InnerOptimizer(config)
        liars = range(MEMBERS - case.attackers, MEMBERS)
        members = [i for i in range(MEMBERS) if i not in liars or case.attack != BANNED]
        start = self.start(case.seed)
        checkpoint = Checkpoint(start.weights, np.zeros_like(start.weights))
        states = dict.fromkeys(members, start)
        for number in range(1, rounds + 1):
            plan = make_plan(config, members, number)
            sent = {}
            for index in members:
                last = self._train(optimizer, plan, index, states[index])
                lie = case.attack if index in liars else HONEST
                sent[index], residual = _send(config, plan, index, checkpoint, last, lie)
                states[index] = State(last.step, checkpoint.weights, last.m, last.v, residual)
            checkpoint = _aggregate(config, plan, checkpoint, sent)
            states = {i: State(s.step, checkpoint.weights, s.m, s.v, s.residual) for i, s in states.items()}
        optimizer.model.load_flat(checkpoint.weights)
        return heldout_loss_micro(optimizer.model, self.corpus, config)[0]

    def start(self, seed: int) -> State:
        """Weights and moments after START_STEPS steps of one machine."""
        config = self.config(Case(METHODS[0], HONEST, 0, seed))
        kept = self.folder / f"start-{seed}-{config.sha256[2:10]}.safetensors"
        if kept.exists():
            return State.from_bytes(kept.read_bytes(), config.model.parameters())
        configure_torch(config.training.threads)
        optimizer = InnerOptimizer(config)
        optimizer.load(State.fresh(genesis_checkpoint(config).weights))
        plan = make_plan(config, [0], 1, START_STEPS)
        for step in range(START_STEPS):
            optimizer.advance(batch_of(config, self.corpus, plan, 0, 0, step))
        state = optimizer.state(np.zeros(config.model.parameters(), np.float32))
        write_whole(kept, state.to_bytes())
        return state

    def _train(self, optimizer: InnerOptimizer, plan: Plan, index: int, start: State) -> State:
        """A member's inner steps of a round."""
        known = (optimizer.config.genesis_seed, index)
        if plan.round == 1 and known in self._first:
            return self._first[known]
        optimizer.load(setting_out(optimizer.config, start.weights, start, 0, None))
        for step in range(plan.member(index).steps):
            optimizer.advance(batch_of(optimizer.config, self.corpus, plan, index, 0, step))
        reached = optimizer.state(start.residual)
        if plan.round == 1:
            self._first[known] = reached
        return reached


def make_plan(config: RunConfig, members: list[int], number: int, steps: int | None = None) -> Plan:
    """A round's plan. Ranges of data and parts are those of all members, whoever is banned: nothing else differs.

    `steps` other than the run's are those of the start, which comes before all rounds.
    """
    training = config.training
    first = START_STEPS * training.batch if steps is None else 0
    starts = {i: first + ((number - 1) * MEMBERS + i) * training.h * training.batch for i in members}
    return Plan(
        run="0x" + "00" * 20, round=number, epoch=0, base=_ZERO, base_cid="", config=config.sha256,
        data_seed=data_seed(config.genesis_seed_bytes),
        members=tuple(PlanMember(i, steps or training.h, starts[i]) for i in members),
        h=training.h, overlap=0, codec=training.codec, codec_version=1, block=training.block, parts=MEMBERS,
        reducers=tuple(members[part % len(members)] for part in range(MEMBERS)),
        backups=tuple(members[(part + 1) % len(members)] for part in range(MEMBERS)),
        min_members=1, commit_by_ms=1000, anchor_by_ms=2000, exchange_by_ms=3000, record_by_ms=4000,
        previous_record=None,
    )  # fmt: skip


def _send(
    config: RunConfig, plan: Plan, index: int, base: Checkpoint, last: State, lie: str
) -> tuple[tuple[bytes, ...], F32]:
    """A member's encoded parts and its new residual; a liar's are those of its lie."""
    local = last.weights
    if lie in ATTACKS:
        local = base.weights - ATTACKS[lie](base.weights - last.weights, plan.round, index)
    payload = payload_of(config, plan, base.weights, local, last.residual)
    parts = tuple(not_finite(part) for part in payload.parts) if lie == REFUSED else payload.parts
    return parts, payload.new_residual


def _aggregate(config: RunConfig, plan: Plan, base: Checkpoint, sent: dict[int, tuple[bytes, ...]]) -> Checkpoint:
    """The next checkpoint, of those whose every part decodes."""
    spans = part_ranges(base.weights.size, plan.block, plan.parts)
    counted = {}
    for index, parts in sent.items():
        try:
            counted[index] = [
                decode(part, at.size, plan.codec, plan.block) for part, at in zip(parts, spans, strict=True)
            ]
        except PayloadError:
            continue
    weights = {index: config.tokens(plan.member(index).steps) for index in counted}
    reduced = [
        reduce_part(config, plan, base.weights.size, part, {i: x[part] for i, x in counted.items()}, weights).x
        for part in range(plan.parts)
    ]
    return apply_parts(config, base, reduced)
