"""What one signer knows and has promised, in one SQLite file that survives being killed at any moment.

Write-ahead log, `synchronous=FULL`: a statement that has returned is on disk. Every write is idempotent (done twice it
changes nothing), so the service repeats a step after a crash instead of asking how far it had come. Promises, that is
signatures that must exist at most once, live in the table `promises`: `promise()` stores the signed bytes before it
hands them out, and hands out the stored ones ever after. A lock file keeps a second process away from the directory.
"""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NewType

from commonweight.errors import OracleError
from oracle.db_rows import as_bytes
from oracle.db_schema import MIGRATIONS

Slot = NewType("Slot", str)

_FULL = "free space on that disk; the service goes on by itself"
_IN_USE = "close the other program that has the file open; the service goes on by itself"
_DAMAGED = (
    "take out what is readable by `.recover` of the program sqlite3; an older copy or an empty directory does not know"
    " what was signed since, and to sign otherwise costs the bond: use one only after the open epoch is settled"
)
_OUT_OF_REACH = "see that the disk is mounted, sound and writable for this user; put no older copy in its place"
_OTHERWISE = "start again; if it comes back, report it with the log, and keep the directory as it is"
_CURES = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_BUSY: _IN_USE,
    sqlite3.SQLITE_LOCKED: _IN_USE,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_IOERR: _OUT_OF_REACH,
    sqlite3.SQLITE_CANTOPEN: _OUT_OF_REACH,
    sqlite3.SQLITE_READONLY: _OUT_OF_REACH,
    sqlite3.SQLITE_PERM: _OUT_OF_REACH,
}
_PRIMARY = 0xFF  # of SQLite's extended result codes


class EquivocationError(OracleError):
    """Another document was signed for the same purpose before; signing a second one would be equivocation."""


class DatabaseCore:
    """One signer's store. Used from one thread; opened once per directory (a second process is refused).

    Raises OracleError, naming the cure, when the disk is full, the file is damaged, or another process holds the lock.
    """

    def __init__(self, directory: Path, *, run: str, signer: str) -> None:
        self.directory = directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise OracleError(
                f"the data directory {directory} cannot be used", str(error), "choose a writable directory"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise OracleError(
                f"another process is using {directory}",
                "two processes with one signer's database could sign twice",
                "stop the other one; never start a second one with this key, here or elsewhere: that costs the bond",
            ) from error
        self._connection = sqlite3.connect(directory / "oracle.sqlite3", isolation_level=None)
        try:
            with self._named_errors():
                for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000"):
                    self._connection.execute(f"PRAGMA {pragma}")
                self._migrate()
            self._bind(run.lower(), signer.lower())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file and release the lock. Nothing is lost without it."""
        self._connection.close()
        os.close(self._lock)

    # --- opening ---------------------------------------------------------------------------------------------------

    def _migrate(self) -> None:
        version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
        if version > len(MIGRATIONS):
            raise OracleError(
                f"the database has schema version {version}; this program knows {len(MIGRATIONS)}",
                "a newer program wrote it",
                "run the newer program, or point --data-dir elsewhere",
            )
        for number in range(version, len(MIGRATIONS)):
            self._connection.executescript(
                f"BEGIN IMMEDIATE; {MIGRATIONS[number]} PRAGMA user_version={number + 1}; COMMIT;"
            )

    def _bind(self, run: str, signer: str) -> None:
        """A database belongs to one signer of one run: with another key or run it would mix up promises."""
        for key, value in (("run", run), ("signer", signer)):
            known = self.get_meta(key)
            if known is None:
                self.set_meta(key, value)
            elif known != value:
                raise OracleError(
                    f"the data directory {self.directory} belongs to {key} {known}, not {value}",
                    "each signer of each run needs a database of its own",
                    "choose another --data-dir",
                )

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)  # not of what Python itself refuses
            fix = _CURES.get(code & _PRIMARY, _OTHERWISE)
            raise OracleError(f"the database in {self.directory} failed", str(error), fix) from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside happen together or not at all. Nested use joins the outer transaction."""
        if self._connection.in_transaction:
            yield
            return
        with self._named_errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def write(self, sql: str, *values: object) -> int:
        """Execute a statement; returns how many rows it changed."""
        with self._named_errors():
            return self._connection.execute(sql, values).rowcount

    def read(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        """All rows of a query."""
        with self._named_errors():
            return self._connection.execute(sql, values).fetchall()

    # --- facts about this database ---------------------------------------------------------------------------------

    def get_meta(self, key: str) -> str | None:
        """A stored fact, or None."""
        rows = self.read("SELECT value FROM meta WHERE key=?", key)
        return str(rows[0][0]) if rows else None

    def set_meta(self, key: str, value: str) -> None:
        """Store a fact, over an older one."""
        self.write("INSERT INTO meta VALUES (?,?) ON CONFLICT (key) DO UPDATE SET value=excluded.value", key, value)

    # --- promises --------------------------------------------------------------------------------------------------

    def promise(self, slot: Slot, digest: bytes, sign: Callable[[], bytes]) -> bytes:
        """The signed bytes of `slot`, made by `sign` and stored on disk before they are returned.

        A second call with the same digest returns the stored bytes without signing again.
        Raises EquivocationError when another digest was signed for this slot.
        """
        with self.transaction():
            rows = self.read("SELECT digest, signed FROM promises WHERE slot=?", slot)
            if not rows:
                signed = sign()
                self.write("INSERT INTO promises VALUES (?,?,?)", slot, digest, signed)
                return signed
        if as_bytes(rows[0][0]) != digest:
            raise EquivocationError(
                f"this signer has signed something else for {slot}",
                "a second signature for one purpose is equivocation and costs the bond",
            )
        return as_bytes(rows[0][1])

    def promised(self, slot: Slot) -> tuple[bytes, bytes] | None:
        """(digest, signed bytes) of what was signed for `slot`, or None."""
        rows = self.read("SELECT digest, signed FROM promises WHERE slot=?", slot)
        return (as_bytes(rows[0][0]), as_bytes(rows[0][1])) if rows else None
