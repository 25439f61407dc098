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
from dataclasses import dataclass
from pathlib import Path
from typing import NewType

from commonweight.errors import OracleError

Slot = NewType("Slot", str)

_FULL = "free space on that disk; the service goes on by itself"
_DAMAGED = "restore the directory from a copy; start with an empty one only if nothing was signed in the open epoch"

_MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE promises (slot TEXT PRIMARY KEY, digest BLOB NOT NULL, signed BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE documents (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, digest BLOB NOT NULL, kind TEXT NOT NULL, round INTEGER NOT NULL,
        member INTEGER NOT NULL, signer TEXT NOT NULL, signed BLOB NOT NULL, received_ms INTEGER NOT NULL,
        UNIQUE (digest, signer));
    CREATE INDEX documents_by_round ON documents (kind, round, member);
    CREATE INDEX documents_by_member ON documents (kind, member, round);
    CREATE TABLE payloads (
        round INTEGER NOT NULL, member INTEGER NOT NULL, part INTEGER NOT NULL, sha256 BLOB NOT NULL,
        received_ms INTEGER NOT NULL, PRIMARY KEY (round, member, part)) WITHOUT ROWID;
    CREATE TABLE members (
        member INTEGER PRIMARY KEY, peer TEXT NOT NULL, have BLOB, joined_ms INTEGER NOT NULL, seen_ms INTEGER NOT NULL,
        strikes INTEGER NOT NULL DEFAULT 0, slow_until_ms INTEGER NOT NULL DEFAULT 0);
    CREATE TABLE late (
        round INTEGER NOT NULL, member INTEGER NOT NULL, received_ms INTEGER NOT NULL,
        PRIMARY KEY (round, member)) WITHOUT ROWID;
    CREATE TABLE anchors (
        block INTEGER NOT NULL, log INTEGER NOT NULL, round INTEGER NOT NULL, epoch INTEGER NOT NULL,
        deadline INTEGER NOT NULL, root BLOB NOT NULL, record_round INTEGER NOT NULL, record_hash BLOB NOT NULL,
        tx BLOB NOT NULL, PRIMARY KEY (block, log)) WITHOUT ROWID;
    CREATE TABLE draws (
        round INTEGER NOT NULL, member INTEGER NOT NULL, segment INTEGER NOT NULL, position INTEGER NOT NULL,
        seed_block INTEGER NOT NULL, seed_hash BLOB NOT NULL, state TEXT NOT NULL,
        PRIMARY KEY (round, member, segment, position)) WITHOUT ROWID;
    CREATE TABLE states (
        round INTEGER NOT NULL, member INTEGER NOT NULL, segment INTEGER NOT NULL, leaf TEXT NOT NULL,
        start TEXT NOT NULL, claimed TEXT NOT NULL, PRIMARY KEY (round, member, segment)) WITHOUT ROWID;
    CREATE TABLE offences (
        digest BLOB PRIMARY KEY, member INTEGER NOT NULL, round INTEGER NOT NULL, rule TEXT NOT NULL,
        until INTEGER NOT NULL, state TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE reports (
        epoch INTEGER NOT NULL, digest BLOB NOT NULL, attempt INTEGER NOT NULL, rounds TEXT NOT NULL,
        PRIMARY KEY (epoch, digest)) WITHOUT ROWID;
    CREATE TABLE transactions (
        purpose TEXT PRIMARY KEY, tx BLOB NOT NULL, block INTEGER NOT NULL) WITHOUT ROWID;
    """,
)


@dataclass(frozen=True)
class Row:
    """A stored signed document. `member` is -1 where it concerns no single member, `round` 0 where no round."""

    seq: int
    digest: bytes
    kind: str
    round: int
    member: int
    signer: str
    signed: bytes
    received_ms: int


@dataclass(frozen=True)
class Member:
    """What the coordinator remembers of a provider: its address, what it has, since when it is there, when it last
    spoke, how often it was late.
    """

    index: int
    peer: str
    have: bytes | None
    joined_ms: int
    seen_ms: int
    strikes: int
    slow_until_ms: int


@dataclass(frozen=True)
class AnchorRow:
    """One `RoundAnchored` event of the finalised chain; `root` and `record_hash` are all zeros where it names none."""

    block: int
    log: int
    round: int
    epoch: int
    deadline: int
    root: bytes
    record_round: int
    record_hash: bytes
    tx: bytes


@dataclass(frozen=True)
class Draw:
    """A replay that this run's randomness asks of the signer at `position`. `state` is wanted, fetched or done."""

    round: int
    member: int
    segment: int
    position: int
    seed_block: int
    seed_hash: bytes
    state: str


@dataclass(frozen=True)
class Shown:
    """What a member has shown for a draw: the data of the leaf that the segment leads to, 0x-hex, and the digests of
    the files with the states at its start and, unless empty, at its end.
    """

    leaf: str
    start: str
    claimed: str


@dataclass(frozen=True)
class OffenceRow:
    """A proved offence and how far its ban has come: found, signed, banned."""

    digest: bytes
    member: int
    round: int
    rule: str
    until: int
    state: str


class EquivocationError(OracleError):
    """Another document was signed for the same purpose before; signing a second one would be equivocation."""


class Database:
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
                "stop the other process, or give this one its own --data-dir",
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
        if version > len(_MIGRATIONS):
            raise OracleError(
                f"the database has schema version {version}; this program knows {len(_MIGRATIONS)}",
                "a newer program wrote it",
                "run the newer program, or point --data-dir elsewhere",
            )
        for number in range(version, len(_MIGRATIONS)):
            self._connection.executescript(
                f"BEGIN IMMEDIATE; {_MIGRATIONS[number]} PRAGMA user_version={number + 1}; COMMIT;"
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
            fix = _FULL if "full" in str(error) else _DAMAGED
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

    def _write(self, sql: str, *values: object) -> int:
        with self._named_errors():
            return self._connection.execute(sql, values).rowcount

    def _read(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        with self._named_errors():
            return self._connection.execute(sql, values).fetchall()

    # --- facts about this database ---------------------------------------------------------------------------------

    def get_meta(self, key: str) -> str | None:
        """A stored fact, or None."""
        rows = self._read("SELECT value FROM meta WHERE key=?", key)
        return str(rows[0][0]) if rows else None

    def set_meta(self, key: str, value: str) -> None:
        """Store a fact, over an older one."""
        self._write("INSERT INTO meta VALUES (?,?) ON CONFLICT (key) DO UPDATE SET value=excluded.value", key, value)

    # --- promises --------------------------------------------------------------------------------------------------

    def promise(self, slot: Slot, digest: bytes, sign: Callable[[], bytes]) -> bytes:
        """The signed bytes of `slot`, made by `sign` and stored on disk before they are returned.

        A second call with the same digest returns the stored bytes without signing again.
        Raises EquivocationError when another digest was signed for this slot.
        """
        with self.transaction():
            rows = self._read("SELECT digest, signed FROM promises WHERE slot=?", slot)
            if not rows:
                signed = sign()
                self._write("INSERT INTO promises VALUES (?,?,?)", slot, digest, signed)
                return signed
        if _blob(rows[0][0]) != digest:
            raise EquivocationError(
                f"this signer has signed something else for {slot}",
                "a second signature for one purpose is equivocation and costs the bond",
            )
        return _blob(rows[0][1])

    def promised(self, slot: Slot) -> tuple[bytes, bytes] | None:
        """(digest, signed bytes) of what was signed for `slot`, or None."""
        rows = self._read("SELECT digest, signed FROM promises WHERE slot=?", slot)
        return (_blob(rows[0][0]), _blob(rows[0][1])) if rows else None

    # --- documents -------------------------------------------------------------------------------------------------

    def add_document(
        self, *, digest: bytes, kind: str, round_: int, member: int, signer: str, signed: bytes, now_ms: int
    ) -> bool:
        """Keep a verified signed document. Returns whether it was new. (digest, signer) names it."""
        return bool(
            self._write(
                "INSERT INTO documents (digest, kind, round, member, signer, signed, received_ms) "
                "VALUES (?,?,?,?,?,?,?) ON CONFLICT DO NOTHING",
                digest, kind, round_, member, signer.lower(), signed, now_ms,
            )
        )  # fmt: skip

    def documents(
        self, kind: str, *, round_: int | None = None, member: int | None = None, signer: str | None = None
    ) -> list[Row]:
        """Documents of one kind in the order in which they came, narrowed by what is given."""
        where, values = ["kind=?"], [kind]  # type: tuple[list[str], list[object]]
        for column, value in (("round", round_), ("member", member), ("signer", signer.lower() if signer else None)):
            if value is not None:
                where.append(f"{column}=?")
                values.append(value)
        sql = f"SELECT * FROM documents WHERE {' AND '.join(where)} ORDER BY seq"  # noqa: S608 (columns are named above)
        return [_row(r) for r in self._read(sql, *values)]

    def document(self, digest: bytes) -> Row | None:
        """The document with this digest (the first signer's, where several signed the same body), or None."""
        rows = self._read("SELECT * FROM documents WHERE digest=? ORDER BY seq LIMIT 1", digest)
        return _row(rows[0]) if rows else None

    def has_document(self, digest: bytes, signer: str) -> bool:
        """Whether this signer's document with this digest is kept."""
        return bool(self._read("SELECT 1 FROM documents WHERE digest=? AND signer=?", digest, signer.lower()))

    def last_document(self, kind: str, member: int) -> Row | None:
        """The newest document of a kind about a member, or None."""
        rows = self._read(
            "SELECT * FROM documents WHERE kind=? AND member=? ORDER BY round DESC, seq DESC LIMIT 1", kind, member
        )
        return _row(rows[0]) if rows else None

    def documents_after(self, seq: int, limit: int) -> list[Row]:
        """At most `limit` documents with a higher sequence number, for a peer that copies this log."""
        return [_row(r) for r in self._read("SELECT * FROM documents WHERE seq>? ORDER BY seq LIMIT ?", seq, limit)]

    def last_seq(self) -> int:
        """The newest document's sequence number, 0 when there is none."""
        return _int(self._read("SELECT coalesce(max(seq), 0) FROM documents")[0][0])

    def last_round(self, kind: str) -> int:
        """The highest round of which a document of this kind is kept, 0 when there is none."""
        return _int(self._read("SELECT coalesce(max(round), 0) FROM documents WHERE kind=?", kind)[0][0])

    # --- payloads --------------------------------------------------------------------------------------------------

    def add_payload(self, round_: int, member: int, part: int, sha256: bytes, now_ms: int) -> None:
        """Note that this signer holds the bytes of a part that match the commitment."""
        self._write(
            "INSERT INTO payloads VALUES (?1,?2,?3,?4,?5) ON CONFLICT (round, member, part) DO UPDATE SET sha256=?4",
            round_, member, part, sha256, now_ms,
        )  # fmt: skip

    def payloads(self, round_: int) -> dict[int, dict[int, bytes]]:
        """member -> part -> SHA-256 of the parts held for a round."""
        held: dict[int, dict[int, bytes]] = {}
        for member, part, sha256 in self._read("SELECT member, part, sha256 FROM payloads WHERE round=?", round_):
            held.setdefault(_int(member), {})[_int(part)] = _blob(sha256)
        return held

    def last_payload_ms(self, round_: int) -> int | None:
        """When the last payload of a round that came at all came."""
        latest = self._read("SELECT max(received_ms) FROM payloads WHERE round=?", round_)[0][0]
        return None if latest is None else _int(latest)

    def drop_payloads(self, round_: int, member: int) -> None:
        """Note that a member's parts are not held after all."""
        self._write("DELETE FROM payloads WHERE round=? AND member=?", round_, member)

    # --- members ---------------------------------------------------------------------------------------------------

    def member_seen(self, index: int, peer: str, have: bytes | None, now_ms: int, *, silence_ms: int = 15_000) -> None:
        """A member has said that it is ready; after a longer silence it has joined anew."""
        self._write(
            "INSERT INTO members (member, peer, have, joined_ms, seen_ms) VALUES (?1,?2,?3,?4,?4) "
            "ON CONFLICT (member) DO UPDATE SET peer=?2, have=?3, seen_ms=?4, "
            "joined_ms=CASE WHEN ?4 - seen_ms > ?5 THEN ?4 ELSE joined_ms END",
            index, peer, have, now_ms, silence_ms,
        )  # fmt: skip

    def member_slow(self, index: int, strikes: int, until_ms: int) -> None:
        """Set how often in a row a member was late and until when it is left out; 0 and 0 clear it."""
        self._write("UPDATE members SET strikes=?, slow_until_ms=? WHERE member=?", strikes, until_ms, index)

    def members(self) -> dict[int, Member]:
        """Every member that ever joined, by index."""
        rows = self._read(
            "SELECT member, peer, have, joined_ms, seen_ms, strikes, slow_until_ms FROM members ORDER BY member"
        )
        return {
            _int(r[0]): Member(
                _int(r[0]), str(r[1]), None if r[2] is None else _blob(r[2]), *(_int(value) for value in r[3:])
            )
            for r in rows
        }

    def add_late(self, round_: int, member: int, received_ms: int) -> None:
        """Note that a commitment came after its deadline: refused, but measured."""
        self._write("INSERT INTO late VALUES (?,?,?) ON CONFLICT DO NOTHING", round_, member, received_ms)

    def late(self, round_: int) -> dict[int, int]:
        """member -> when its late commitment came."""
        rows = self._read("SELECT member, received_ms FROM late WHERE round=?", round_)
        return {_int(r[0]): _int(r[1]) for r in rows}

    # --- the chain as this signer has seen it ----------------------------------------------------------------------

    def add_anchors(self, rows: list[AnchorRow], upto_block: int) -> None:
        """Add finalised anchors and remember the block up to which the chain was read, in one step."""
        with self.transaction():
            for a in rows:
                self._write(
                    "INSERT INTO anchors VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING",
                    a.block, a.log, a.round, a.epoch, a.deadline, a.root, a.record_round, a.record_hash, a.tx,
                )  # fmt: skip
            self.set_meta("anchors_upto", str(upto_block))

    def anchors(self, *, round_: int | None = None, epoch: int | None = None) -> list[AnchorRow]:
        """Anchors in chain order, of one round or of one epoch (of the round's deadline)."""
        if round_ is not None:
            rows = self._read("SELECT * FROM anchors WHERE round=? ORDER BY block, log", round_)
        elif epoch is not None:
            rows = self._read("SELECT * FROM anchors WHERE epoch=? ORDER BY block, log", epoch)
        else:
            rows = self._read("SELECT * FROM anchors ORDER BY block, log")
        return [_anchor(r) for r in rows]

    def record_anchor(self, round_: int) -> AnchorRow | None:
        """The anchor that made a record the record of its round: the first that names one."""
        rows = self._read(
            "SELECT * FROM anchors WHERE record_round=? AND record_hash<>zeroblob(32) ORDER BY block, log LIMIT 1",
            round_,
        )
        return _anchor(rows[0]) if rows else None

    # --- replay draws ----------------------------------------------------------------------------------------------

    def add_draw(self, draw: Draw) -> None:
        """Note a draw; one that is known keeps its state."""
        self._write(
            "INSERT INTO draws VALUES (?,?,?,?,?,?,?) ON CONFLICT DO NOTHING",
            draw.round, draw.member, draw.segment, draw.position, draw.seed_block, draw.seed_hash, draw.state,
        )  # fmt: skip

    def set_draw(self, draw: Draw, state: str) -> None:
        """Move a draw to another state."""
        self._write(
            "UPDATE draws SET state=? WHERE round=? AND member=? AND segment=? AND position=?",
            state, draw.round, draw.member, draw.segment, draw.position,
        )  # fmt: skip

    def draws(self, *, round_: int | None = None, state: str | None = None) -> list[Draw]:
        """Draws in order of round, member, narrowed by what is given."""
        rows = self._read(
            "SELECT * FROM draws WHERE (?1 IS NULL OR round=?1) AND (?2 IS NULL OR state=?2) "
            "ORDER BY round, member, segment, position",
            round_, state,
        )  # fmt: skip
        return [
            Draw(_int(r[0]), _int(r[1]), _int(r[2]), _int(r[3]), _int(r[4]), _blob(r[5]), str(r[6])) for r in rows
        ]

    def set_shown(self, draw: Draw, shown: Shown) -> None:
        """Note what a member has shown for a draw and is on this disk now."""
        self._write(
            "INSERT INTO states VALUES (?1,?2,?3,?4,?5,?6) "
            "ON CONFLICT (round, member, segment) DO UPDATE SET leaf=?4, start=?5, claimed=?6",
            draw.round, draw.member, draw.segment, shown.leaf, shown.start, shown.claimed,
        )  # fmt: skip

    def shown(self, draw: Draw) -> Shown | None:
        """What a member has shown for a draw, if it has."""
        rows = self._read(
            "SELECT leaf, start, claimed FROM states WHERE round=? AND member=? AND segment=?",
            draw.round, draw.member, draw.segment,
        )  # fmt: skip
        return Shown(*map(str, rows[0])) if rows else None

    def drop_shown(self, draw: Draw) -> list[str]:
        """Forget it; returns the digests of files that no other draw needs."""
        found = self.shown(draw)
        named = [] if found is None else [digest for digest in (found.start, found.claimed) if digest]
        self._write(
            "DELETE FROM states WHERE round=? AND member=? AND segment=?", draw.round, draw.member, draw.segment
        )
        return [d for d in named if not self._read("SELECT 1 FROM states WHERE start=?1 OR claimed=?1", d)]

    def close_draws(self, rounds: list[int]) -> None:
        """Nothing is left to do about the draws of these rounds."""
        with self.transaction():
            for number in rounds:
                self._write("UPDATE draws SET state='done' WHERE round=?", number)

    # --- offences --------------------------------------------------------------------------------------------------

    def add_offence(self, row: OffenceRow) -> None:
        """Note a proved offence; a known one keeps its state."""
        self._write(
            "INSERT INTO offences VALUES (?,?,?,?,?,?) ON CONFLICT DO NOTHING",
            row.digest, row.member, row.round, row.rule, row.until, row.state,
        )  # fmt: skip

    def set_offence(self, digest: bytes, state: str) -> None:
        """Move an offence to another state."""
        self._write("UPDATE offences SET state=? WHERE digest=?", state, digest)

    def offences(self, *, member: int | None = None) -> list[OffenceRow]:
        """Offences by round, of one member or of all."""
        rows = self._read("SELECT * FROM offences WHERE ?1 IS NULL OR member=?1 ORDER BY round, digest", member)
        return [OffenceRow(_blob(r[0]), _int(r[1]), _int(r[2]), str(r[3]), _int(r[4]), str(r[5])) for r in rows]

    # --- reports and transactions ----------------------------------------------------------------------------------

    def add_report(self, epoch: int, attempt: int, digest: bytes, rounds: list[int]) -> None:
        """Remember which rounds a report credits, so that none is credited twice."""
        self._write(
            "INSERT INTO reports VALUES (?,?,?,?) ON CONFLICT DO NOTHING",
            epoch, digest, attempt, ",".join(map(str, rounds)),
        )  # fmt: skip

    def report_rounds(self, epoch: int, digest: bytes) -> list[int] | None:
        """The rounds of a known report, or None when the report is not known here."""
        rows = self._read("SELECT rounds FROM reports WHERE epoch=? AND digest=?", epoch, digest)
        return [int(r) for r in str(rows[0][0]).split(",") if r] if rows else None

    def set_transaction(self, purpose: str, tx: bytes, block: int) -> None:
        """Remember the transaction that served a purpose."""
        self._write(
            "INSERT INTO transactions VALUES (?,?,?) "
            "ON CONFLICT (purpose) DO UPDATE SET tx=excluded.tx, block=excluded.block",
            purpose, tx, block,
        )  # fmt: skip

    def transaction_block(self, purpose: str) -> int | None:
        """The block in which the transaction that served a purpose was mined, or None."""
        rows = self._read("SELECT block FROM transactions WHERE purpose=?", purpose)
        return _int(rows[0][0]) if rows else None


def _blob(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise OracleError("the database holds a value of the wrong type", f"{type(value).__name__} instead of bytes")
    return value


def _int(value: object) -> int:
    if not isinstance(value, int):
        raise OracleError("the database holds a value of the wrong type", f"{type(value).__name__} instead of int")
    return value


def _row(r: tuple[object, ...]) -> Row:
    return Row(_int(r[0]), _blob(r[1]), str(r[2]), _int(r[3]), _int(r[4]), str(r[5]), _blob(r[6]), _int(r[7]))


def _anchor(r: tuple[object, ...]) -> AnchorRow:
    return AnchorRow(
        _int(r[0]), _int(r[1]), _int(r[2]), _int(r[3]), _int(r[4]), _blob(r[5]), _int(r[6]), _blob(r[7]), _blob(r[8])
    )
