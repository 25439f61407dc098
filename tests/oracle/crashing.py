"""The real command line that kills itself at a point: `python -m tests.oracle.crashing POINT NTH oracle start ...`.

A point is `before` or `after` a `module:Class.method`. At its NTH passage the process ends as by kill -9: nothing is
flushed, closed or told to anybody. With NTH 0 it lives.
"""

from __future__ import annotations

import importlib
import inspect
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

POINTS: tuple[str, ...] = tuple(
    f"{moment} {step}"
    for step in (
        # the cycle: watch, collect, verify, agree, submit
        "oracle.service:Service.watch", "oracle.watch:Watcher.apply", "oracle.collect:Collecting._page",
        "oracle.collect:Collecting.anchor_own", "oracle.intake:Intake.accept", "oracle.replaying:Replaying.draw",
        "oracle.replaying:Replaying._show", "oracle.replaying:Replaying._replay", "oracle.replaying:Replaying._sign",
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
        "oracle.blobs:Blobs.put", "commonweight.store.folder:FolderStore._write", "oracle.checkpoints:Checkpoints.make",
        "commonweight.chain.sending:Sender._submit", "commonweight.chain.sending:Sender._wait",
    )
    for moment in ("before", "after")
)  # fmt: skip


def arm(point: str, nth: int) -> None:
    """From its `nth` passage on, the point is the end of this process."""
    moment, step = point.split(" ")
    module, _, name = step.partition(":")
    owner_name, _, method = name.partition(".")
    owner = getattr(importlib.import_module(module), owner_name)
    setattr(owner, method, _lethal(getattr(owner, method), moment == "before", nth))


def _lethal(honest: Callable[..., Any], before: bool, nth: int) -> Callable[..., Any]:
    passed = 0

    def passage() -> None:
        nonlocal passed
        passed += 1
        if passed == nth:
            os.kill(os.getpid(), signal.SIGKILL)

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
    chosen, number = sys.argv.pop(1), int(sys.argv.pop(1))
    if number:
        arm(chosen, number)
    from commonweight.cli.main import app

    app()
