"""How honest payloads score, how alike they are, what cheats score: bench-results/scores.json, docs/verification.md.

`python scripts/bench_scores.py` trains members of `nano` from genesis with the real arithmetic, for several H, and at
some rounds scores every payload as a signer does, scores cheats' payloads, and takes cosines. Each H is kept in
bench-results/tmp/scores when it is done, so that it can be stopped and started again; `--again` forgets that.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from benches.block import write_block
from benches.results import ROOT, WORKING, machine, write_result
from rich.console import Console
from rich.progress import Progress

from commonweight.exact.arrays import F32
from commonweight.exact.checkpoint import Checkpoint, genesis_checkpoint
from commonweight.exact.codecs import decode, encode
from commonweight.exact.norms import dot
from commonweight.exact.payload import Payload
from commonweight.exact.round import apply_parts, reduce_part
from commonweight.exact.trace import State
from commonweight.protocol.canonical import Json, JsonObject
from commonweight.protocol.contribution import PrivateScores, Scores, judge
from commonweight.protocol.data import data_seed
from commonweight.protocol.records import Plan, PlanMember
from commonweight.protocol.runconfig import CODECS, RunConfig
from trainer.data import Corpus
from trainer.diloco import payload_of, setting_out
from trainer.inner import InnerOptimizer, configure_torch
from trainer.preparation import prepare
from trainer.scoring import Update, score

DOCUMENT = ROOT / "docs" / "verification.md"
MEMBERS = 3
SETTINGS: Mapping[int, Sequence[int]] = {1: (2, 12, 30), 5: (2, 6, 14), 20: (1, 4)}
"""H -> the rounds at which everything is measured; the last one ends the run."""
TRAINING: JsonObject = {
    "inner": {"optimizer": "adamw"}, "outer": {"lr": "0.7", "momentum": "0.9"}, "codec": "int8", "result_codec": "int8",
    "block": 128, "carry_residual": False,
}  # fmt: skip
CHEATS = ("nothing", "noise", "negated", "other data", "older work", "half the steps")
FIGURES = ("own_gain", "heldout_gain", "lead", "surplus")
_FOLDER = WORKING / "scores"
_ZERO = "0x" + "00" * 32


@dataclass
class Crowd:
    """Members that train one run; `older` are the payloads of the round before, decoded."""

    config: RunConfig
    corpus: Corpus
    checkpoint: Checkpoint
    optimizer: InnerOptimizer
    states: dict[int, State] = field(default_factory=dict)
    older: dict[int, F32] = field(default_factory=dict)
    next_data: int = 0
    train_seconds: float = 0.0

    @classmethod
    def start(cls, h: int, corpus: Corpus, **training: Json) -> Crowd:
        """A fresh run with H inner steps a round and these settings of its training."""
        config = RunConfig.parse({
            "name": "scores", "model": {"preset": "nano", "vocab_size": 256}, "genesis_seed": "0x" + "07" * 32,
            "data": {"manifest_cid": "", "manifest_sha256": corpus.manifest.sha256},
            "training": {"h": h, "trace_every": min(h, 5), **training},
        })  # fmt: skip
        configure_torch(config.training.threads)
        return cls(config, corpus, genesis_checkpoint(config), InnerOptimizer(config))

    def plan(self, number: int) -> Plan:
        """The next round's plan."""
        training = self.config.training
        each = training.h * training.batch
        members = tuple(PlanMember(i, training.h, self.next_data + i * each) for i in range(MEMBERS))
        self.next_data += MEMBERS * each
        reducers = tuple(range(MEMBERS))
        return Plan(
            "0x" + "00" * 20, number, 0, _ZERO, "", self.config.sha256, data_seed(self.config.genesis_seed_bytes),
            members, training.h, 0, training.codec, 1, training.block, MEMBERS, reducers, (*reducers[1:], 0), 2,
            1000, 2000, 3000, 4000, None,
        )  # fmt: skip

    def train(self, plan: Plan, start: int, state: State, steps: int) -> State:
        """The state after `steps` steps on the windows from `start` on."""
        began, training = time.perf_counter(), self.config.training
        self.optimizer.load(setting_out(self.config, self.checkpoint.weights, state, 0, None))
        data = bytes.fromhex(plan.data_seed[2:])
        for step in range(steps):
            self.optimizer.advance(self.corpus.batch(data, start, step, training.batch, training.seq_len))
        self.train_seconds += time.perf_counter() - began
        return self.optimizer.state(state.residual)

    def payload(self, plan: Plan, last: State) -> Payload:
        """What a member sends after its last state."""
        return payload_of(self.config, plan, self.checkpoint.weights, last.weights, last.residual)

    def round(self, plan: Plan) -> tuple[dict[int, State], dict[int, Payload], list[F32]]:
        """Everybody's state before the round and payload, and the canonical parts."""
        size = self.checkpoint.weights.size
        zeros = np.zeros(size, np.float32)
        first, payloads = {}, {}
        for member in plan.members:
            old = self.states.get(member.index, State(0, zeros, zeros, zeros, zeros))
            first[member.index] = State(old.step, self.checkpoint.weights, old.m, old.v, old.residual)
            last = self.train(plan, member.data_start, first[member.index], member.steps)
            made = payloads[member.index] = self.payload(plan, last)
            self.states[member.index] = State(last.step, last.weights, last.m, last.v, made.new_residual)
        tokens = {i: self.config.tokens(plan.h) for i in payloads}
        parts = [
            reduce_part(self.config, plan, size, part, {i: made.parts[part] for i, made in payloads.items()}, tokens).x
            for part in range(MEMBERS)
        ]
        return first, payloads, parts


def main() -> int:
    """Measure what is not measured yet, write, print. Exit code 1 when an honest payload is refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--again", action="store_true", help="forget what was measured before")
    options = parser.parse_args()
    data = _FOLDER / "data"
    if not (data / "manifest.json").exists():
        prepare(None, data)
    corpus = Corpus.open(data)
    found = []
    with Progress(console=Console(stderr=True)) as progress:
        for h, marks in SETTINGS.items():
            place = _FOLDER / f"h{h}.json"
            if options.again or not place.exists():
                task = progress.add_task(f"H = {h}", total=marks[-1])
                entries = []
                for entry in measure(Crowd.start(h, corpus, **TRAINING), marks):
                    progress.advance(task)
                    entries += [entry] if entry else []
                place.write_text(json.dumps(entries))
            found += json.loads(place.read_text())
    body: JsonObject = {"machine": machine(), "members": MEMBERS, "rounds": found}
    path = write_result("scores", body)
    table = tables(found)
    write_block(DOCUMENT, "scores", table)
    print(table)
    print(f"written to {path}")
    return 0 if all(not e["reason"] for entry in found for e in entry["scores"] if e["who"] == "honest") else 1


def measure(crowd: Crowd, marks: Sequence[int]) -> Iterator[JsonObject | None]:
    """A round after the other; what was measured at the marked ones."""
    for number in range(1, marks[-1] + 1):
        plan = crowd.plan(number)
        crowd.train_seconds = 0.0
        first, payloads, parts = crowd.round(plan)
        spent = crowd.train_seconds / MEMBERS
        sent = {i: made.decoded for i, made in payloads.items()}
        yield examine(crowd, plan, first, sent, np.concatenate(parts), spent) if number in marks else None
        crowd.checkpoint, crowd.older = apply_parts(crowd.config, crowd.checkpoint, parts), sent


def examine(
    crowd: Crowd, plan: Plan, first: Mapping[int, State], sent: Mapping[int, F32], reference: F32, spent: float
) -> JsonObject:
    """Scores of honest payloads and of cheats in the place of member 0, cosines, and what a score costs."""
    seed = hashlib.sha256(b"round %d" % plan.round).digest()
    began = time.perf_counter()
    scores = [("honest", scored(crowd, plan, index, payload, reference, seed)) for index, payload in sent.items()]
    cost = (time.perf_counter() - began) / len(sent)
    for name in CHEATS:
        payload = cheat(crowd, plan, first[0], sent[0], name)
        if payload is not None:
            others = reference + (payload - sent[0]) / np.float32(MEMBERS)  # roughly what the round makes of it
            scores.append((name, scored(crowd, plan, 0, payload, others, seed)))
    configure_torch(2)
    again = scored(crowd, plan, 0, sent[0], reference, seed)
    configure_torch(crowd.config.training.threads)
    apart = max(abs(a - b) for (_, a), (_, b) in zip(scores[0][1].named(), again.named(), strict=True))
    rule = crowd.config.verification
    listed: list[Json] = [{"who": who, **dict(found.named()), "reason": judge(found, rule)} for who, found in scores]
    return {
        "h": plan.h, "round": plan.round, "scores": listed, "cosines_bps": alike(crowd, sent),
        "score_ms": round(cost * 1e3), "train_ms": round(spent * 1e3), "threads_apart_micro": apart,
    }  # fmt: skip


def scored(crowd: Crowd, plan: Plan, index: int, payload: F32, reference: F32, seed: bytes) -> Scores | PrivateScores:
    """The scores of a payload in a member's place."""
    update = Update(crowd.checkpoint.weights, payload, reference)
    return score(crowd.optimizer.model, crowd.corpus, crowd.config, plan, index, plan.h, seed, update)


def cheat(crowd: Crowd, plan: Plan, first: State, honest: F32, name: str) -> F32 | None:
    """A payload in the place of member 0's; None where there is none yet."""
    if name == "nothing":
        return np.zeros_like(honest)
    if name == "noise":
        random = np.random.default_rng(plan.round).normal(size=honest.size).astype(np.float32)
        return random * np.float32(np.linalg.norm(honest) / np.linalg.norm(random))
    if name == "negated":
        return -honest
    if name == "older work":
        return crowd.older.get(0)
    start, steps = plan.member(0).data_start, plan.h
    if name == "other data":
        start += 10**6
    else:
        steps //= 2
    return crowd.payload(plan, crowd.train(plan, start, first, steps)).decoded if steps else None


def alike(crowd: Crowd, sent: Mapping[int, F32]) -> JsonObject:
    """The greatest cosines by codec: of two members in a round; of a payload and one of the round before."""
    block = crowd.config.training.block
    result: JsonObject = {}
    for codec in CODECS:
        new = {i: decode(encode(x, codec, block), x.size, codec, block) for i, x in sent.items()}
        old = {i: decode(encode(x, codec, block), x.size, codec, block) for i, x in crowd.older.items()}
        pairs = {
            "round": [(new[i], new[j]) for i in new for j in new if i < j],
            "before": [(new[i], old[j]) for i in new for j in old if i != j],
            "own": [(new[i], old[i]) for i in new if i in old],
        }
        result[codec] = {name: max((cosine_bps(a, b) for a, b in found), default=None) for name, found in pairs.items()}
    return result


def cosine_bps(a: F32, b: F32) -> int:
    """The cosine of two vectors times 10,000; 0 for one of zeros."""
    squares = dot(a, a) * dot(b, b)
    return round(1e4 * dot(a, b) / math.sqrt(squares)) if squares else 0


def tables(found: Sequence[JsonObject]) -> str:
    """Both tables of the document."""
    lines = ["| H | round | who | gain on own windows | on held-out text | lead | surplus | refused |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for entry in cast("Sequence[dict[str, object]]", found):
        scores = cast("list[dict[str, object]]", entry["scores"])
        for who in ("honest", *CHEATS):
            own = [s for s in scores if s["who"] == who]
            if own:
                shown = ["; ".join(_figure(s, name) for s in own) for name in FIGURES]
                refused = f"{sum(bool(s['reason']) for s in own)} of {len(own)}"
                row = [str(entry["h"]), str(entry["round"]), who, *shown, refused]
                lines.append(f"| {' | '.join(row)} |")
    lines += ["", "| H | round | codec | in the round | another's before | its own before |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for entry in cast("Sequence[dict[str, object]]", found):
        for codec, values in cast("dict[str, dict[str, int | None]]", entry["cosines_bps"]).items():
            shown = ["" if v is None else f"{v / 1e4:.3f}" for v in (values["round"], values["before"], values["own"])]
            lines.append(f"| {entry['h']} | {entry['round']} | {codec} | {' | '.join(shown)} |")
    return "\n".join(lines)


def _figure(scores: Mapping[str, object], name: str) -> str:
    noise = cast("int", scores[f"{name.removesuffix('_gain')}_noise_micro"])
    return f"{cast('int', scores[f'{name}_micro']) / 1e6:+.3f} ± {noise / 1e6:.3f}"


if __name__ == "__main__":
    sys.exit(main())
