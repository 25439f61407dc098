"""All output of the command line: results on stdout, everything else on stderr.

With `--json` a result is one JSON object alone on stdout, and so is an error. Progress bars appear on stderr when that
is a terminal; without one, each step is a line.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Timer
from typing import TYPE_CHECKING, Protocol

from commonweight.errors import CommonweightError

if TYPE_CHECKING:
    from rich.console import Console

    from commonweight.checks import Finding

Row = Sequence[object]
_LONG_WORD = 12
_BETWEEN = 3  # columns between two words of neighbours
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Report(Protocol):
    """Tells how far a step has come; total 0 means unknown."""

    def __call__(self, name: str, done: int, total: int) -> None:
        """Step `name` has done `done` of `total`."""


class Output:
    """Where a command's words go."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def result(
        self, body: Mapping[str, object], *, title: str = "", rows: Sequence[tuple[str, object]] | None = None
    ) -> None:
        """The command's result: `body` as JSON, or `rows` (default: the body's own) as name and value lines."""
        if self.as_json:
            _print_json(body)
            return
        console = _stdout()
        if title:
            console.print(readable(title), style="bold", highlight=False, markup=False)
        shown = list(body.items()) if rows is None else list(rows)
        width = max((len(str(name)) for name, _ in shown), default=0)
        for name, value in shown:
            console.print(
                f"  {str(name).replace('_', ' '):<{width}}  {_text(value)}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )

    def table(
        self,
        body: Mapping[str, object],
        columns: Sequence[str],
        rows: Sequence[Row],
        *,
        title: str = "",
        empty: str = "None.",
    ) -> None:
        """A result of many rows: `body` as JSON, or a table."""
        if self.as_json:
            _print_json(body)
            return
        console = _stdout()
        if not rows:
            console.print(empty, highlight=False, markup=False)
            return
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        cells = [[_text(cell) for cell in row] for row in rows]
        if _needed(columns, cells) > console.width:
            _row_by_row(console, title, columns, cells)
            return
        table = Table(*columns, title=readable(title) or None, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        for column in table.columns:
            column.overflow = "fold"
        for row in cells:
            table.add_row(*row)
        console.print(table, highlight=False, markup=False)

    def findings(self, findings: Sequence[Finding]) -> None:
        """What a doctor found. Ends the command: with 0 if nothing is wrong, else with 1."""
        import typer

        passed = all(f.ok for f in findings)
        body = {"ok": passed, "findings": [{"ok": f.ok, "what": f.what, "why": f.why, "fix": f.fix} for f in findings]}
        rows = [["ok" if f.ok else "wrong", f.what, f.why, "" if f.ok else f.fix] for f in findings]
        self.table(body, ["", "What", "Why", "What to do"], rows)
        raise typer.Exit(0 if passed else 1)

    def plain(self, text: str) -> None:
        """Text alone on stdout, for what is meant to be piped on."""
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()

    def works(self) -> bool:
        """Whether stdout takes what it is given. One that does not gets nothing more, nor at the program's end."""
        try:
            sys.stdout.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
            return False
        return True

    def note(self, text: str) -> None:
        """A remark on stderr."""
        _stderr().print(readable(text), highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def note_after(self, delay_s: float, text: str) -> Iterator[None]:
        """A remark if what is done meanwhile takes longer than that."""
        timer = Timer(delay_s, self.note, [text])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def error(self, error: CommonweightError) -> None:
        """An error: as what, why and what to do on stderr, or as JSON on stdout, as long as that takes it."""
        if self.as_json:
            try:
                _print_json(error.to_json())
            except OSError:
                if self.works():
                    raise
            else:
                return
        parts = (("Why", error.why), ("What to do", error.fix))
        said = [(f"Error: {_sentence(error.what)}", "bold red")]
        said += [(f"  {name}: {_sentence(text)}", "") for name, text in parts if text]
        for line, style in said:
            _stderr().print(readable(line), style=style, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def progress(self) -> Iterator[Report]:
        """A progress display; the callable that it gives takes a step's name, how much is done, and the total."""
        console = _stderr()
        if not console.is_terminal:
            yield self._lines()
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as bars:
            tasks: dict[str, TaskID] = {}

            def report(name: str, done: int, total: int) -> None:
                if name not in tasks:
                    tasks[name] = bars.add_task(name, total=total or None)
                bars.update(tasks[name], completed=done, total=total or None)

            yield report

    def _lines(self) -> Report:
        seen: set[tuple[str, bool]] = set()

        def report(name: str, done: int, total: int) -> None:
            finished = bool(total) and done >= total
            if (name, finished) not in seen:
                seen.add((name, finished))
                self.note(f"{name} ... done" if finished else f"{name} ...")

        return report


def _needed(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> int:
    """The width in which a table breaks no word but long ones, which have to be broken anyway."""
    words = [" ".join(column).split() for column in zip(columns, *cells, strict=True)]
    return sum(max((min(len(word), _LONG_WORD) for word in column), default=0) + _BETWEEN for column in words)


def _row_by_row(console: Console, title: str, columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    """A table where there is no room for one: each row as a line of its own, without what is not there."""
    if title:
        console.print(readable(title), style="bold", highlight=False, markup=False)
    for row in cells:
        told = [f"{name} {cell}".strip() for name, cell in zip(columns, row, strict=True) if cell not in ("", "-")]
        console.print(", ".join(told), highlight=False, markup=False)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else text + "."


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return " ".join(f"{name} {_text(v)}" for name, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_text(v) for v in value) or "-"
    return readable(str(value))


def readable(text: str) -> str:
    """Text for a person at a terminal, with the control characters escaped that it would obey."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", _printable(text))


def _printable(text: str) -> str:
    """Text with what has no UTF-8 form escaped: strings on chain can be any bytes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _print_json(body: Mapping[str, object]) -> None:
    sys.stdout.write(_printable(json.dumps(body, ensure_ascii=False, indent=2)) + "\n")
    sys.stdout.flush()


def _stdout() -> Console:
    from rich.console import Console

    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160)


def _stderr() -> Console:
    from rich.console import Console

    return Console(file=sys.stderr, stderr=True)
