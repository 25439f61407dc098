"""Saves behind the round: the caller goes on at once, and is at most one save ahead of the disk."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor

from commonweight.errors import StoreError

_log = logging.getLogger("commonweight.trainer")


class Saver:
    """Runs one save at a time on another thread; `executor` is where, a thread of its own unless one is given."""

    def __init__(self, executor: Executor | None = None) -> None:
        self._executor = executor or ThreadPoolExecutor(1, "save")
        self._pending: Future[None] | None = None
        self._lock = threading.Lock()

    def ready(self) -> None:
        """Wait for the save before. If that one failed, the log says why: the round goes on without it, and the next
        save may find room again.
        """
        with self._lock:
            try:
                _result(self._pending)
            except StoreError as problem:
                _log.error("a checkpoint is not saved: %s", problem)
            self._pending = None

    def start(self, save: Callable[[], None]) -> None:
        """Begin a save, once the one before is done."""
        self.ready()
        with self._lock:
            self._pending = self._executor.submit(save)

    def settle(self) -> None:
        """Wait until what was begun is on disk. Raises the StoreError of a save that failed, once."""
        with self._lock:
            pending, self._pending = self._pending, None
            _result(pending)

    def wait(self) -> None:
        """Wait until nothing is being saved, whatever became of it."""
        pending = self._pending
        if pending is not None:
            pending.exception()

    def close(self) -> None:
        """Settle, and take no more."""
        try:
            self.settle()
        finally:
            self._executor.shutdown()


def _result(pending: Future[None] | None) -> None:
    try:
        if pending is not None:
            pending.result()
    except OSError as problem:
        raise StoreError(
            "A checkpoint could not be saved",
            str(problem),
            "make room on the disk of --data-dir, or let it be written; the round itself is not lost",
        ) from problem
