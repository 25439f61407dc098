"""One round among four local processes, beside gloo and hivemind: bench-results/allreduce.json.

Every engine reduces the same vectors: healthy; with a process killed as the exchange begins; with one frozen. Timed is
the slowest survivor, from the start of the exchange until it holds the decoded mean of the whole vector. What the
engines guarantee differs, and the table says so: whether the survivors held one and the same result, and how far it is
from the exact mean. Rounds of the engines alternate, so that they meet the same machine. Without options it takes
some eighteen minutes, most of it for processes to start.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

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
    options = parser.parse_args()
    console = Console(stderr=True)
    engines = [engine for engine in ENGINES if options.engine is None or engine.name in options.engine]
    missing = [engine.name for engine in engines if not engine.python.exists()]
    if missing:
        console.print(f"Not there: {', '.join(missing)}. `make bench-allreduce` makes the environment.")
    rows: list[JsonObject] = []
    total = len(TIMED) * len(engines) * (options.rounds + 2 * options.faults)
    with tempfile.TemporaryDirectory() as folder, Progress(console=console) as progress:
        task = progress.add_task("rounds", total=total)
        for preset in TIMED:
            healthy = _healthy(
                [e for e in engines if e.python.exists()], preset, Path(folder), options.rounds, progress, task
            )
            for engine in engines:
                row: JsonObject = {"engine": engine.name, "promise": engine.promise, "preset": preset,
                                   "parameters": PRESETS[preset].parameters()}  # fmt: skip
                rows.append(row)
                if engine.name not in healthy:
                    row["problem"] = "not installed"
                    continue
                row[HEALTHY] = healthy[engine.name]
                span_ms = max(1000, SPANS * int(str(healthy[engine.name]["us"])) // 1000)
                for fault in (KILLED, FROZEN):
                    row[fault] = _faulty(engine, preset, Path(folder), fault, span_ms, options.faults)
                    progress.advance(task, options.faults)
    setting: JsonObject = {"workers": WORKERS, "rounds": options.rounds, "faults": options.faults, "spans": SPANS,
                           "timeout_s": int(TIMEOUT_S), "threads": 1}  # fmt: skip
    publish("allreduce", table, {"machine": machine(), "setting": setting, "rows": list(rows)})
    return 0


def _healthy(
    engines: list[Engine], preset: str, folder: Path, rounds: int, progress: Progress, task: TaskID
) -> dict[str, JsonObject]:
    """Rounds of all engines in turn: medians by engine. One round of each warms up."""
    played: dict[str, list[Message]] = {engine.name: [] for engine in engines}
    with ExitStack() as stack:
        teams = [
            stack.enter_context(Team(engine, PRESETS[preset], folder / f"{engine.module}-{preset}-{engine.codec}"))
            for engine in engines
        ]
        for number in range(rounds + 1):
            for team in list(teams):
                try:
                    one = team.play()
                except GoneError:  # the others go on without it
                    teams.remove(team)
                    one = dict(_DIED)
                if number or one["problem"]:
                    played[team.engine.name].append(one)
                    progress.advance(task)
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
        cells = (_cell(healthy), sent, off, _cell(row.get(KILLED)), _cell(row.get(FROZEN)), row["promise"])
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
