"""The share of the time that members spend computing, over the links that people have: bench-results/links.json.

Four members, each in a network namespace of its own behind a shaped link, exchange what a round of `bench-loss` has:
the same model, codecs and H, whose share of the gain stands beside. Ours is the trainer's own exchange with all that
protects it, and each member gives the copy of its payload to a coordinator, through the same link; in a star, it takes
the results from there. Beside it, gloo's fp32 all-reduce after every step: plain data parallel training.

The exchange is timed, on the clock and on the processor; a step is timed alone, on one idle core, since members have
machines of their own. A round of H steps, o of which are taken while the exchange goes on (the row's overlap), takes
max(H steps + processor time of the exchange, (H - o) steps + exchange), and the share is H steps of that: a member has
but one core here, which the exchange takes from the steps. What waits for the chain between the two (commitments,
anchor) follows from the run's deadlines, not from the link, and is not in it; overlapped steps cover it too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benches.engines.team import Engine, GoneError, Team
from benches.hosts import Hosts, Link, LinksError, enter
from benches.loss import MODEL, ROWS
from benches.results import RESULTS, Figures, machine, publish
from rich.console import Console
from rich.progress import Progress

from commonweight.exact.genesis import genesis
from commonweight.exact.trace import State
from commonweight.protocol.canonical import JsonObject
from commonweight.protocol.modelconfig import ModelConfig
from commonweight.protocol.runconfig import RunConfig
from trainer.inner import InnerOptimizer, configure_torch

WORKERS = 4
LINKS = (Link(20, 100), Link(50, 250), Link(200, 1000), Link(20, 100, 20, 1000))
PARALLEL = "data parallel, gloo fp32"
POINTS = (
    "Muon, default of a run",
    "Muon, star: int1 carried, results ternary, H 13, outer 1.0/0.4",
    "Muon, star: int1 carried, results ternary, H 34, outer 1.0/0.4",
    "Muon, star: int1 carried, results ternary, H 34, overlap 3, outer 1.0/0.4",
)
"""Rows of bench-loss, by name."""
_ZERO = "0x" + "00" * 32


@dataclass(frozen=True)
class Way:
    """A way of training together: an engine, the steps between two exchanges, and those taken during one."""

    engine: Engine
    h: int
    overlap: int
    share_milli: int | None


def main() -> int:
    """Play, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="exchanges of each way over each link")
    parser.add_argument("--link", type=int, action="append", help="only these, by Mbit/s up")
    parser.add_argument("--point", action="append", help="only these rows of bench-loss, by name")
    options = parser.parse_args()
    try:
        enter()
        return _measure(
            options.rounds, [link for link in LINKS if not options.link or link.up in options.link],
            _ways(options.point or POINTS),
        )  # fmt: skip
    except LinksError as problem:
        print(f"No hosts can be made here: {problem}", file=sys.stderr)
        return 2


def _ways(points: Sequence[str]) -> list[Way]:
    """Plain data parallel training, and rows of bench-loss."""
    shares = {str(row["name"]): row["share_milli"] for row in json.loads((RESULTS / "loss.json").read_text())["rows"]}
    ways = [Way(Engine(PARALLEL, "gloo", "fp32", ""), 1, 0, 1000)]
    for row, _ in ROWS:
        if row.name in points:
            # as in bench-loss: a base may come in after any step
            training: JsonObject = {"inner": {"optimizer": row.inner}, "trace_every": 1, **row.training}
            config, share = _config(training), shares.get(row.name)
            training["block"] = config.training.block
            engine = Engine(row.name, "butterfly", config.training.codec, "", training=training)
            mean = None if not share else round(statistics.mean(share))
            ways.append(Way(engine, config.training.h, config.training.overlap, mean))
    return ways


def _measure(rounds: int, links: Sequence[Link], ways: Sequence[Way]) -> int:
    model, step_s = ModelConfig(**MODEL), _step_s()  # type: ignore[arg-type]
    rows: list[JsonObject] = []
    with tempfile.TemporaryDirectory() as folder, Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("exchanges", total=len(links) * len(ways) * rounds)
        for number, link in enumerate(links):
            for place, way in enumerate(ways):
                with Hosts(WORKERS, link) as hosts:
                    meeting = Path(folder) / f"{number}-{place}"
                    played = _exchanges(way, model, meeting, hosts, rounds)
                progress.advance(task, rounds)
                rows.append(_row(link, way, played, step_s))
    setting: JsonObject = {
        "workers": WORKERS, "rounds": rounds, "model": MODEL, "parameters": model.parameters(),
        "step_us": round(1e6 * step_s), "threads": 1,
    }  # fmt: skip
    publish("links", table, {"machine": machine(), "setting": setting, "rows": list(rows)})
    return 0


def _exchanges(
    way: Way, model: ModelConfig, meeting: Path, hosts: Hosts, rounds: int
) -> list[tuple[float, float]]:
    """Of each exchange, after one that warms up: seconds until the slowest member holds the mean, and the most
    processor seconds of a member.
    """
    with Team(way.engine, model, meeting, places=hosts.places) as team:
        played = [team.play() for _ in range(rounds + 1)][1:]
    for one in played:
        if one["problem"] or not one["whole"] or not one["same"]:
            raise GoneError(f"{way.engine.name}: {one}")
    return [(float(one["seconds"]), float(one["cpu_seconds"])) for one in played]


def _row(link: Link, way: Way, played: Sequence[tuple[float, float]], step_s: float) -> JsonObject:
    exchange, cpu = (statistics.median(column) for column in zip(*played, strict=True))
    compute = way.h * step_s
    round_s = max(compute + cpu, (way.h - way.overlap) * step_s + exchange)
    return {
        "link": link.name, "up_mbit": link.up, "down_mbit": link.down, "delay_ms": link.delay_ms,
        "loss_ppm": link.loss_ppm, "way": way.engine.name, "training": way.engine.settings, "h": way.h,
        "overlap": way.overlap, "gain_share_milli": way.share_milli, "exchange_us": round(1e6 * exchange),
        "exchange_cpu_us": round(1e6 * cpu), "computing_milli": round(1000 * compute / round_s),
    }  # fmt: skip


def _config(training: JsonObject) -> RunConfig:
    return RunConfig.parse({
        "name": "links", "model": MODEL, "genesis_seed": _ZERO, "data": {"manifest_cid": "", "manifest_sha256": _ZERO},
        "training": {"batch": 8, "seq_len": 96, **training},
    })  # fmt: skip


def _step_s() -> float:
    """Seconds of an inner step on one core, the fastest of some: what else runs here is not the member's."""
    configure_torch(1)
    config = _config({})
    optimizer, times = InnerOptimizer(config), list[float]()
    optimizer.load(State.fresh(genesis(config.model, config.genesis_seed_bytes)))
    batch = np.random.default_rng(0).integers(0, 256, (config.training.batch, config.training.seq_len + 1))
    for _ in range(30):
        began = time.perf_counter()
        optimizer.advance(batch)
        times.append(time.perf_counter() - began)
    return min(times)


def table(body: Figures) -> str:
    """Markdown: for each link and way the exchange and what it leaves of the time."""
    lines = [
        "| link | way | H | overlap | of the gain | exchange | of the processor | computing |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in body["rows"]:
        gain = "not measured" if row["gain_share_milli"] is None else f"{row['gain_share_milli'] / 10:.1f} %"
        times = " | ".join(f"{row[name] / 1e6:.2f} s" for name in ("exchange_us", "exchange_cpu_us"))
        lines.append(
            f"| {row['link']} | {row['way']} | {row['h']} | {row['overlap'] or '-'} | {gain} | {times} "
            f"| {row['computing_milli'] / 10:.1f} % |"
        )
    return "\n".join([*lines, "", f"An inner step alone takes {body['setting']['step_us'] / 1e6:.3f} s."])


if __name__ == "__main__":
    sys.exit(main())
