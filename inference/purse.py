"""The payer's own ledger: every ceiling that was signed, for which request, and what receipts say was charged for it.

It is what keeps a server honest: a receipt counts only for a request that this purse made, for at most what was
promised for it, the receipts of a channel follow each other without gaps, and their sum stays within what was signed.
A ceiling is on disk before it is signed, so no crash makes a payer sign one twice. Several processes may share a
purse.
"""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from commonweight.errors import Dishonest, PaymentError
from commonweight.protocol.fields import hex32
from inference.database import Database
from inference.receipts import Served

_SCHEMA = """
CREATE TABLE IF NOT EXISTS channels (
  id TEXT PRIMARY KEY, sequence INTEGER NOT NULL, spent TEXT NOT NULL, highest TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS promises (
  channel TEXT NOT NULL REFERENCES channels(id), ceiling TEXT NOT NULL, request_sha256 TEXT NOT NULL,
  maximum TEXT NOT NULL, state TEXT NOT NULL CHECK (state IN ('open', 'charged', 'failed')),
  sequence INTEGER, receipt TEXT,
  PRIMARY KEY (channel, ceiling), UNIQUE (channel, sequence)
) STRICT;
CREATE INDEX IF NOT EXISTS open_promises ON promises(channel) WHERE state = 'open';
"""
_LEAVE = "ask this server no more, and withdraw what is left in the channel"


@dataclass(frozen=True)
class Standing:
    """Where a channel stands for its payer: receipts counted and their sum, the highest ceiling, and open maxima."""

    sequence: int
    spent: int
    highest: int
    pending: int


class Purse:
    """The purse in `path`, created if need be. Channels are named by their 32-byte ids. Safe in several threads."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = Database(path, "purse", _SCHEMA, PaymentError)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """One transaction on the file, by one thread at a time."""
        return self._db.transaction()

    def book(self, era: bytes) -> Book:
        """The part of the purse for one chain's past; a development chain that begins anew gets a new one."""
        return Book(self, era)


class Book:
    """One run's channels in a purse. `era` is the hash of the block that created the run: it names the chain's past."""

    def __init__(self, purse: Purse, era: bytes) -> None:
        self._purse = purse
        self._era = era.hex()

    def _name(self, channel: bytes) -> str:
        return f"{self._era}/{channel.hex()}"

    def standing(self, channel: bytes) -> Standing | None:
        """The channel's standing, or None if this purse does not know it."""
        with self._purse.transaction() as db:
            return _standing(db, self._name(channel))

    def adopt(self, channel: bytes, sequence: int, spent: int, highest: int) -> Standing:
        """Begin with a channel that this purse does not know; one that it knows stays as it is."""
        with self._purse.transaction() as db:
            db.execute(
                "INSERT OR IGNORE INTO channels VALUES (?,?,?,?)",
                (self._name(channel), sequence, str(spent), str(highest)),
            )
            return _need(db, self._name(channel))

    def promise(self, channel: bytes, request_sha256: str, maximum: int) -> int:
        """The ceiling to sign for a request that costs at most `maximum`: no other request ever gets it."""
        with self._purse.transaction() as db:
            standing = _need(db, self._name(channel))
            ceiling = max(standing.spent + standing.pending + maximum, standing.highest + 1)
            db.execute("UPDATE channels SET highest = ? WHERE id = ?", (str(ceiling), self._name(channel)))
            db.execute(
                "INSERT INTO promises (channel, ceiling, request_sha256, maximum, state) VALUES (?,?,?,?,'open')",
                (self._name(channel), str(ceiling), request_sha256, str(maximum)),
            )
            return ceiling

    def fail(self, channel: bytes, ceiling: int | None = None) -> None:
        """Count a promise, or all open ones, as not taken up. A receipt for it that comes later still counts."""
        with self._purse.transaction() as db:
            if ceiling is None:
                db.execute(
                    "UPDATE promises SET state = 'failed' WHERE channel = ? AND state = 'open'", (self._name(channel),)
                )
            else:
                db.execute(
                    "UPDATE promises SET state = 'failed' WHERE channel = ? AND state = 'open' AND ceiling = ?",
                    (self._name(channel), str(ceiling)),
                )

    def count(self, served: Served, digest: str) -> bool:
        """Count a receipt, whose signature was checked. False when receipts before it are missing; True when it is
        counted.

        Raises Dishonest when it charges for what was never asked, or more than was promised, or contradicts
        another.
        """
        with self._purse.transaction() as db:
            channel = self._name(served.channel)
            standing = _need(db, channel)
            if served.sequence > standing.sequence + 1:
                return False
            if served.sequence <= standing.sequence:
                known = db.execute(
                    "SELECT receipt FROM promises WHERE channel = ? AND sequence = ?", (channel, served.sequence)
                ).fetchone()
                if known is not None and known[0] != digest:
                    raise Dishonest(
                        f"Two receipts have the number {served.sequence}", "the server contradicts itself", _LEAVE
                    )
                return True
            _check(db, channel, standing, served)
            db.execute(
                "UPDATE promises SET state = 'charged', sequence = ?, receipt = ? WHERE channel = ? AND ceiling = ?",
                (served.sequence, digest, channel, str(served.ceiling)),
            )
            db.execute(
                "UPDATE channels SET sequence = ?, spent = ? WHERE id = ?",
                (served.sequence, str(served.cumulative), channel),
            )
            return True


def _check(db: sqlite3.Connection, channel: str, standing: Standing, served: Served) -> None:
    if served.cumulative != standing.spent + served.amount:
        raise Dishonest(
            "A receipt does not follow the one before it",
            f"{standing.spent} were spent, it charges {served.amount} and says {served.cumulative} in all",
            _LEAVE,
        )
    row = db.execute(
        "SELECT request_sha256, maximum, state FROM promises WHERE channel = ? AND ceiling = ?",
        (channel, str(served.ceiling)),
    ).fetchone()
    if row is None or row[0] != hex32(served.request_sha256) or row[2] == "charged":
        raise Dishonest(
            "A receipt charges for a request that was not made",
            f"number {served.sequence}, for the voucher of {served.ceiling}",
            _LEAVE,
        )
    if served.amount > int(row[1]):
        raise Dishonest(
            "A receipt charges more than the request could cost",
            f"{served.amount}, where at most {row[1]} were promised",
            _LEAVE,
        )
    if served.cumulative > standing.highest:
        raise Dishonest(
            "A receipt charges more than was signed",
            f"it says {served.cumulative} in all, the highest voucher is {standing.highest}",
            _LEAVE,
        )


def _standing(db: sqlite3.Connection, channel: str) -> Standing | None:
    row = db.execute("SELECT sequence, spent, highest FROM channels WHERE id = ?", (channel,)).fetchone()
    if row is None:
        return None
    maxima = db.execute("SELECT maximum FROM promises WHERE channel = ? AND state = 'open'", (channel,))
    return Standing(row[0], int(row[1]), int(row[2]), sum(int(maximum) for (maximum,) in maxima))


def _need(db: sqlite3.Connection, channel: str) -> Standing:
    standing = _standing(db, channel)
    if standing is None:
        raise PaymentError("The purse does not know this channel", "it must be adopted first")
    return standing
