"""One round among four local processes, beside gloo and hivemind: bench-results/allreduce.json.

Every engine reduces the same vectors: healthy; with a process killed as the exchange begins; with one frozen. Timed is
the slowest survivor, from the start of the exchange until it holds the decoded mean of the whole vector. What the
engines guarantee differs, and the table says so: whether the survivors held one and the same result, and how far it is
from the exact mean. Rounds of the engines alternate, so that they meet the same machine. Most of the time goes into
processes that start; what twenty minutes do not suffice for is not played.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from itertools import product
from pathlib import Path

from benches.budget import MINUTES, Budget, add_minutes
from benches.engines.lockstep import Message
from benches.engines.team import FROZEN, HEALTHY, KILLED, PATIENCE_S, TIMEOUT_S, WORKERS, Engine, GoneError, Team
from benches.results import ROOT, Figures, machine, publish
from rich.console import Console
from rich.progress import Progress, TaskID

from commonweight.protocol.canonical import JsonObject
from commonweight.protocol.modelconfig import PRESETS

TIMED = ("micro", "25M")
OURS, BESIDE = "commonweight int8", "gloo int8"
"""The two whose times are compared."""
_BRACKETS = re.compile(r"\s*\[[^\]]*\]:?[0-9]*")
_FEWEST = 3
SPANS = 8
"""The plan of a round with a fault gives the exchange this many times what a healthy round took."""
_DIED: Message = {
    "seconds": PATIENCE_S, "sent": 0, "whole": False, "same": False, "error": None, "problem": "died"
}  # fmt: skip

ENGINES = (
    Engine(OURS, "butterfly", "int8", "TLS, signed, checked; any may fail"),
    Engine("commonweight fp32", "butterfly", "fp32", "TLS, signed, checked; any may fail"),
    Engine(BESIDE, "gloo", "int8", "in clear, trusted; none may fail"),
    Engine("gloo fp32", "gloo", "fp32", "in clear, trusted; none may fail"),
    Engine(
        "hivemind fp32", "averager", "fp32", "encrypted, trusted; some may fail",
        ROOT / ".venv-hivemind" / "bin" / "python",
    ),
)  # fmt: skip


def main() -> int:
    """Play, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="healthy rounds of each engine and size")
    parser.add_argument("--faults", type=int, default=1, help="rounds with each fault")
    parser.add_argument("--engine", action="append", help="only these, by name")
    add_minutes(parser, f"no fault is played, and no healthy round after the first {_FEWEST}")
    options = parser.parse_args()
    budget, longest = Budget(options.minutes or MINUTES), 0.0
    console = Console(stderr=True)
    engines = [engine for engine in ENGINES if options.engine is None or engine.name in options.engine]
    missing = [engine.name for engine in engines if not engine.python.exists()]
    if missing:
        console.print(f"Not there: {', '.join(missing)}. `make bench-allreduce` makes the environment.")
    known = [engine for engine in engines if engine.python.exists()]
    rows: dict[tuple[str, str], JsonObject] = {
        (preset, engine.name): {
            "engine": engine.name, "promise": engine.promise, "preset": preset,
            "parameters": PRESETS[preset].parameters(), **({} if engine in known else {"problem": "not installed"}),
        }
        for preset, engine in product(TIMED, engines)
    }  # fmt: skip
    span_ms: dict[tuple[str, str], int] = {}
    total = len(TIMED) * len(known) * (options.rounds + 2 * options.faults)
    with tempfile.TemporaryDirectory() as folder, Progress(console=console) as progress:
        task = progress.add_task("rounds", total=total)
        for number, preset in enumerate(TIMED):
            share = Budget(budget.left_s() / 60 / 2 / (len(TIMED) - number))  # as much is for the faults
            found = _healthy(known, preset, Path(folder), options.rounds, share, progress, task)
            for name, healthy in found.items():
                rows[preset, name][HEALTHY] = healthy
                span_ms[preset, name] = max(1000, SPANS * int(str(healthy["us"])) // 1000)
        for preset, engine, fault in product(TIMED, known, (KILLED, FROZEN)):
            began = time.monotonic()
            if not budget.has(longest):
                console.print(f"No time for {engine.name} at {preset}, {fault}; --minutes gives more.")
                continue
            rows[preset, engine.name][fault] = _faulty(
                engine, preset, Path(folder), fault, span_ms[preset, engine.name], options.faults
            )
            progress.advance(task, options.faults)
            longest = max(longest, time.monotonic() - began)
    setting: JsonObject = {"workers": WORKERS, "rounds": options.rounds, "faults": options.faults, "spans": SPANS,
                           "timeout_s": int(TIMEOUT_S), "threads": 1}  # fmt: skip
    publish("allreduce", table, {"machine": machine(), "setting": setting, "rows": list(rows.values())})
    return 0


def _healthy(
    engines: list[Engine], preset: str, folder: Path, rounds: int, budget: Budget, progress: Progress, task: TaskID
) -> dict[str, JsonObject]:
    """Rounds of all engines in turn: medians by engine. One round of each warms up."""
    played: dict[str, list[Message]] = {engine.name: [] for engine in engines}
    with ExitStack() as stack:
        teams = [
            stack.enter_context(Team(engine, PRESETS[preset], folder / f"{engine.module}-{preset}-{engine.codec}"))
            for engine in engines
        ]
        turn = 0.0
        for number in range(rounds + 1):
            if number > min(_FEWEST, rounds) and not budget.has(turn):
                break
            began = time.monotonic()
            for team in list(teams):
                try:
                    one = team.play()
                except GoneError:  # the others go on without it
                    teams.remove(team)
                    one = dict(_DIED)
                if number or one["problem"]:
                    played[team.engine.name].append(one)
                    progress.advance(task)
            turn = time.monotonic() - began
    found = {name: _summary(ones) for name, ones in played.items()}
    if OURS in found and BESIDE in found:
        found[OURS]["beside_milli"] = round(1000 * statistics.median(
            float(a["seconds"]) / float(b["seconds"]) for a, b in zip(played[OURS], played[BESIDE], strict=False)
        ))  # fmt: skip
    return found


def _faulty(engine: Engine, preset: str, folder: Path, fault: str, span_ms: int, rounds: int) -> JsonObject:
    """Rounds with a fault, each with new processes after one healthy round."""
    played = []
    for number in range(rounds):
        meeting = folder / f"{engine.module}-{preset}-{engine.codec}-{fault.replace(' ', '-')}-{number}"
        with Team(engine, PRESETS[preset], meeting, span_ms=span_ms) as team:
            team.play()
            try:
                played.append(team.play(fault))
            except GoneError:
                played.append(dict(_DIED))
    summary = _summary(played)
    if engine.module == "butterfly":
        summary["deadline_ms"] = span_ms
    return summary


def _summary(rounds: list[Message]) -> JsonObject:
    """Median and fastest time in microseconds, bytes sent by one worker, how many rounds ended with every part and how
    many with one result, and the largest distance from the exact mean of everybody's vector, in millionths of it.
    """
    errors = [float(one["error"]) for one in rounds if one["error"] is not None]
    return {
        "us": round(1e6 * statistics.median(float(one["seconds"]) for one in rounds)),
        "fastest_us": round(1e6 * min(float(one["seconds"]) for one in rounds)),
        "bytes_sent": round(statistics.median(float(one["sent"]) for one in rounds)),
        "whole": sum(bool(one["whole"]) for one in rounds),
        "same": sum(bool(one["same"]) for one in rounds),
        "of": len(rounds),
        "error_ppm": round(1e6 * max(errors)) if errors else None,
        "problem": next((_said(str(one["problem"])) for one in rounds if one["problem"]), None),
    }


def _said(problem: str) -> str:
    """An engine's own words, without the places in its sources and the addresses that some put in brackets."""
    return _BRACKETS.sub("", problem).split(". ")[0].strip(" :.")[:60]


def table(body: Figures) -> str:
    """Markdown: seconds healthy and with each fault, what was sent, and how exact the result is."""
    beside: list[str] = []
    lines = [
        "| parameters | engine | healthy | MB sent | off by | one killed | one frozen | promise |",
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in body["rows"]:
        healthy = row.get(HEALTHY)
        sent, off = str(row.get("problem", "")), ""
        if healthy is not None:
            # hivemind does not say what it sends
            sent = f"{healthy['bytes_sent'] / 1e6:.1f}" if healthy["bytes_sent"] else "-"
            off = "-" if healthy["error_ppm"] is None else f"{healthy['error_ppm'] / 1e6:.4f}"
        faults = (_cell(row[fault]) if fault in row else "not played" for fault in (KILLED, FROZEN))
        cells = (_cell(healthy), sent, off, *faults, row["promise"])
        lines.append(f"| {row['parameters'] / 1e6:.1f}M | {row['engine']} | {' | '.join(cells)} |")
        if healthy is not None and "beside_milli" in healthy:
            beside.append(f"{healthy['beside_milli'] / 1000:.2f} at {row['parameters'] / 1e6:.1f}M")
    if beside:
        what = f"Of {BESIDE}'s time {OURS} takes {' and '.join(beside)} parameters, medians of rounds in turn."
        lines += ["", what]
    return "\n".join(lines)


def _cell(kind: Figures | None) -> str:
    if kind is None:
        return ""
    seconds = f"{kind['us'] / 1e6:.2f} s"
    if kind["problem"]:
        return f"{seconds}, {kind['problem']}"
    return seconds if kind["same"] == kind["of"] else f"{seconds}, same in {kind['same']} of {kind['of']}"


if __name__ == "__main__":
    sys.exit(main())
