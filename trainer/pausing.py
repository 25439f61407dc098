"""A provider's pause: a file in its data directory that says until when its process takes part in no round.

Whoever lends the machine writes it (`commonweight provider pause`), the process follows it: it ends its inner steps at
the next trace boundary, finishes the round, tells the signers that it goes, and joins again by itself. A process that
is started while a pause holds rests at once. Nothing is lost, and what it owes to checks it goes on answering.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

NAME = "pause.json"


def paused_until(folder: Path) -> float:
    """Until when a pause holds, Unix seconds; `math.inf` for one without an end, 0.0 when there is none."""
    try:
        until = json.loads((folder / NAME).read_text())["until_s"]
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0
    if until is None:
        return math.inf
    return float(until) if isinstance(until, int) else 0.0


def pause(folder: Path, until_s: int | None) -> None:
    """Begin a pause that holds until `until_s` (None: until `resume`), or change the one that holds."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / (NAME + ".new")
    with temporary.open("w") as file:
        json.dump({"until_s": until_s}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / NAME)


def resume(folder: Path) -> None:
    """End a pause; without one nothing happens."""
    (folder / NAME).unlink(missing_ok=True)
