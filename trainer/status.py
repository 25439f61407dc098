"""What a member is doing, one canonical JSON object a line in `status.jsonl`: for operators, the demo and the CLI.

Fields: time_ms, pid, run and index (of the provider), round, phase (join, wait, train, commit, anchor, exchange,
record, paused, show, stopped), step and steps of the round, loss_micro (micro-nats per token, or null), tokens_per_s
(or null), bytes_sent and bytes_received of this process so far, by_method (the same by kind of message), and where they
are known: deadline_ms (Unix, when the phase ends), tokens (counted, in the record), after a record its checkpoint and
whether this member was counted, and refused (a slug) with why (words) for what was not taken. `listeners` hear every
line as it is written. A line for which there is no room on the disk is heard by them alone.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from commonweight.net import PROCESS_TRAFFIC
from commonweight.protocol.canonical import Json, JsonObject, dumps

_log = logging.getLogger("commonweight.trainer")
_ROTATE_BYTES = 64 << 20


class Status:
    """Appends to a status file; lines survive a kill at any moment. A file of 64 MiB is begun anew."""

    def __init__(self, path: Path, run: str, index: int) -> None:
        self.path, self._run, self._index = path, run, index
        path.parent.mkdir(parents=True, exist_ok=True)
        self.listeners: list[Callable[[JsonObject], None]] = []

    def say(
        self,
        phase: str,
        round_: int,
        *,
        step: int = 0,
        steps: int = 0,
        loss: float | None = None,
        tokens_per_s: float | None = None,
        refused: str = "",
        why: str = "",
        **more: Json,
    ) -> None:
        """Write one line; `loss` in nats per token, `refused` and `why` where something was not taken."""
        totals = PROCESS_TRAFFIC.totals()
        line: JsonObject = {
            "time_ms": int(time.time() * 1000),
            "pid": os.getpid(),
            "run": self._run,
            "index": self._index,
            "round": round_,
            "phase": phase,
            "step": step,
            "steps": steps,
            "loss_micro": None if loss is None else round(loss * 1e6),
            "tokens_per_s": None if tokens_per_s is None else round(tokens_per_s),
            "bytes_sent": totals.bytes_sent,
            "bytes_received": totals.bytes_received,
            "by_method": {"sent": {**totals.sent_by_method}, "received": {**totals.received_by_method}},
        }
        line |= more | ({"refused": refused, "why": why} if refused else {})
        try:
            self._append(dumps(line) + b"\n")
        except OSError as problem:
            _log.warning("status: a line is lost: %s", problem)
        for tell in self.listeners:
            try:
                tell(line)
            except Exception:  # noqa: BLE001 - what only shows must not end a round
                _log.exception("a status line could not be shown")

    def _append(self, line: bytes) -> None:
        if self.path.exists() and self.path.stat().st_size > _ROTATE_BYTES:
            self.path.replace(self.path.with_suffix(".old.jsonl"))
        with self.path.open("ab", buffering=0) as stream:
            whole = stream.tell()
            try:
                if stream.write(line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                stream.truncate(whole)
                raise
