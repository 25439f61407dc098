"""What the person who lends the machine sees while it trains: a live line on a terminal, log lines elsewhere, metrics,
curves.

All of it listens to the status lines; nothing of it can hold up a round.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from commonweight.protocol.canonical import Json
from trainer.earnings import Earned, follow_credits
from trainer.history import History
from trainer.settings import ProviderSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trainer.member import Member

_log = logging.getLogger("commonweight.trainer")
_PER_S = 2.0
_MINUTE_S, _REMEMBERED = 60.0, 64
_console = Console(stderr=True)


class Line:
    """The one line: round, phase, time to the phase's deadline, what went wrong last, credits, speed and traffic. What
    does not fit on a narrow terminal comes last.
    """

    def __init__(self) -> None:
        self._history = History(keep=2)
        self._last: Mapping[str, Json] = {}
        self._speed: Json = None
        self._earned: Earned | None = None

    def hear(self, line: Mapping[str, Json]) -> None:
        """Take in a status line."""
        self._history.take(line)
        self._last = line
        self._speed = line.get("tokens_per_s") or self._speed

    def earned(self, earned: Earned) -> None:
        """Take in what the chain says."""
        self._earned = earned

    def text(self, now_s: float) -> str:
        """The line at a Unix time."""
        last = self._last
        if not last:
            return "starting"
        number = last["round"]
        now = self._history.rounds.get(number) if isinstance(number, int) else None
        parts = [f"round {number}", f"{last['phase']}{_steps(last)}"]
        if isinstance(deadline := last.get("deadline_ms"), int):
            parts.append(f"{max(0, round(deadline / 1000 - now_s))} s left")
        wrong = [known for known in list(self._history.rounds.values()) if known.refused]
        if wrong:
            parts.append(f"round {wrong[-1].round}: {wrong[-1].refused}")
        if self._earned is not None:
            parts.append(f"credits {self._earned.final:,} + {self._earned.pending:,} pending")
        if isinstance(self._speed, int):
            parts.append(f"{self._speed:,} tok/s")
        sent, received = (0, 0) if now is None else (now.bytes_sent, now.bytes_received)
        parts += [
            f"sent {_mb(sent)} of {_mb(last['bytes_sent'])} MB",
            f"received {_mb(received)} of {_mb(last['bytes_received'])} MB",
        ]
        return " | ".join(parts)

    def __rich__(self) -> Text:
        return Text(self.text(time.time()), no_wrap=True, overflow="ellipsis")


def log_handler(console: Console = _console) -> logging.Handler:
    """Writes log lines to stderr, above the live line where there is one; one that comes again, once a minute."""
    handler = _AboveTheLine(console) if console.is_terminal else logging.StreamHandler()
    handler.addFilter(OnceAMinute())
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    return handler


class OnceAMinute(logging.Filter):
    """Keeps back what was said within the last minute, word by word, and says how often it was: what is tried again and
    again would fill screens and disks.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this line is shown."""
        text = record.getMessage()
        at_s, kept_back = self._said.get(text, (-math.inf, 0))
        if record.created < at_s + _MINUTE_S:
            self._said[text] = at_s, kept_back + 1
            return False
        if kept_back:
            record.msg, record.args = f"{text} (and {kept_back} times more since it was last said)", ()
        self._said[text] = record.created, 0
        self._said.move_to_end(text)
        while len(self._said) > _REMEMBERED:
            self._said.popitem(last=False)
        return True


class _AboveTheLine(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.print(self.format(record), markup=False, highlight=False, soft_wrap=True)


@asynccontextmanager
async def shown(settings: ProviderSettings, member: Member, console: Console = _console) -> AsyncIterator[None]:
    """Show a member while it lives. Raises UsageError when the metrics' port is taken or no curves can be written."""
    line, board = Line(), None
    hear, earned = [line.hear], [line.earned]
    if settings.metrics is not None:
        from trainer.metrics import Metrics

        metrics = Metrics()
        metrics.serve(settings.metrics)
        hear.append(metrics.hear)
        earned.append(metrics.earned)
    if settings.tensorboard is not None:
        from trainer.board import Board

        board = Board(settings.tensorboard)
        hear.append(board.hear)
        earned.append(board.earned)

    def told(found: Earned) -> None:
        for tell in earned:
            tell(found)

    def after_record(status: Mapping[str, Json]) -> None:
        if "counted" in status:
            _log.info("%s", line.text(time.time()))

    member.status.listeners += hear if console.is_terminal else [*hear, after_record]
    following = asyncio.create_task(follow_credits(settings, member.index, told))
    try:
        with _live(line, console):
            yield
    finally:
        following.cancel()
        if board is not None:
            await asyncio.to_thread(board.close)


@contextmanager
def _live(line: Line, console: Console) -> Iterator[None]:
    """Draw the line again and again, in a thread of rich's own; on a pipe or in a file not at all."""
    if not console.is_terminal:
        yield
        return
    from rich.live import Live

    with Live(line, console=console, refresh_per_second=_PER_S, transient=True, redirect_stdout=False):
        yield


def _steps(line: Mapping[str, Json]) -> str:
    return f" {line['step']}/{line['steps']}" if line.get("phase") == "train" and line.get("steps") else ""


def _mb(count: Json) -> str:
    return f"{(count if isinstance(count, int) else 0) / 1e6:.1f}"
