"""The real command line that kills itself at a point: `python -m tests.oracle.crashing FATAL TOLD oracle start ...`.

A point is `before` or `after` a `module:Class.method`. FATAL is a JSON object of points and numbers: at the passage of
that number through any of them the process writes the point down in the file TOLD and ends as by kill -9: nothing is
flushed, closed or told to anybody else.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

POINTS: tuple[str, ...] = tuple(
    f"{moment} {step}"
    for step in (
        # the cycle: watch, collect, verify, agree, submit
        "oracle.service:Service.watch", "oracle.watch:Watcher.apply", "oracle.collect:Collecting._page",
        "oracle.collect:Collecting.anchor_own", "oracle.intake:Intake.accept", "oracle.replaying:Replaying.draw",
        "oracle.replaying:Replaying._show", "oracle.states:States.state", "oracle.replaying:Replaying._replay",
        "oracle.replaying:Replaying._sign",
        "oracle.recount:Recount._recompute", "oracle.recount:Recount._settle", "oracle.evaluating:Evaluating._measure",
        "oracle.agree:Agreement.propose", "oracle.agree:Agreement._fresh", "oracle.agree:Agreement.vote",
        "oracle.agree:Agreement._sign", "oracle.submit:Submitting.report", "oracle.submit:Submitting.perform",
        "oracle.submit:Submitting._send",
        # what is promised and kept
        "oracle.seat:Seat.promise", "oracle.seat:Seat.keep", "oracle.db_core:DatabaseCore.promise",
        # the coordinator's steps
        "oracle.coordinator:Coordinator.facts", "oracle.coordinator:Coordinator._open",
        "oracle.coordinator:Coordinator._decide", "oracle.coordinator:Coordinator._anchor",
        "oracle.coordinator:Coordinator._close", "oracle.closing:Closing.close",
        "oracle.coordinator:Coordinator._anchor_record", "oracle.learning:Learning.learn",
        # what members ask for
        "oracle.api:Api.commit", "oracle.api:Api.payload", "oracle.api:Api.result", "oracle.payloads:Payloads.take",
        # disk and chain
        "oracle.keeping:Keeping._keep", "oracle.db:Database.add_pins", "oracle.rounds:Rounds.lineup",
        "oracle.blobs:Blobs.put", "commonweight.store.folder:FolderStore._write", "oracle.checkpoints:Checkpoints.make",
        "commonweight.chain.sending:Sender._submit", "commonweight.chain.sending:Sender._wait",
    )
    for moment in ("before", "after")
)  # fmt: skip


_DYING = threading.Lock()


def arm(point: str, nth: int, told: Path) -> None:
    """Its `nth` passage through the point is the end of this process."""
    moment, step = point.split(" ")
    module, _, name = step.partition(":")
    owner_name, _, method = name.partition(".")
    owner = getattr(importlib.import_module(module), owner_name)
    passed = 0

    def passage() -> None:
        nonlocal passed
        passed += 1
        if passed == nth:
            with _DYING, told.open("a") as last_words:
                last_words.write(f"{point}\n")
                last_words.flush()
                os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, method, _lethal(getattr(owner, method), moment == "before", passage))


def _lethal(honest: Callable[..., Any], before: bool, passage: Callable[[], None]) -> Callable[..., Any]:
    async def later(*arguments: Any, **named: Any) -> Any:
        if before:
            passage()
        result = await honest(*arguments, **named)
        if not before:
            passage()
        return result

    def now(*arguments: Any, **named: Any) -> Any:
        if before:
            passage()
        result = honest(*arguments, **named)
        if not before:
            passage()
        return result

    return later if inspect.iscoroutinefunction(honest) else now


if __name__ == "__main__":
    fatal, file = json.loads(sys.argv.pop(1)), Path(sys.argv.pop(1))
    for where, number in fatal.items():
        arm(where, number, file)
    from commonweight.cli.main import app

    app()
