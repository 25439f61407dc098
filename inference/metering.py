"""The server's ledger: what each channel has signed, what is reserved for requests under way, and what has been
charged.

A request is reserved at its maximum price before it is answered, and charged at its actual price before the end of
its answer leaves the server. Both are commits that wait for the disk, so that a crash at any moment loses
neither the highest voucher nor a charge, and no voucher pays twice. Amounts are decimal text, as they may pass 64
bits. One `Ledger` may be used from many threads; a second process on the same file is refused.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from commonweight.errors import AlreadyServing, InferenceError, PaymentRefused
from commonweight.protocol.vouchers import SignedVoucher
from commonweight.protocol.x402 import Reason
from inference.database import Database

_SCHEMA = """
CREATE TABLE IF NOT EXISTS channels (
  id TEXT PRIMARY KEY, payer TEXT NOT NULL, delay_s INTEGER NOT NULL,
  deposited TEXT NOT NULL, settled TEXT NOT NULL, withdrawal_amount TEXT NOT NULL, withdrawal_at INTEGER NOT NULL,
  chain_time INTEGER NOT NULL, read_at REAL NOT NULL,
  ceiling TEXT NOT NULL DEFAULT '0', signature BLOB NOT NULL DEFAULT x'',
  charged TEXT NOT NULL DEFAULT '0', sequence INTEGER NOT NULL DEFAULT 0, refused TEXT NOT NULL DEFAULT '',
  settled_final TEXT NOT NULL DEFAULT '0'
) STRICT;
CREATE TABLE IF NOT EXISTS requests (
  id INTEGER PRIMARY KEY, channel TEXT NOT NULL REFERENCES channels(id), ceiling TEXT NOT NULL,
  request_sha256 TEXT NOT NULL, maximum TEXT NOT NULL, note TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('open', 'charged', 'released')),
  sent_tokens INTEGER NOT NULL DEFAULT 0, sent_sha256 TEXT NOT NULL DEFAULT '',
  receipt BLOB NOT NULL DEFAULT x'', answer TEXT, sequence INTEGER, changed_at REAL NOT NULL,
  UNIQUE (channel, ceiling), UNIQUE (channel, sequence)
) STRICT;
CREATE INDEX IF NOT EXISTS open_requests ON requests(channel) WHERE state = 'open';
CREATE INDEX IF NOT EXISTS kept_answers ON requests(changed_at) WHERE answer IS NOT NULL;
"""
# What ledgers of before lack. A channel of such a one is read once more, as nothing says what was settled for good.
_COLUMN = "ALTER TABLE channels ADD COLUMN settled_final TEXT NOT NULL DEFAULT '0'"
_OWING_INDEX = """
CREATE INDEX IF NOT EXISTS owing_for_good ON channels(id, charged, settled_final)
  WHERE charged != settled_final AND refused = ''
"""
_OPEN = """
SELECT id, channel, ceiling, request_sha256, maximum, note, sent_tokens, sent_sha256
FROM requests INDEXED BY open_requests WHERE state = 'open' ORDER BY id
"""
_OWING = """
SELECT id, charged, settled_final FROM channels INDEXED BY owing_for_good
WHERE charged != settled_final AND refused = ''
"""
_FORGET = """
UPDATE requests SET answer = NULL WHERE id IN
  (SELECT id FROM requests INDEXED BY kept_answers WHERE answer IS NOT NULL AND changed_at < ? LIMIT ?)
"""
_FORGET_AT_ONCE = 500
_BREATH_S = 0.002
_OBSERVE = """
INSERT INTO channels
  (id, payer, delay_s, deposited, settled, settled_final, withdrawal_amount, withdrawal_at, chain_time, read_at,
   charged)
VALUES (?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (id) DO UPDATE SET
  deposited = excluded.deposited, settled = excluded.settled, settled_final = excluded.settled_final,
  withdrawal_amount = excluded.withdrawal_amount, withdrawal_at = excluded.withdrawal_at,
  chain_time = excluded.chain_time, read_at = excluded.read_at
"""


def price(prompt_tokens: int, completion_tokens: int, price_per_token: int) -> int:
    """What an answer costs, in the asset's smallest units: every token, read or written, costs the same."""
    return (prompt_tokens + completion_tokens) * price_per_token


@dataclass(frozen=True)
class ChannelFacts:
    """A channel as the chain has it.

    Of what is `settled`, no reorganisation takes back `settled_final`. `withdrawal_at` is when a requested withdrawal
    is due, 0 for none; `chain_time` is the latest block's time, `read_at` ours. All in Unix seconds.
    """

    channel_id: bytes
    payer: str
    delay_s: int
    deposited: int
    settled: int
    settled_final: int
    withdrawal_amount: int
    withdrawal_at: int
    chain_time: int
    read_at: float


@dataclass(frozen=True)
class Account:
    """A channel as the ledger has it.

    `ceiling` is the highest voucher, with its `signature`; `sequence` counts the charges made; `refused` says why the
    chain refused the voucher, or is empty.
    """

    facts: ChannelFacts
    ceiling: int
    signature: bytes
    charged: int
    reserved: int
    sequence: int
    refused: str

    @property
    def available(self) -> int:
        """What vouchers can draw on in all: the deposit, less a requested withdrawal, which counts as spent."""
        return max(0, self.facts.deposited - self.facts.withdrawal_amount)

    @property
    def unsettled(self) -> int:
        """Charged and not yet settled on chain."""
        return max(0, self.charged - self.facts.settled)


@dataclass(frozen=True)
class Reservation:
    """An open request. `note` is the server's own of what it promised, given back to whoever ends the request."""

    request_id: int
    channel_id: bytes
    ceiling: int
    request_sha256: str
    maximum: int
    note: str
    sent_tokens: int = 0
    sent_sha256: str = ""


@dataclass(frozen=True)
class Delivered:
    """A request that has been charged: its receipt, and its answer as long as that is kept."""

    request_id: int
    receipt: bytes
    answer: str | None


class Ledger:
    """The ledger in `path`, created if need be. Raises AlreadyServing when another process has it open."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._guard = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._guard)
            raise AlreadyServing(
                f"The ledger {path} is in use", "another server has it open", "stop that one first"
            ) from None
        try:
            self._db = Database(path, "ledger", _SCHEMA)
            self._bring_up_to_date()
        except InferenceError:
            os.close(self._guard)
            raise

    def _bring_up_to_date(self) -> None:
        with self._db.transaction() as db:
            if "settled_final" not in {name for (_, name, *_) in db.execute("PRAGMA table_info(channels)")}:
                db.execute(_COLUMN)
                db.execute("DROP INDEX IF EXISTS owing")
            db.execute(_OWING_INDEX)

    def close(self) -> None:
        """Close the file and let another process have it."""
        self._db.close()
        os.close(self._guard)

    # --- channels ----------------------------------------------------------------------------------------------------

    def observe(self, facts: ChannelFacts) -> Account:
        """Take over what the chain says about a channel.

        Should the chain have settled more than this ledger charged (a ledger restored from a backup), the chain is
        right.
        """
        with self._db.transaction() as db:
            db.execute(_OBSERVE, _observed(facts))
            account = _account(db, facts.channel_id)
            if facts.settled > account.charged:
                db.execute("UPDATE channels SET charged = ? WHERE id = ?", (str(facts.settled), facts.channel_id.hex()))
                account = _account(db, facts.channel_id)
            return account

    def account(self, channel_id: bytes) -> Account | None:
        """The channel, or None if it was never observed."""
        with self._db.reading() as db:
            return _find(db, channel_id)

    def owing(self, least: int) -> list[Account]:
        """Every channel that owes at least `least`, charged and not settled for good; without those that the chain
        refuses.
        """
        with self._db.reading() as db:
            rows = db.execute(_OWING).fetchall()
            found = [name for name, charged, final in rows if int(charged) - int(final) >= least]
            return [_account(db, bytes.fromhex(name)) for name in found]

    def refuse(self, channel_id: bytes, reason: str) -> None:
        """Note that the chain refused the channel's voucher: no more requests are taken on it. An empty reason ends
        that.
        """
        with self._db.transaction() as db:
            db.execute("UPDATE channels SET refused = ? WHERE id = ?", (reason[:500], channel_id.hex()))

    # --- requests ----------------------------------------------------------------------------------------------------

    def reserve(self, voucher: SignedVoucher, request_sha256: str, maximum: int, note: str) -> Reservation | Delivered:
        """Take a checked voucher for a request that costs at most `maximum`, and put that aside.

        The voucher must be new, and what is signed must cover everything charged, everything reserved and this
        maximum, within what the channel holds. The same voucher with the same request gives what was delivered for
        it, at no further charge. Raises PaymentRefused. The channel must have been observed.
        """
        channel = voucher.channel_id.hex()
        with self._db.transaction() as db:
            account = _account(db, voucher.channel_id)
            if (earlier := _earlier(db, voucher)) is not None:
                return _repeat(earlier, request_sha256)
            _check_cover(account, voucher.cumulative, maximum)
            if voucher.cumulative > account.ceiling:
                db.execute(
                    "UPDATE channels SET ceiling = ?, signature = ? WHERE id = ?",
                    (str(voucher.cumulative), voucher.signature, channel),
                )
            cursor = db.execute(
                "INSERT INTO requests (channel, ceiling, request_sha256, maximum, note, state, changed_at)"
                " VALUES (?,?,?,?,?,'open',?)",
                (channel, str(voucher.cumulative), request_sha256, str(maximum), note, time.time()),
            )
            request_id = int(cursor.lastrowid or 0)
        return Reservation(request_id, voucher.channel_id, voucher.cumulative, request_sha256, maximum, note)

    def delivered(self, voucher: SignedVoucher, request_sha256: str) -> Delivered | None:
        """What was delivered for a voucher before, None if it has not come yet; raises PaymentRefused as `reserve`."""
        with self._db.reading() as db:
            earlier = _earlier(db, voucher)
        return None if earlier is None else _repeat(earlier, request_sha256)

    def sent(self, request_id: int, tokens: int, answer_sha256: str) -> None:
        """Note, before they leave, that `tokens` of a streamed answer have been sent; `answer_sha256` is of those."""
        with self._db.transaction() as db:
            db.execute(
                "UPDATE requests SET sent_tokens = ?, sent_sha256 = ? WHERE id = ? AND state = 'open'",
                (tokens, answer_sha256, request_id),
            )

    def charge(
        self, reservation: Reservation, amount: int, receipt: Callable[[int, int], bytes], answer: str | None
    ) -> bytes:
        """End a request by charging `amount`, at most its maximum, and keep the receipt.

        `receipt(before, sequence)` makes the signed receipt from the channel's total before this charge and the
        charge's number in the channel, counted from 1. Raises InferenceError if the request is not open: nothing is
        charged twice.
        """
        if not 0 <= amount <= reservation.maximum:
            raise InferenceError("A charge exceeds what was reserved", f"{amount} of at most {reservation.maximum}")
        channel = reservation.channel_id.hex()
        with self._db.transaction() as db:
            account = _account(db, reservation.channel_id)
            before, sequence = account.charged, account.sequence + 1
            signed = receipt(before, sequence)
            changed = db.execute(
                "UPDATE requests SET state = 'charged', receipt = ?, answer = ?, sequence = ?, changed_at = ?"
                " WHERE id = ? AND state = 'open'",
                (signed, answer, sequence, time.time(), reservation.request_id),
            )
            if changed.rowcount != 1:
                raise InferenceError("A request was ended twice", f"request {reservation.request_id} is not open")
            db.execute(
                "UPDATE channels SET charged = ?, sequence = ? WHERE id = ?", (str(before + amount), sequence, channel)
            )
        return signed

    def release(self, reservation: Reservation) -> None:
        """End a request without charging anything. Its voucher stays used."""
        with self._db.transaction() as db:
            db.execute(
                "UPDATE requests SET state = 'released', changed_at = ? WHERE id = ? AND state = 'open'",
                (time.time(), reservation.request_id),
            )

    def open_requests(self) -> list[Reservation]:
        """Requests that are open: after a start, those that a crash cut off."""
        with self._db.reading() as db:
            rows = db.execute(_OPEN).fetchall()
        return [Reservation(r[0], bytes.fromhex(r[1]), int(r[2]), r[3], int(r[4]), r[5], r[6], r[7]) for r in rows]

    def receipts(self, channel_id: bytes, after: int, limit: int) -> list[bytes]:
        """Signed receipts of a channel whose sequence is above `after`, in order."""
        with self._db.reading() as db:
            rows = db.execute(
                "SELECT receipt FROM requests WHERE channel = ? AND sequence > ? ORDER BY sequence LIMIT ?",
                (channel_id.hex(), after, limit),
            ).fetchall()
        return [bytes(row[0]) for row in rows]

    def forget_answers(self, older_than_s: float) -> None:
        """Drop the text of answers that ended longer ago than this; receipts stay. Others get at the ledger between."""
        before = time.time() - older_than_s
        while self._forget(before) == _FORGET_AT_ONCE:
            time.sleep(_BREATH_S)  # a lock that is taken again at once is had by nobody else

    def _forget(self, before: float) -> int:
        with self._db.transaction() as db:
            return db.execute(_FORGET, (before, _FORGET_AT_ONCE)).rowcount


def _observed(facts: ChannelFacts) -> tuple[str | int | float, ...]:
    amounts = (facts.deposited, facts.settled, facts.settled_final, facts.withdrawal_amount)
    return (
        facts.channel_id.hex(), facts.payer, facts.delay_s, *map(str, amounts), facts.withdrawal_at, facts.chain_time,
        facts.read_at, str(facts.settled),
    )  # fmt: skip


def _find(db: sqlite3.Connection, channel_id: bytes) -> Account | None:
    row = db.execute(
        "SELECT payer, delay_s, deposited, settled, settled_final, withdrawal_amount, withdrawal_at, chain_time,"
        " read_at, ceiling, signature, charged, sequence, refused FROM channels WHERE id = ?",
        (channel_id.hex(),),
    ).fetchone()
    if row is None:
        return None
    maxima = db.execute("SELECT maximum FROM requests WHERE channel = ? AND state = 'open'", (channel_id.hex(),))
    reserved = sum(int(maximum) for (maximum,) in maxima)
    deposited, settled, final, leaving = map(int, row[2:6])
    facts = ChannelFacts(channel_id, row[0], row[1], deposited, settled, final, leaving, row[6], row[7], row[8])
    return Account(facts, int(row[9]), bytes(row[10]), int(row[11]), reserved, row[12], row[13])


def _account(db: sqlite3.Connection, channel_id: bytes) -> Account:
    account = _find(db, channel_id)
    if account is None:
        raise InferenceError("A channel is not in the ledger", "it must be read from the chain first")
    return account


_Earlier: TypeAlias = tuple[int, str, str, bytes, str | None]


def _earlier(db: sqlite3.Connection, voucher: SignedVoucher) -> _Earlier | None:
    """The request that has come with this very voucher."""
    found: _Earlier | None = db.execute(
        "SELECT id, request_sha256, state, receipt, answer FROM requests WHERE channel = ? AND ceiling = ?",
        (voucher.channel_id.hex(), str(voucher.cumulative)),
    ).fetchone()
    return found


def _repeat(row: _Earlier, request_sha256: str) -> Delivered:
    request_id, earlier_sha256, state, receipt, answer = row
    if earlier_sha256 != request_sha256 or state == "released":
        raise PaymentRefused(
            Reason.VOUCHER_USED,
            "This voucher has been used",
            "each request needs one of its own",
            "sign a higher voucher",
        )
    if state == "open":
        raise PaymentRefused(
            Reason.CHANNEL_BUSY, "This request is being answered", "it has arrived before", "ask again later"
        )
    return Delivered(request_id, bytes(receipt), answer)


def _check_cover(account: Account, cumulative: int, maximum: int) -> None:
    if account.refused:
        raise PaymentRefused(
            Reason.CHANNEL_REFUSED,
            "This channel is not accepted any more",
            account.refused,
            "open a channel with another delay",
        )
    needed, signed = account.charged + account.reserved + maximum, max(account.ceiling, cumulative)
    if signed < needed:
        raise PaymentRefused(
            Reason.AMOUNT_MISMATCH,
            "The voucher does not cover this request",
            f"{account.charged} are charged, {account.reserved} reserved and this request costs at most {maximum}, "
            f"{needed} in all; {signed} are signed",
            f"sign a voucher of at least {needed}",
        )
    if needed > account.available:
        raise PaymentRefused(
            Reason.EXCEEDS_BALANCE,
            "The channel does not hold enough for this request",
            f"{needed} are needed in all; the channel has {account.available}, requested withdrawals taken off",
            "pay more into the channel",
        )
