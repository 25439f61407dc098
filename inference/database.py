"""A SQLite file that threads share, whose commits are on the disk when they return: the server's ledger, the payer's
purse.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from commonweight.errors import InferenceError

_PATIENCE_S = 30.0


class Database:
    """The file at `path`, made with its tables if need be; `name` is what messages call it.

    Raises `failure` when it cannot be opened, read or written.
    """

    def __init__(self, path: Path, name: str, schema: str, failure: type[InferenceError] = InferenceError) -> None:
        self._what = f"The {name} {path}"
        self._failure = failure
        self._lock = threading.Lock()
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_PATIENCE_S)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(schema)
        except sqlite3.DatabaseError as error:
            raise failure(f"{self._what} cannot be opened", str(error), "restore it from a backup") from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The file, for one thread at a time."""
        with self._lock:
            try:
                yield self._db
            except sqlite3.Error as error:
                fix = "see that its disk has room and is sound"
                raise self._failure(f"{self._what} cannot be used", str(error), fix) from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it, or nothing."""
        with self.reading() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:  # a full disk has ended it already
                    db.execute("ROLLBACK")
                raise
