"""What an engine's process and the benchmark say to each other: one JSON object a line, on stdin and stdout.

    benchmark                       process
    {"index", "workers", ...}    -> hello, the settings
                                 <- {"here": ...}          what the others need to reach it
    {"everyone": [...]}          ->
    then for each round
    {"round"}                    -> make the input
                                 <- {"made"}
    {"now_ms", "span_ms"}        -> by the benchmark's clock, and how long the exchange may take
                                 <- {"ready": ...}
    {"go": [...]}                -> exchange; holds what each of the others said when ready
                                 <- {"seconds", "whole", ...}
    {"check"}                    -> when all have finished
                                 <- {"digest", "error"}

Nothing but the standard library is used here: an engine may live in an environment of its own.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, TextIO

Message = dict[str, Any]


class Line:
    """The process's end. What libraries print goes to stderr, so that stdout holds messages only."""

    def __init__(self) -> None:
        self._out: TextIO = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)

    def say(self, **message: Any) -> None:
        """Send a message."""
        self._out.write(json.dumps(message) + "\n")

    def hear(self) -> Message:
        """The next message; the process ends with the benchmark."""
        line = sys.stdin.readline()
        if not line:
            os._exit(0)
        heard: Message = json.loads(line)
        return heard
