"""What the demo runs on: child processes that never outlive it, and a screen that shows phases, progress and tables.

Every child is in a process group of its own, writes to a log file, and is told by the kernel to die with the demo
(PR_SET_PDEATHSIG), so that neither Ctrl-C nor kill -9 of the demo leaves one behind.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from commonweight.chain.local import dying_with_us
from commonweight.errors import CommonweightError

STOP_S = 12.0
POLL_S = 0.2
T = TypeVar("T")


class StageError(CommonweightError):
    """A part of the demo did not do what it should."""


@dataclass(frozen=True)
class Child:
    """One process of the demo."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def tail(self, lines: int = 15) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def kill(self) -> None:
        """SIGKILL to its whole group: it gets no chance to say goodbye."""
        _signal_group(self.process, signal.SIGKILL)
        self.process.wait()


class Processes:
    """All children of the demo; leaving the context ends them, last started first."""

    def __init__(self, directory: Path) -> None:
        self._logs = directory / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._children: list[Child] = []

    def spawn(self, name: str, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> Child:
        """Start `argv` with its output in logs/NAME.log (appended to when the name is used again)."""
        path = self._logs / f"{name}.log"
        with path.open("ab") as log:
            process = subprocess.Popen(
                dying_with_us(argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=None if env is None else dict(env),
                start_new_session=True,
            )
        child = Child(name, process, path)
        self._children.append(child)
        return child

    def stop(self, child: Child) -> int:
        """SIGTERM, then after a while SIGKILL; returns the exit status."""
        _signal_group(child.process, signal.SIGTERM)
        try:
            status = child.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            status = child.process.wait()
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        running = [child for child in reversed(self._children) if child.alive()]
        for child in running:
            _signal_group(child.process, signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        for child in running:
            try:
                child.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    if process.poll() is None:
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            process.poll()


def free_port() -> int:
    """A TCP port on the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def reachable(address: str) -> bool:
    """Whether something accepts connections at host:port."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def run_json(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout_s: float = 120) -> tuple[int, object]:
    """Run a command that prints JSON and wait: (exit status, what it printed).

    Raises StageError if it printed none.
    """
    done = subprocess.run(
        list(argv),
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=timeout_s,
        check=False,
    )
    try:
        return done.returncode, json.loads(done.stdout)
    except ValueError:
        raise StageError(
            f"`{' '.join(argv[1:4])}` printed no JSON (exit status {done.returncode}).",
            done.stderr.decode(errors="replace")[-2000:].strip(),
            "Run it by hand with the same arguments.",
        ) from None


def wait_until(
    what: str, condition: Callable[[], T | None], *, timeout_s: float, watch: Callable[[], None] = lambda: None
) -> T:
    """Poll `condition` until it returns something other than None or False; `watch` may raise in between."""
    deadline = time.monotonic() + timeout_s
    while True:
        watch()
        value = condition()
        if value is not None and value is not False:
            return value
        if time.monotonic() > deadline:
            raise StageError(f"Waited {timeout_s:.0f} s in vain: {what}.", "", "Look into the logs of the processes.")
        time.sleep(POLL_S)


class Screen:
    """Phases with a running clock, progress bars, and tables, on standard output."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
        self._began = time.monotonic()
        self._number = 0

    def elapsed_s(self) -> float:
        """Seconds since the demo began, set-up aside."""
        return time.monotonic() - self._began

    def phase(self, title: str) -> None:
        """Begin a new phase."""
        self._number += 1
        self.console.print()
        self.console.rule(f"[bold]{self._number}. {title}[/bold]  [dim]{self.elapsed_s():.0f} s[/dim]", align="left")

    def say(self, text: str) -> None:
        """One line of what happened."""
        self.console.print(f"  {text}", soft_wrap=True)

    def fail(self, what: str, *details: str) -> None:
        """Say why the demo ends here."""
        self.console.print(f"\n[red]{what}[/red]")
        for detail in filter(None, details):
            self.console.print(detail, markup=False)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None) -> None:
        """A table; columns whose name begins with '>' are aligned to the right."""
        table = Table(title=title, title_justify="left", box=None, padding=(0, 2), header_style="bold", pad_edge=True)
        for column in columns:
            table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        self.console.print(table)

    @contextmanager
    def progress(self, text: str, total: int) -> Iterator[Callable[[int, str], None]]:
        """A progress bar; yields `update(done, text)`."""
        with Progress(
            TextColumn("  "),
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            console=self.console,
            transient=not self.console.is_terminal,
        ) as bar:
            task: TaskID = bar.add_task(text, total=total)

            def update(done: int, description: str) -> None:
                bar.update(task, completed=min(done, total), description=description)

            yield update


def units(amount: int, symbol: str = "ETH", decimals: int = 18) -> str:
    """An exact amount in whole coins, to the smallest unit, with no float on the way."""
    sign, amount = ("-", -amount) if amount < 0 else ("", amount)
    whole, rest = divmod(amount, 10**decimals)
    return f"{sign}{whole}.{rest:0{decimals}d} {symbol}"
