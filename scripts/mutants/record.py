"""What is known of each mutant: a JSON line each, appended when it is judged, so that a killed run loses nothing.

A verdict is good for as long as nothing that it rests on has changed: the mutated sources, and the suite that killed
the mutant, or every test for one that survived.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock


@dataclass(frozen=True)
class Judged:
    """One line of the record."""

    id: str
    sources: str
    outcome: str  # killed, survived, stillborn, equivalent, duplicate
    code: str = ""
    tests: str = ""
    killer: str = ""
    seconds: float = 0.0


class Record:
    """The file, and the last line of each mutant."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._by_id: dict[str, Judged] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                try:
                    judged = Judged(**json.loads(line))
                except (ValueError, TypeError):
                    continue  # the line that was being written when the run was killed
                self._by_id[judged.id] = judged
            if not path.read_bytes().endswith(b"\n"):
                with path.open("a") as file:
                    file.write("\n")

    def add(self, judged: Judged) -> None:
        """Append and keep, whatever happens next."""
        with self._lock:
            with self._path.open("a") as file:
                file.write(json.dumps(asdict(judged)) + "\n")
                file.flush()
                os.fsync(file.fileno())
            self._by_id[judged.id] = judged

    def get(self, identity: str) -> Judged | None:
        """The last line of a mutant."""
        return self._by_id.get(identity)

    def all(self) -> list[Judged]:
        """The last line of every mutant."""
        with self._lock:
            return list(self._by_id.values())
