"""How much loss liars cost under each aggregation rule: bench-results/robust.json, and the table of docs/robustness.md.

`python scripts/bench_robust.py` plays what is not played yet; what is done lies in bench-results/tmp/robust, so it can
be stopped and started again. Two processes, one thread each; `--seeds` says how many runs are averaged.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benches.block import write_block
from benches.results import ROOT, WORKING, machine, write_result
from benches.robust import BANNED, HONEST, MEMBERS, MODEL, ROUNDS, START_STEPS, TRAINING, TRIM_BPS, Arena, Case, cases
from rich.console import Console
from rich.progress import Progress

from commonweight.protocol.canonical import JsonObject
from commonweight.protocol.fields import Fields
from commonweight.protocol.runconfig import METHODS
from trainer.preparation import prepare

GOAL_MICRO = 10_000
DOCUMENT = ROOT / "docs" / "robustness.md"
_FOLDER = WORKING / "robust"
_arena: Arena | None = None


def main() -> int:
    """Play, write, print. Exit code 1 when the default rule misses the goal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2, help="runs that are averaged")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--show", action="store_true", help="play nothing, write what was played so far")
    parser.add_argument("--again", action="store_true", help="forget what was played before")
    options = parser.parse_args()
    data = _FOLDER / "data"
    if not (data / "manifest.json").exists():
        prepare(None, data, max_bytes=4 << 20)
    if options.again:
        shutil.rmtree(_FOLDER / _sources(), ignore_errors=True)
    (_FOLDER / _sources()).mkdir(exist_ok=True)
    arena = Arena(_FOLDER)
    for seed in range(options.seeds):
        arena.start(seed)
    wanted = list(cases(options.seeds))
    missing = [case for case in wanted if not options.show and not _place(case).exists()]
    pool = ProcessPoolExecutor(options.processes, multiprocessing.get_context("spawn"))
    with Progress(console=Console(stderr=True)) as progress, pool:
        for _ in progress.track(pool.map(_play, missing), len(missing), description="cases"):
            pass
    played = [case for case in wanted if _place(case).exists()]
    rows = rows_of({case: int(json.loads(_place(case).read_text())["loss_micro"]) for case in played}, options.seeds)
    worst = worst_micro(rows, METHODS[0])
    setting: JsonObject = {
        "members": MEMBERS, "rounds": ROUNDS, "start_steps": START_STEPS, "seeds": options.seeds, "trim_bps": TRIM_BPS,
        "model": MODEL, "training": TRAINING,
    }  # fmt: skip
    body: JsonObject = {
        "machine": machine(), "setting": setting, "worst_micro": worst, "rows": [row.to_json() for row in rows],
    }  # fmt: skip
    write_result("robust", body)
    write_block(DOCUMENT, "robust", table(rows))
    print(table(rows))
    print(f"\nAt worst {METHODS[0]} loses {worst / 1e6:.4f} nats per token; the goal is {GOAL_MICRO / 1e6:.2f}.")
    return 0 if worst <= GOAL_MICRO else 1


def _play(case: Case) -> None:
    """One case, in a process of the pool."""
    global _arena
    parent = multiprocessing.parent_process()
    if parent is None or os.getppid() != parent.pid:
        os._exit(1)  # whoever asked for this was killed
    _arena = _arena or Arena(_FOLDER)
    loss_micro = _arena.play(case)
    aside = _place(case).with_suffix(".part")
    aside.write_text(json.dumps({"loss_micro": loss_micro}))
    aside.replace(_place(case))


def _place(case: Case) -> Path:
    return _FOLDER / _sources() / f"{case.name}.json"


@cache
def _sources() -> str:
    """A digest of the code that a case's loss follows from: what another version played is not used."""
    own = [ROOT / "scripts" / "benches" / name for name in ("attacks.py", "robust.py")]
    hasher = hashlib.sha256()
    inner = [ROOT / "trainer" / name for name in ("inner.py", "muon.py", "model.py")]
    defaults = ROOT / "commonweight" / "protocol" / "runconfig.py"
    for path in sorted([*(ROOT / "commonweight" / "exact").glob("*.py"), *own, *inner, defaults]):
        hasher.update(path.read_bytes())
    return hasher.hexdigest()[:16]


@dataclass(frozen=True)
class Row:
    """One rule under one attack: mean held-out loss over the seeds, and how far each seed lies above its reference."""

    method: str
    attack: str
    attackers: int
    loss_micro: int
    over_micro: tuple[int, ...]

    @property
    def mean_over_micro(self) -> int:
        """The mean over the seeds."""
        return round(sum(self.over_micro) / len(self.over_micro))

    @classmethod
    def read(cls, f: Fields) -> Row:
        """Reads what `to_json` writes."""
        over = tuple(int(str(one)) for one in f.items("over_micro", 1, 1000))
        return cls(f.text("method", 40), f.text("attack", 40), f.integer("attackers"), f.integer("loss_micro"), over)

    def to_json(self) -> JsonObject:
        """As robust.json holds it."""
        return {
            "method": self.method, "attack": self.attack, "attackers": self.attackers, "loss_micro": self.loss_micro,
            "over_micro": list(self.over_micro), "mean_over_micro": self.mean_over_micro,
        }  # fmt: skip


def rows_of(losses: dict[Case, int], seeds: int) -> list[Row]:
    """The rows of all cases that were played with every seed.

    The reference of an attacked case is the plain mean of those who are honest, the attackers banned from the start;
    that of a case without attackers is the plain mean of all.
    """
    rows = []
    for case in (case for case in losses if case.seed == 0):
        each = [Case(case.method, case.attack, case.attackers, seed) for seed in range(seeds)]
        if not all(one in losses for one in each):
            continue
        over = tuple(losses[one] - losses[_reference(one)] for one in each)
        rows.append(Row(case.method, case.attack, case.attackers, sum(losses[one] for one in each) // seeds, over))
    return rows


def _reference(case: Case) -> Case:
    return Case("mean", BANNED if case.attackers else HONEST, case.attackers, case.seed)


def worst_micro(rows: list[Row], method: str) -> int:
    """The most that an attack costs under a rule."""
    return max(row.mean_over_micro for row in rows if row.method == method and row.attack not in (HONEST, BANNED))


def table(rows: list[Row]) -> str:
    """Markdown: nats per token above the reference, by attack and rule."""
    over = {(row.attackers, row.attack, row.method): row.mean_over_micro for row in rows if row.attack != BANNED}
    lines = ["| attackers | attack | " + " | ".join(METHODS) + " |", "| ---: | --- |" + " ---: |" * len(METHODS)]
    for count, attack in sorted(dict.fromkeys(key[:2] for key in over), key=lambda kind: kind[0]):
        found = [over.get((count, attack, method)) for method in METHODS]
        cells = ["not played" if one is None else f"{one / 1e6:+.4f}" for one in found]
        lines.append(f"| {count} | {attack} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
