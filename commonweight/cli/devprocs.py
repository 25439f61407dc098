"""The processes of `commonweight dev`: started detached, written down at once, and ended by whoever comes next.

The record names each process by its id and by when it began, so that a number that another program has got meanwhile
is never taken for ours. It is written before the next step is done: a kill at any moment leaves nothing that the next
`dev up` or `dev down` does not find.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from commonweight.chain.local import pid_runs, stop_pid
from commonweight.errors import UsageError

RECORD = "dev.json"


@dataclass
class Record:
    """What is known of a development setup: `facts` as they are shown, and the processes by name."""

    place: Path
    facts: dict[str, object] = field(default_factory=dict)
    processes: dict[str, dict[str, object]] = field(default_factory=dict)

    @classmethod
    def read(cls, place: Path) -> Record:
        """The record in a folder; an empty one if there is none, or one that cannot be read."""
        try:
            body = json.loads((place / RECORD).read_text())
            processes = {str(name): dict(entry) for name, entry in body.pop("processes", {}).items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return cls(place)
        return cls(place, body, processes)

    def write(self) -> None:
        """Write it so that a reader sees the old or the new one."""
        temporary = self.place / (RECORD + ".new")
        temporary.write_text(json.dumps({**self.facts, "processes": self.processes}, indent=2) + "\n")
        temporary.replace(self.place / RECORD)

    def note(self, name: str, pid: int) -> None:
        """Write a process down."""
        self.processes[name] = {"pid": pid, "began": _began(pid)}
        self.write()

    def runs(self, name: str) -> bool:
        """Whether this very process still runs."""
        entry = self.processes.get(name, {})
        pid = entry.get("pid")
        return isinstance(pid, int) and pid_runs(pid) and _began(pid) == entry.get("began")

    def stop(self) -> list[str]:
        """End what runs, the chain last, and forget it; returns the names."""
        stopped = [name for name in reversed(self.processes) if self.runs(name)]
        for name in stopped:
            stop_pid(int(str(self.processes[name]["pid"])))
        (self.place / RECORD).unlink(missing_ok=True)
        self.processes.clear()
        return stopped

    def spawn(self, name: str, arguments: Sequence[str], settings: Path, extra: Mapping[str, str]) -> None:
        """Start a command of this program in the background, with its output in logs/NAME.log."""
        logs = self.place / "logs"
        logs.mkdir(exist_ok=True)
        kept = {k: v for k, v in os.environ.items() if not k.startswith("COMMONWEIGHT_")}
        environment = {**kept, "COMMONWEIGHT_CONFIG": str(settings), "OMP_NUM_THREADS": "1", **extra}
        with (logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "commonweight.cli.main", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        self.note(name, process.pid)

    def log_end(self, name: str, lines: int = 5) -> str:
        """The end of a process's log."""
        try:
            text = (self.place / "logs" / f"{name}.log").read_text(errors="replace")
        except OSError:
            return ""
        return " | ".join(text.splitlines()[-lines:])


@contextmanager
def alone(place: Path) -> Iterator[None]:
    """Keep a second `dev up`, `down` or `reset` away from the folder. Raises UsageError if one is at work."""
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"Another `commonweight dev` works in {place}.", "", "Wait until it is done.") from None
        yield


def _began(pid: int) -> str:
    """When a process began, in the kernel's own count; empty where the system does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return ""
