"""Server processes without the seconds that each would spend on its imports: one process imports it all and forks.

`python -m tests.launcher MODULE:FUNCTION` imports the module and takes orders on its standard input, one JSON object a
line, answering each by a line: `{"call": ARGUMENT, "log": PATH}` by the id of a new process that calls the function,
`{"poll": PID}` by its exit status or null. A child has no more from it than the imported modules; what it prints goes
into the log. All are killed when the input ends.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Forked:
    """A child of the launcher, in the words of `subprocess.Popen`."""

    launcher: Launcher
    pid: int
    returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self.launcher.order(poll=self.pid)
        return self.returncode

    def wait(self, timeout: float) -> int:
        until = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            time.sleep(0.01)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, as a crash, and wait until it is gone."""
        self.send_signal(signal.SIGKILL)
        self.wait(timeout=10)


class Launcher:
    """The process that forks; it starts with the first order."""

    def __init__(self, function: str) -> None:
        self._function = function
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def start(self, argument: object, log: Path) -> Forked:
        pid = self.order(call=argument, log=str(log))
        assert pid is not None
        return Forked(self, pid)

    def order(self, **words: object) -> int | None:
        with self._lock:
            if self._process is None:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "tests.launcher", self._function], cwd=ROOT, text=True,
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"},
                )  # fmt: skip
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(json.dumps(words) + "\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline())
            return None if answer is None else int(answer)

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate(timeout=30)


def _child(function: Callable[[Any], object], argument: object, log: Path) -> None:
    with log.open("ab") as out, Path(os.devnull).open("rb") as nothing:
        for file, descriptor in ((nothing, 0), (out, 1), (out, 2)):
            os.dup2(file.fileno(), descriptor)
    status = 0
    try:
        function(argument)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main() -> None:
    module, name = sys.argv[1].split(":")
    function = getattr(import_module(module), name)
    assert threading.active_count() == 1, "a child would lack the other threads"
    children: dict[int, int | None] = {}
    for line in iter(sys.stdin.readline, ""):
        order = json.loads(line)
        if "call" in order:
            answer: int | None = os.fork()
            if answer == 0:
                _child(function, order["call"], Path(order["log"]))
            assert answer
            children[answer] = None
        else:
            answer = children[order["poll"]]
            if answer is None:
                pid, status = os.waitpid(order["poll"], os.WNOHANG)
                answer = children[order["poll"]] = os.waitstatus_to_exitcode(status) if pid else None
        print(json.dumps(answer), flush=True)
    for pid, ended in children.items():
        if ended is None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
