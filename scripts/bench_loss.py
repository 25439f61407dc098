"""Loss per byte: the share of the gain from one worker to synchronous training, against the traffic that it takes.

Writes bench-results/loss.json, the tables of docs/traffic.md and docs/images/traffic.svg. Rows and seeds that are not
played yet are played, one thread each; what is done lies in bench-results/tmp/loss, so it can be stopped and started
again. The default tier plays the first seed of the rows marked `first`, as far as twenty minutes go; `--full` plays all
rows with three seeds. What is published of a machine and versions like these stays published until it is played again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import shutil
import sys
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benches.block import write_block
from benches.budget import MINUTES, Budget, add_minutes
from benches.loss import ALONE, BATCH, MEMBERS, MODEL, ROWS, SEQ_LEN, START_STEPS, STEPS, SYNCHRONOUS, Race, Row
from benches.loss_picture import picture
from benches.results import RESULTS, ROOT, WORKING, machine, write_result
from benches.wire import synchronous_bytes
from rich.console import Console
from rich.progress import Progress

from commonweight.protocol.canonical import JsonObject
from commonweight.protocol.fields import Fields
from commonweight.protocol.modelconfig import ModelConfig
from trainer.preparation import prepare

DOCUMENT, PICTURE = ROOT / "docs" / "traffic.md", ROOT / "docs" / "images" / "traffic.svg"
SEEDS = 3
GOALS = ((200, 750), (400, 650), (1000, 500))
"""(times less traffic, thousandths of the gain): what is to be reached."""
_FOLDER = WORKING / "loss"
_race: Race | None = None


def main() -> int:
    """Play, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help=f"all rows, {SEEDS} seeds")
    parser.add_argument("--seeds", type=int, default=None, help="seeds 0, 1, ... of each row")
    parser.add_argument("--seed", type=int, action="append", help="only this one, or these")
    parser.add_argument("--only", action="append", default=[], help="play only rows whose name holds this")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--show", action="store_true", help="play nothing, write what was played so far")
    parser.add_argument("--again", action="store_true", help="forget what was played before")
    add_minutes(parser, "no row begins, nor one that would end later; with --full: never")
    options = parser.parse_args()
    minutes = options.minutes or (None if options.full else MINUTES)
    budget = Budget(minutes)
    if not (_FOLDER / "data" / "manifest.json").exists():
        prepare(None, _FOLDER / "data")
    if options.again:
        shutil.rmtree(_FOLDER / _sources(), ignore_errors=True)
    (_FOLDER / _sources()).mkdir(exist_ok=True)
    seeds = options.seed or range(options.seeds or (SEEDS if options.full else 1))
    wanted = [
        (row, seed)
        for seed in seeds
        for row, first in ROWS
        if (first or options.full) and (not options.only or any(text in row.name for text in options.only))
    ]
    missing = [] if options.show else [each for each in wanted if not _place(*each).exists()]
    race = Race(_FOLDER)
    for inner, seed in sorted({(row.inner, seed) for row, seed in missing}):
        race.start(inner, seed)
    left = _play_all(sorted(missing, key=_turn), options.processes, budget)
    setting: JsonObject = {
        "members": MEMBERS, "steps": STEPS, "start_steps": START_STEPS, "batch": BATCH, "seq_len": SEQ_LEN,
        "model": MODEL, "parameters": _parameters(),
    }  # fmt: skip
    lines = read_lines(_played_so_far({"machine": machine(), "setting": setting}))
    body: JsonObject = {"machine": machine(), "setting": setting, "rows": [line.to_json() for line in lines]}
    write_result("loss", body)
    write_block(DOCUMENT, "loss", table(lines))
    write_block(DOCUMENT, "goals", goals(lines))
    PICTURE.write_text(picture(points(lines), GOALS))
    print(table(lines) + "\n\n" + goals(lines))
    if left:
        names = "; ".join(f"{row.name} (seed {seed})" for row, seed in left)
        print(f"{minutes:g} minutes were too few for {names}. The same command goes on with them.", file=sys.stderr)
    return 0


def _turn(each: tuple[Row, int]) -> tuple[int, bool, bool]:
    """What is played first: without both ends of its optimizer's gain a row says nothing; new runs have Muon."""
    row, seed = each
    return seed, row.inner != "muon", row.how not in (ALONE, SYNCHRONOUS)


def _play_all(rows: list[tuple[Row, int]], processes: int, budget: Budget) -> list[tuple[Row, int]]:
    """Play these in turn while the time suffices, as far as those before tell. Returns those it did not suffice for."""
    waiting, running, pace = deque(rows), dict[Future[float], Row](), 0.0
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"))
    with Progress(console=Console(stderr=True)) as progress, pool:
        task = progress.add_task("rows", total=len(rows))
        while waiting or running:
            while waiting and len(running) < processes and budget.has(pace * waiting[0][0].worker_steps):
                row, seed = waiting.popleft()
                running[pool.submit(_play, row, seed)] = row
            if not running:
                break
            for ended in wait(running, return_when=FIRST_COMPLETED).done:
                pace = max(pace, ended.result() / running.pop(ended).worker_steps)
                progress.advance(task)
    return list(waiting)


def _played_so_far(conditions: JsonObject) -> dict[Row, list[dict[str, int | str]]]:
    """What was played of each row, in ascending seeds: here, or else as published under the same conditions."""
    path = RESULTS / "loss.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    same = all(_alike(known.get(key), conditions[key]) for key in conditions)
    lines = [Line.read(Fields(one, "row")) for one in known["rows"]] if same else []
    published = {line.identity: line.by_seed() for line in lines}
    found = {}
    for row, _ in ROWS:
        seeds = published.get((row.name, row.how, row.inner, repr(row.training)), {})
        for path in (_FOLDER / _sources()).glob("*.json"):
            seed, _, slug = path.stem.partition("-")
            if slug == row.slug:
                seeds[int(seed)] = json.loads(path.read_text())
        found[row] = [seeds[seed] for seed in sorted(seeds)]
    return found


def _alike(one: object, other: object) -> bool:
    """Equal, but for the memory of a machine, which decides no figure here."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {**one, "memory_mib": 0} == {**other, "memory_mib": 0}
    return one == other


def _parameters() -> int:
    return ModelConfig(**MODEL).parameters()  # type: ignore[arg-type]


def _play(row: Row, seed: int) -> float:
    """One row and seed, in a process of the pool. Returns the seconds it took."""
    global _race
    began = time.monotonic()
    parent = multiprocessing.parent_process()
    if parent is None or os.getppid() != parent.pid:
        os._exit(1)  # whoever asked for this was killed
    _race = _race or Race(_FOLDER)
    played = _race.play(row, seed)
    aside = _place(row, seed).with_suffix(".part")
    aside.write_text(json.dumps({"seed": seed, **played.to_json()}))
    aside.replace(_place(row, seed))
    return time.monotonic() - began


def _place(row: Row, seed: int) -> Path:
    return _FOLDER / _sources() / f"{seed}-{row.slug}.json"


@cache
def _sources() -> str:
    """A digest of the code that a row's figures follow from: what another version played is not used."""
    own = [ROOT / "scripts" / "benches" / name for name in ("loss.py", "gather.py", "wire.py")]
    inner = [ROOT / "trainer" / name for name in ("inner.py", "muon.py", "model.py", "evaluate.py")]
    hasher = hashlib.sha256()
    for path in sorted([*(ROOT / "commonweight" / "exact").glob("*.py"), *own, *inner]):
        hasher.update(path.read_bytes())
    return hasher.hexdigest()[:16]


@dataclass(frozen=True)
class Line:
    """A row of the table: what was set, and for each seed in order (seed, loss, share of the gain, bytes).

    Shares are thousandths of the gain from one worker to synchronous training with the same seed, in ascending seeds;
    bytes are those that a worker sends and receives in all 400 steps.
    """

    name: str
    how: str
    inner: str
    training: JsonObject
    seeds: tuple[int, ...]
    loss_micro: tuple[int, ...]
    share_milli: tuple[int, ...]
    sent: int
    received: int
    encoded: int
    rounds: int
    weights: tuple[str, ...]

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """What names the row."""
        return self.name, self.how, self.inner, repr(self.training)

    def by_seed(self) -> dict[int, dict[str, int | str]]:
        """What was played with each seed, as the bench keeps it."""
        both: dict[str, int | str] = {
            "sent": self.sent, "received": self.received, "encoded": self.encoded, "rounds": self.rounds,
        }  # fmt: skip
        return {
            seed: {**both, "seed": seed, "loss_micro": loss, "weights": weights}
            for seed, loss, weights in zip(self.seeds, self.loss_micro, self.weights, strict=True)
        }

    @property
    def mean_milli(self) -> int:
        """Mean share over the seeds, in thousandths."""
        return round(sum(self.share_milli) / len(self.share_milli))

    @property
    def all_bytes(self) -> int:
        """Sent and received."""
        return self.sent + self.received

    @property
    def times_less(self) -> float:
        """How much less that is than what synchronous fp32 training sends and receives."""
        return STEPS * synchronous_bytes(_parameters(), MEMBERS).all / self.all_bytes

    @property
    def times_less_sent(self) -> float:
        """The same of what is sent alone, which most people's links are slower at."""
        return STEPS * synchronous_bytes(_parameters(), MEMBERS).sent / self.sent

    def to_json(self) -> JsonObject:
        """One object a row."""
        return {
            "name": self.name, "how": self.how, "inner": self.inner, "training": self.training,
            "seeds": list(self.seeds), "loss_micro": list(self.loss_micro), "share_milli": list(self.share_milli),
            "sent": self.sent, "received": self.received, "encoded": self.encoded, "rounds": self.rounds,
            "weights": list(self.weights),
        }  # fmt: skip

    @classmethod
    def read(cls, f: Fields) -> Line:
        """Reads what `to_json` writes."""
        training = f.take("training")
        assert isinstance(training, dict)
        line = cls(
            f.text("name", 200), f.text("how", 40), f.text("inner", 40), training, f.integers("seeds", 0, 10**9, 1, 99),
            f.integers("loss_micro", 0, 10**8, 1, 99), f.integers("share_milli", -(10**6), 10**6, 1, 99),
            f.integer("sent"), f.integer("received"), f.integer("encoded"), f.integer("rounds"),
            f.digests("weights", 1, 99),
        )  # fmt: skip
        f.done()
        return line


def read_lines(played: dict[Row, list[dict[str, int | str]]]) -> list[Line]:
    """The lines of all rows that were played with some seed for which both ends of the gain were, too."""
    losses = {
        (row.how, row.inner, one["seed"]): int(one["loss_micro"])
        for row, all_ in played.items() if row.how in (ALONE, SYNCHRONOUS) for one in all_
    }  # fmt: skip
    lines = []
    for row, all_ in played.items():
        known = [one for one in all_ if all((how, row.inner, one["seed"]) in losses for how in (ALONE, SYNCHRONOUS))]
        if not known:
            continue
        shares = []
        for one in known:
            low, high = (losses[how, row.inner, one["seed"]] for how in (ALONE, SYNCHRONOUS))
            shares.append(round(1000 * (low - int(one["loss_micro"])) / (low - high)))
        sent, received, encoded = (max(int(one[key]) for one in known) for key in ("sent", "received", "encoded"))
        lines.append(Line(
            row.name, row.how, row.inner, row.training, tuple(int(one["seed"]) for one in known),
            tuple(int(one["loss_micro"]) for one in known), tuple(shares), sent, received, encoded,
            int(known[0]["rounds"]), tuple(str(one["weights"]) for one in known),
        ))  # fmt: skip
    return lines


def table(lines: list[Line]) -> str:
    """Markdown: settings, traffic, loss and share of the gain, row by row."""
    out = [
        "| method | traffic | of it sent | held-out loss | share of the gain | seeds |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for line in lines:
        factors = ("-", "-")
        if line.all_bytes:
            factors = (f"{line.times_less:.0f}x less", f"{line.times_less_sent:.0f}x less")
        if line.how == SYNCHRONOUS:
            factors = ("1", "1")
        loss = sum(line.loss_micro) / len(line.loss_micro) / 1e6
        low, high = min(line.share_milli) / 10, max(line.share_milli) / 10
        spread = "" if len(line.seeds) == 1 else f" ({low:.1f} to {high:.1f})"
        cells = (line.name, *factors, f"{loss:.4f}", f"{line.mean_milli / 10:.1f} %{spread}", str(len(line.seeds)))
        out.append("| " + " | ".join(cells) + " |")
    return "\n".join(out)


def goals(lines: list[Line]) -> str:
    """Markdown: for each goal the best row that a run's configuration can name, all its bytes counted."""
    out = ["| goal | best row | its traffic | its share | |", "| --- | --- | ---: | ---: | --- |"]
    for times, milli in GOALS:
        fit = [one for one in lines if one.how == "rounds" and one.times_less >= times]
        goal = f"{milli / 10:.0f} % at {times}x"
        if not fit:
            out.append(f"| {goal} | none played | | | not measured |")
            continue
        best = max(fit, key=lambda one: one.mean_milli)
        verdict = "reached" if best.mean_milli >= milli else "not reached"
        cells = (
            goal,
            best.name,
            f"{best.times_less:.0f}x less",
            f"{best.mean_milli / 10:.1f} %",
            verdict,
        )
        out.append("| " + " | ".join(cells) + " |")
    return "\n".join(out)


def points(lines: list[Line]) -> list[tuple[str, float, float, bool]]:
    """What the picture shows: name, times less traffic, share of the gain, and whether it is a run's own setting."""
    return [
        (one.name, one.times_less, one.mean_milli / 1000, one.how == "rounds")
        for one in lines
        if one.all_bytes and one.how != SYNCHRONOUS
    ]


if __name__ == "__main__":
    sys.exit(main())
