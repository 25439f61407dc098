"""What verification finds, what it wrongly refuses and what it costs: bench-results/verify.json, docs/verification.md.

`python scripts/bench_verify.py` does the short tier, `--full` the long one (nano for every cheat, more segments, a
longer start). What is done lies in bench-results/tmp/verify, so it can be stopped and started again; `--again` forgets
it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
from bench_scores import TRAINING
from benches import drift, prices
from benches.block import write_block
from benches.cheats import CHEATS, HONEST, Around, Cheat, Deed, Round, do
from benches.court import Court, draw_bytes
from benches.drift import COARSE_WAYS, SOLD, WAYS, Apart, Spread, Way
from benches.prices import MEMBERS, SIGNERS, Budget, Prices, budget, rounds_needed
from benches.results import ROOT, WORKING, machine, write_result
from benches.robust import MODEL, make_plan
from rich.console import Console
from rich.progress import Progress

from commonweight.exact.arrays import F32
from commonweight.exact.genesis import genesis
from commonweight.exact.trace import State
from commonweight.protocol.canonical import Json, JsonObject
from commonweight.protocol.documents import Domain
from commonweight.protocol.draws import draw_round
from commonweight.protocol.modelconfig import PRESETS
from commonweight.protocol.records import sign_body
from commonweight.protocol.runconfig import RunConfig
from trainer.data import Corpus
from trainer.inner import InnerOptimizer, configure_torch
from trainer.preparation import prepare

DOCUMENT = ROOT / "docs" / "verification.md"
GOAL_ROUNDS = 10_000
EPOCH_ROUNDS = 20
DRAWN_EPOCHS = 100
BUDGET = 0.05
_FOLDER = WORKING / "verify"
_KEY, _DOMAIN = bytes(31) + b"\x01", Domain(1, "0x" + "00" * 20)


@dataclass(frozen=True)
class Tier:
    """How much is measured: the model of cheats and drift, steps before what is warm, reference steps per start."""

    name: str
    model: JsonObject
    warm_steps: int
    reference_steps: int
    repeats: int


SHORT = Tier("short", MODEL, 60, 20, 3)
FULL = Tier("full", {"preset": "nano"}, 400, 50, 9)
H, EVERY = 50, 5


@dataclass(frozen=True)
class Row:
    """One cheat: how many of its segments are refused when drawn, by what, and how often that happens."""

    cheat: str
    segments: int
    refused: int
    how: str
    least_rel_l2: str
    round_bps: int
    epoch_bps: int
    tenth_bps: int

    def to_json(self) -> JsonObject:
        """As the results hold it."""
        return {**asdict(self)}


def main() -> int:
    """Measure, write, print. Exit code 1 when a cheat gets through a draw, or honest work does not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the long tier, an hour or more")
    parser.add_argument("--show", action="store_true", help="measure nothing, write what was measured so far")
    parser.add_argument("--again", action="store_true", help="forget what was measured before")
    options = parser.parse_args()
    tier = FULL if options.full else SHORT
    if options.again:
        shutil.rmtree(_FOLDER / tier.name / _sources(), ignore_errors=True)
    bench = Bench(tier, show=options.show)
    ways = (*WAYS, SOLD)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("verify", total=len(CHEATS) + 1 + len(ways) + len(COARSE_WAYS))
        rows = []
        for cheat in (HONEST, *CHEATS):
            with suppress(NotMeasuredError):
                rows.append(bench.row(cheat))
            progress.advance(task)
        apart = {}
        for dtype in ("float32", "bfloat16"):
            for way in ways if dtype == "float32" else COARSE_WAYS:
                with suppress(NotMeasuredError):
                    apart[dtype, way.name] = bench.apart(way, dtype)
                progress.advance(task)
        cost: Prices | None = None
        with suppress(NotMeasuredError):
            cost = bench.prices()
    honest = honest_of(apart)
    body: JsonObject = {
        "machine": machine(), "tier": tier.name, "gpu": "none here: not measured",
        "setting": {
            "model": tier.model, "h": H, "trace_every": EVERY, "members": MEMBERS, "signers": SIGNERS,
            "epoch_rounds": EPOCH_ROUNDS, "rate_bps": 10_000,
        },
        "cheats": [row.to_json() for row in rows], "drift": drift_json(apart), "honest": honest,
        "prices": None if cost is None else cost.to_json(), "compute": [] if cost is None else compute_rows(cost),
        "bytes_per_draw": {
            name: {
                "first": draw_bytes(PRESETS[name].parameters(), exact=False),
                "after": draw_bytes(PRESETS[name].parameters(), exact=True),
            } for name in ("nano", "1B")
        },
    }  # fmt: skip
    write_result("verify", body)
    for name, table in tables(body).items():
        write_block(DOCUMENT, name, table)
        print(f"\n{table}")
    missed = [row.cheat for row in rows if row.cheat != HONEST.name and row.refused == 0]
    wrong = [row.cheat for row in rows if row.cheat == HONEST.name and row.refused]
    print(f"\nnever caught: {missed or 'none'}; honest work refused: {'yes' if wrong else 'no'}")
    return 1 if missed or wrong else 0


class NotMeasuredError(Exception):
    """A figure is not there yet, and nothing is to be measured now."""


class Bench:
    """Measures one tier; what was measured before is read. With `show` nothing else is."""

    def __init__(self, tier: Tier, *, show: bool = False) -> None:
        self.tier = tier
        self.show = show
        self.data = _FOLDER / "data"
        if not (self.data / "manifest.json").exists():
            prepare(None, self.data, max_bytes=2 << 20)
        self.corpus = Corpus.open(self.data)
        self.folder = _FOLDER / tier.name / _sources()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._deeds: dict[str, Deed] = {}

    # --- cheats ------------------------------------------------------------------------------------------------------

    def row(self, cheat: Cheat) -> Row:
        """A cheat's row: done, judged segment by segment, and drawn by the rule that signers draw by."""
        known = self._kept(f"cheat-{_slug(cheat.name)}", lambda: self._judged(cheat))
        false = {int(str(at)) for at in _list(known["refused"])}
        segments = int(str(known["segments"]))
        in_round, in_epoch, tenth = struck(false, segments)
        return Row(
            cheat.name, segments, len(false), str(known["how"]), str(known["least_rel_l2"]), in_round, in_epoch, tenth
        )

    def _judged(self, cheat: Cheat) -> JsonObject:
        round_ = self.round(2)
        folder = self.folder / "members"
        around = Around(
            self._honest(round_, 1) if cheat.needs == "others" else None,
            self._honest(self.round(1), 0) if cheat.needs == "earlier" else None,
        )
        deed = do(round_, 0, cheat, folder / _slug(cheat.name), around)
        found = Court(self.folder / "court", self.data).every(round_, deed)
        refused: list[Json] = [at for at, one in enumerate(found) if one.caught]
        reasons = sorted({f"{one.outcome}: {one.reason}" if one.reason else one.outcome for one in found if one.caught})
        distances = [one.rel_l2 for one in found if one.caught and one.rel_l2 is not None and one.rel_l2 > 0.0]
        shutil.rmtree(folder / _slug(cheat.name))
        return {
            "segments": deed.segments, "refused": refused, "how": "; ".join(reasons),
            "least_rel_l2": f"{min(distances):.1e}" if distances else "",
        }  # fmt: skip

    def _honest(self, round_: Round, index: int) -> Deed:
        key = f"honest-{round_.plan.round}-{index}"
        if key not in self._deeds:
            self._deeds[key] = do(round_, index, HONEST, self.folder / key)
        return self._deeds[key]

    def round(self, number: int, h: int = H, model: JsonObject | None = None) -> Round:
        """A round of MEMBERS members on the weights of a warm start; rounds differ in base and data."""
        config = self.config(model or self.tier.model, h=h, trace_every=EVERY)
        start = self.warm(config) if model is None else State.fresh(genesis(config.model, config.genesis_seed_bytes))
        base: F32 = start.weights * np.float32(1.0 + 1e-6 * number)
        plan = make_plan(config, list(range(MEMBERS)), number, h)
        return Round(config, self.corpus, sign_body(plan, _KEY, _DOMAIN), base)

    # --- drift -------------------------------------------------------------------------------------------------------

    def apart(self, way: Way, dtype: str) -> list[Apart]:
        """How far a way of executing leads from the reference."""
        if dtype == "bfloat16" and way.dtype:
            return []
        known = self._kept(f"drift-{dtype}-{_slug(way.name)}", lambda: {"apart": self._executed(way, dtype)})
        return [Apart(**one) for one in _list(known["apart"])]  # type: ignore[arg-type]

    def _executed(self, way: Way, dtype: str) -> list[Json]:
        config = self.config(self.tier.model, dtype=dtype)
        folder = self.folder / f"drift-{dtype}"
        folder.mkdir(exist_ok=True)
        found = drift.run_way(way, folder, config, self.data, self._references(config, folder))
        return [{**asdict(one)} for one in found]

    def _references(self, config: RunConfig, folder: Path) -> dict[str, list[Path]]:
        """Consecutive states EVERY steps apart, by the kind of start: from random weights, warm, and warm weights with
        a fresh optimizer.
        """
        warm = self.warm(config)
        zeros = np.zeros_like(warm.weights)
        starts = {
            "random weights": State.fresh(genesis(config.model, config.genesis_seed_bytes)),
            "fresh optimizer": State.fresh(warm.weights),
            "warm": State(warm.step, warm.weights, warm.m, warm.v, zeros),
        }
        optimizer, found = None, {}
        for kind, state in starts.items():
            paths = [folder / f"{_slug(kind)}-{at}" for at in range(self.tier.reference_steps // EVERY + 1)]
            found[kind] = paths
            if all(path.exists() for path in paths):
                continue
            configure_torch(config.training.threads)
            optimizer = optimizer or InnerOptimizer(config)
            for path in paths:
                path.write_bytes(state.to_bytes())
                state = drift.execute(optimizer, self.corpus, state, EVERY)
        return found

    # --- prices ------------------------------------------------------------------------------------------------------

    def prices(self) -> Prices:
        """CPU seconds on nano."""

        def measured() -> JsonObject:
            round_ = self.round(1, 4 * EVERY, {"preset": "nano"})
            return {"prices": asdict(prices.measure(round_, self.data, self.folder / "prices", self.tier.repeats))}

        found = self._kept("prices", measured)["prices"]
        return Prices(**found)  # type: ignore[arg-type]

    # --- what all of it needs ----------------------------------------------------------------------------------------

    def config(self, model: JsonObject, *, h: int = H, trace_every: int = EVERY, dtype: str = "float32") -> RunConfig:
        """The run's configuration: training as for the scores, verification that of the defaults."""
        seq_len = min(96, int(str(model.get("max_seq_len", 96))))
        return RunConfig.parse({
            "name": "verify", "model": model, "genesis_seed": "0x" + "51" * 32,
            "data": {"manifest_cid": "", "manifest_sha256": self.corpus.manifest.sha256},
            "training": {
                **TRAINING, "h": h, "trace_every": trace_every, "batch": 8, "seq_len": seq_len, "dtype": dtype
            },
        })  # fmt: skip

    def warm(self, config: RunConfig) -> State:
        """The state after the tier's warm steps of one machine."""
        path = self.folder / f"warm-{config.model.parameters()}-{config.training.dtype}"
        if path.exists():
            return State.from_bytes(path.read_bytes(), config.model.parameters())
        configure_torch(config.training.threads)
        optimizer = InnerOptimizer(config)
        start = State.fresh(genesis(config.model, config.genesis_seed_bytes))
        state = drift.execute(optimizer, self.corpus, start, self.tier.warm_steps)
        path.write_bytes(state.to_bytes())
        return state

    def _kept(self, name: str, make: Callable[[], JsonObject]) -> JsonObject:
        path = self.folder / f"{name}.json"
        if not path.exists():
            if self.show:
                raise NotMeasuredError(name)
            aside = path.with_suffix(".part")
            aside.write_text(json.dumps(make()))
            aside.replace(path)
        found: JsonObject = json.loads(path.read_text())
        return found


# --- figures ---------------------------------------------------------------------------------------------------------


@cache
def _draws(segments: int, rate_bps: int) -> tuple[tuple[frozenset[int], ...], ...]:
    """Segments of member 0 that are drawn, for every round of many epochs, by the rule of the protocol."""
    epochs = []
    for epoch in range(DRAWN_EPOCHS):
        rounds = []
        for number in range(EPOCH_ROUNDS):
            seed = hashlib.sha256(b"verify %d %d" % (epoch, number)).digest()
            drawn = draw_round(seed, number, dict.fromkeys(range(MEMBERS), segments), rate_bps, SIGNERS)
            rounds.append(frozenset(draw.segment for draw in drawn if draw.index == 0))
        epochs.append(tuple(rounds))
    return tuple(epochs)


def struck(false: set[int], segments: int, rate_bps: int = 10_000) -> tuple[int, int, int]:
    """In basis points, a false segment drawn: of rounds, of epochs, of epochs with one cheated round in ten."""
    epochs = _draws(segments, rate_bps)
    hits = [[bool(drawn & false) for drawn in epoch] for epoch in epochs]
    rounds = [hit for epoch in hits for hit in epoch]
    tenth = [any(epoch[at::10]) for epoch in hits for at in range(10)]
    return _bps(rounds), _bps([any(epoch) for epoch in hits]), _bps(tenth)


def _bps(found: Sequence[bool]) -> int:
    return round(10_000 * sum(found) / len(found))


def honest_of(apart: dict[tuple[str, str], list[Apart]]) -> JsonObject:
    """Honest work of EVERY steps that the defaults refuse; `expected_beyond` is where one of GOAL_ROUNDS rounds
    of MEMBERS members is expected, each drawn once, by the worst way and kind of start.
    """
    result: JsonObject = {}
    for dtype in ("float32", "bfloat16"):
        tolerance = tolerance_of(dtype)
        ways = [all_ for (kind, way), all_ in apart.items() if kind == dtype and way != SOLD.name]
        if not ways:
            continue
        short = [[one for one in all_ if one.steps == EVERY] for all_ in ways]
        kinds = sorted({one.start for all_ in short for one in all_})
        groups = [[one for one in all_ if one.start == start] for all_ in short for start in kinds]
        spreads = [Spread.of(group, GOAL_ROUNDS * MEMBERS) for group in groups]
        found = [one.rel_l2 for all_ in short for one in all_]
        beyond = max(spread.beyond for spread in spreads)
        result[dtype] = {
            "comparisons": len(found), "worst": f"{max(found):.1e}", "expected_beyond": f"{beyond:.1e}",
            "tolerance_rel_l2": tolerance, "margin": f"{float(tolerance) / beyond:.1f}",
            "refused": sum(one > float(tolerance) for one in found),
        }  # fmt: skip
    return result


def tolerance_of(dtype: str) -> str:
    """The tolerance of a run with this arithmetic that names none."""
    run: JsonObject = {
        "name": "any", "model": MODEL, "genesis_seed": "0x" + "00" * 32,
        "data": {"manifest_cid": "", "manifest_sha256": "0x" + "00" * 32},
        "training": {"dtype": dtype, "seq_len": 8},
    }  # fmt: skip
    return RunConfig.parse(run).verification.tolerance_rel_l2


def drift_json(apart: dict[tuple[str, str], list[Apart]]) -> list[Json]:
    """Each way, kind of start and length."""
    rows: list[Json] = []
    for (dtype, way), all_ in apart.items():
        for start, steps in dict.fromkeys((one.start, one.steps) for one in all_):
            own = [one for one in all_ if (one.start, one.steps) == (start, steps)]
            spread = Spread.of(own, GOAL_ROUNDS * MEMBERS)
            rows.append({"dtype": dtype, "way": way, "start": start, "steps": steps, **spread.to_json()})
    return rows


def compute_rows(cost: Prices) -> list[Json]:
    """All signers' compute for some shapes of runs, and the epochs that BUDGET pays for."""
    rows: list[Json] = []
    for h, every in ((20, 5), (50, 5), (100, 5), (500, 5), (500, 10)):
        spent: Budget = budget(cost, h, every, EPOCH_ROUNDS)
        rate = min(1.0, spent.rate(BUDGET))
        rows.append({
            "h": h, "trace_every": every, "share_at_every_round_bps": round(10_000 * spent.share(1.0)),
            "fixed_bps": round(10_000 * spent.fixed), "score_bps": round(10_000 * spent.score),
            "draw_bps": round(10_000 * spent.draw), "rate_for_5_percent_bps": round(10_000 * rate),
            "epoch_rounds_for_99_percent": rounds_needed(rate),
        })  # fmt: skip
    return rows


# --- tables ----------------------------------------------------------------------------------------------------------


def tables(body: JsonObject) -> dict[str, str]:
    """The document's tables, by name, as they follow from the results."""
    return {
        "cheats": _table(
            ("cheat", "segments refused when drawn", "least rel. L2", "caught in a round", f"in {EPOCH_ROUNDS} rounds",
             "in 20 rounds, one of ten cheated", "by"),
            [(r["cheat"], f"{r['refused']} of {r['segments']}", r["least_rel_l2"] or "-", _percent(r["round_bps"]),
              _percent(r["epoch_bps"]), _percent(r["tenth_bps"]), r["how"] or "-") for r in _rows(body, "cheats")],
        ),
        "tolerances": _table(
            ("arithmetic", "comparisons of five steps", "worst honest", "expected beyond all but one", "tolerance",
             "tolerance over that", "refused"),
            [(dtype, found["comparisons"], found["worst"], found["expected_beyond"], found["tolerance_rel_l2"],
              found["margin"], found["refused"]) for dtype, found in _objects(body, "honest")],
        ),
        "bytes": _table(
            ("model", "bytes a draw", "after an exact replay"),
            [(name, *(f"{int(str(value)):,}" for value in found.values()))
             for name, found in _objects(body, "bytes_per_draw")],
        ),
        "drift": _table(
            ("arithmetic", "executed by", "start", "steps", "comparisons", "of them exact", "median", "worst"),
            [(r["dtype"], r["way"], r["start"], r["steps"], r["comparisons"], r["exact"], r["median"], r["worst"])
             for r in _rows(body, "drift")],
        ),
        "compute": _table(
            ("steps a round", "steps a segment", "each member drawn each round", "of it recount and evaluation",
             "of it scores", "rate that 5 % pays for", "rounds of an epoch for 99 %"),
            [(r["h"], r["trace_every"], _percent(r["share_at_every_round_bps"]), _percent(r["fixed_bps"]),
              _percent(r["score_bps"]), _percent(r["rate_for_5_percent_bps"]),
              "no length" if r["epoch_rounds_for_99_percent"] is None else r["epoch_rounds_for_99_percent"])
             for r in _rows(body, "compute")],
        ),
    }  # fmt: skip


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return "Not measured yet: `make bench-verify` goes on where it was stopped."
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def _rows(body: JsonObject, name: str) -> list[dict[str, Json]]:
    return [dict(row) for row in _list(body[name]) if isinstance(row, dict)]


def _objects(body: JsonObject, name: str) -> list[tuple[str, dict[str, Json]]]:
    value = body[name]
    return [(key, dict(one)) for key, one in value.items() if isinstance(one, dict)] if isinstance(value, dict) else []


def _percent(bps: Json) -> str:
    return f"{int(str(bps)) / 100:.1f} %"


def _list(value: Json) -> list[Json]:
    if not isinstance(value, list):
        raise TypeError(f"{type(value).__name__} is not a list")
    return value


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)


@cache
def _sources() -> str:
    """A digest of the code that figures follow from: what another version measured is not used."""
    own = [ROOT / "scripts" / "benches" / f"{name}.py" for name in ("cheats", "court", "drift", "prices", "robust")]
    trainer = [ROOT / "trainer" / f"{name}.py" for name in ("diloco", "inner", "model", "replay")]
    hasher = hashlib.sha256()
    for path in sorted([*(ROOT / "commonweight" / "exact").glob("*.py"), *own, *trainer]):
        hasher.update(path.read_bytes())
    return hasher.hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(main())
