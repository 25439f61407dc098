"""The processes of one engine, and a round played in lockstep with them; see lockstep.py for what is said."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Self

from benches.engines.lockstep import Message
from benches.hosts import Place
from benches.results import ROOT
from commonweight.protocol.canonical import JsonObject
from commonweight.protocol.modelconfig import ModelConfig

WORKERS = 4
HEALTHY, KILLED, FROZEN = "healthy", "one killed", "one frozen"
TIMEOUT_S = 10.0
"""After how long gloo and hivemind give a silent process up."""
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Engine:
    """An all-reduce: how its processes are started, and what it promises.

    `codec` is int8 or fp32, and stands for payloads and results; `training`, settings of run.json, says it for ours.
    """

    name: str
    module: str
    codec: str
    promise: str
    python: Path = ROOT / ".venv" / "bin" / "python"
    training: JsonObject = field(default_factory=dict)

    @property
    def settings(self) -> JsonObject:
        """What a run's configuration says of it."""
        return self.training or {"codec": self.codec, "result_codec": self.codec}


class GoneError(Exception):
    """A process ended, or said nothing in time."""


@dataclass
class Process:
    """One worker."""

    child: subprocess.Popen[bytes]
    _rest: bytes = b""

    def say(self, **message: object) -> None:
        """Send a message."""
        assert self.child.stdin is not None
        try:
            self.child.stdin.write(json.dumps(message).encode() + b"\n")
            self.child.stdin.flush()
        except BrokenPipeError:
            raise GoneError from None

    def hear(self, seconds: float = PATIENCE_S) -> Message:
        """The next message. Raises GoneError."""
        assert self.child.stdout is not None
        by = time.monotonic() + seconds
        while b"\n" not in self._rest:
            left = by - time.monotonic()
            if left <= 0 or not select.select([self.child.stdout], [], [], left)[0]:
                raise GoneError
            read = os.read(self.child.stdout.fileno(), 1 << 20)
            if not read:
                raise GoneError
            self._rest += read
        line, _, self._rest = self._rest.partition(b"\n")
        heard: Message = json.loads(line)
        return heard

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and what it has started."""
        os.killpg(self.child.pid, number)


@dataclass
class Team:
    """The processes of one engine, each in its place; with a last place, the office that takes copies of payloads."""

    engine: Engine
    model: ModelConfig
    meeting: Path
    processes: list[Process] = field(default_factory=list)
    span_ms: int = int(PATIENCE_S * 1000)
    round: int = 0
    places: Sequence[Place] = (Place(),) * WORKERS
    office: Process | None = None

    def __enter__(self) -> Self:
        log = (self.meeting.parent / f"{self.engine.module}.log").open("ab")
        self.processes = [self._start(self.engine.module, place, log) for place in self.places[:WORKERS]]
        for index, process in enumerate(self.processes):
            self._greet(process, index)
        everyone = [process.hear()["here"] for process in self.processes]
        if len(self.places) > WORKERS and self.engine.module == "butterfly":
            self.office = self._start("office", self.places[WORKERS], log)
            self._greet(self.office, WORKERS)
            everyone.append(self.office.hear()["here"])
        for process in self.processes:
            process.say(everyone=everyone)
        return self

    def _start(self, module: str, place: Place, log: BinaryIO) -> Process:
        path = os.pathsep.join((str(ROOT), str(ROOT / "scripts")))
        more = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": place.interface}
        return Process(
            subprocess.Popen(
                [*place.prefix, str(self.engine.python), "-m", f"benches.engines.{module}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **more},
                cwd=ROOT,
                start_new_session=True,
            )
        )

    def _greet(self, process: Process, index: int) -> None:
        process.say(
            index=index, workers=WORKERS, model=self.model.to_json(), training=self.engine.settings,
            numel=self.model.parameters(), codec=self.engine.codec, address=self.places[index].address,
            meeting=str(self.meeting), threads=1, timeout_s=TIMEOUT_S,
        )  # fmt: skip

    def __exit__(self, *_: object) -> None:
        for process in (*self.processes, *((self.office,) if self.office else ())):
            with contextlib.suppress(ProcessLookupError):
                process.signal(signal.SIGKILL)
            process.child.wait()

    def play(self, fault: str = HEALTHY) -> Message:
        """One round; the last process is the victim of a fault."""
        self.round += 1
        for process in self.processes:
            process.say(round=self.round)
        for process in self.processes:
            process.hear()
        now_ms = int(time.time() * 1000)
        for process in self.processes:
            process.say(now_ms=now_ms, span_ms=self.span_ms)
        ready = [process.hear()["ready"] for process in self.processes]
        victim, survivors = self.processes[-1], self.processes[: None if fault == HEALTHY else -1]
        if fault == FROZEN:
            victim.signal(signal.SIGSTOP)
        for process in survivors:
            process.say(go=ready)
        if fault == KILLED:
            victim.say(go=ready)
            victim.signal(signal.SIGKILL)
        return _judge(survivors)


def _judge(survivors: Sequence[Process]) -> Message:
    """What the survivors say of a round."""
    done: list[Message] = []
    for process in survivors:
        try:
            done.append(process.hear())
        except GoneError:
            done.append({"seconds": PATIENCE_S, "whole": False, "sent": 0, "problem": "no answer"})
    outcomes: list[Message] = []
    for process, one in zip(survivors, done, strict=True):
        if one.get("problem") is None:
            process.say(check=True)
            outcomes.append(process.hear())
    return {
        "seconds": max(float(one["seconds"]) for one in done),
        "cpu_seconds": max(float(one.get("cpu_seconds", 0.0)) for one in done),
        "sent": statistics.mean(int(one["sent"]) for one in done),
        "whole": all(bool(one["whole"]) for one in done),
        "same": len({one["digest"] for one in outcomes}) == 1 and len(outcomes) == len(done),
        "error": max((float(one["error"]) for one in outcomes), default=None),
        "problem": next((str(one["problem"]) for one in done if one.get("problem")), None),
    }
