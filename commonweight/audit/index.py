"""All events of a run's contracts in SQLite, up to a named block.

Logs are kept as the chain gave them, with their decoded fields beside them, so that they can be queried as well as
replayed. An index on disk is read on from the last page that it has whole, after comparing the hash of the block up to
which it was being read, the head: on another branch of the chain it is made anew. It is never given up for want of an
answer.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TypeVar

from commonweight.audit.settings import Progress, quiet
from commonweight.chain.client import LOG_PAGE_BLOCKS
from commonweight.chain.events import ChainEvent, decode_events
from commonweight.chain.run import Run
from commonweight.chain.types import Block, Log
from commonweight.errors import NodeFailed, UsageError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS logs (
  block INTEGER NOT NULL, log_index INTEGER NOT NULL, block_hash BLOB NOT NULL, tx BLOB NOT NULL,
  address TEXT NOT NULL, contract TEXT NOT NULL, event TEXT NOT NULL, fields TEXT NOT NULL,
  topics BLOB NOT NULL, data BLOB NOT NULL, PRIMARY KEY (block, log_index)
);
CREATE INDEX IF NOT EXISTS logs_by_event ON logs (event);
"""
_PLACE = tuple(field.name for field in fields(ChainEvent))
E = TypeVar("E", bound=ChainEvent)


class EventIndex:
    """The events of one run up to `block`; used from one thread."""

    def __init__(self, run: Run, path: Path | None = None) -> None:
        """Open the index at `path`, or one in memory. Raises UsageError when the file is no index or cannot be used."""
        self._run = run
        self._path = path
        self._db = sqlite3.connect(path or ":memory:", timeout=60.0)
        try:
            self._db.executescript(_SCHEMA)
        except sqlite3.Error as problem:
            self._db.close()
            raise UsageError(
                f"The index {path} cannot be used", str(problem), "delete it: it is made anew"
            ) from problem
        self.block = -1

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def advance(self, to: Block, progress: Progress = quiet) -> None:
        """Read events up to a block. Raises ChainError when the node cannot give them, or is behind the index."""
        start = self._resume(to)
        first = start
        while start <= to.number:
            stop = min(to.number, start + LOG_PAGE_BLOCKS - 1)
            logs = list(self._run.chain.logs(list(self._run.contract_names), (), start, stop))
            with self._db:
                for log in logs:
                    self._insert(log)
                self._remember(stop, to)
            start = stop + 1
            progress("reading events", start - first, to.number + 1 - first)
        self.block = to.number

    def events(self, kinds: Sequence[type[ChainEvent]] = ()) -> Iterator[ChainEvent]:
        """The events of the given classes, or all, in chain order."""
        names = [kind.__name__ for kind in kinds]
        where = f"AND event IN ({','.join('?' * len(names))})" if names else ""  # placeholders only
        columns = "address, topics, data, block, block_hash, tx, log_index"
        query = f"SELECT {columns} FROM logs WHERE block <= ? {where} ORDER BY block, log_index"  # noqa: S608
        for row in self._db.execute(query, (self.block, *names)):
            address, topics, data, block, block_hash, tx, log_index = row
            cut = tuple(topics[place : place + 32] for place in range(0, len(topics), 32))
            log = Log(address, cut, data, block, block_hash, tx, log_index)
            yield from decode_events([log], self._run.contract_names)

    def of(self, kind: type[E]) -> list[E]:
        """The events of one class, in chain order."""
        return [event for event in self.events([kind]) if isinstance(event, kind)]

    def _resume(self, to: Block) -> int:
        """The block to read from, after dropping what is not on the chain that ends in `to`."""
        meta = dict(self._db.execute("SELECT key, value FROM meta"))
        same_run = meta.get("run") == self._run.address and meta.get("chain_id") == str(self._run.chain.chain_id)
        if same_run and self._on_chain(int(meta.get("head", meta["block"])), bytes.fromhex(meta["block_hash"]), to):
            last = int(meta["block"])
            with self._db:
                self._db.execute("DELETE FROM logs WHERE block > ?", (last,))  # of a page that is not whole
            return last + 1
        with self._db:
            self._db.execute("DELETE FROM logs")
            self._db.execute("DELETE FROM meta")
        return self._run.first_block

    def _on_chain(self, head: int, head_hash: bytes, to: Block) -> bool:
        """Whether the index is of this chain. Raises NodeFailed when the node has too little of it to tell."""
        try:
            return self._run.chain.block(head).hash == head_hash
        except NodeFailed as behind:
            query = "SELECT block, block_hash FROM logs WHERE block <= ? ORDER BY block DESC LIMIT 1"
            for number, block_hash in self._db.execute(query, (to.number,)):
                if self._run.chain.block(number).hash != block_hash:
                    return False
            fix = f"{behind.fix.removesuffix('.')}; or delete {self._path}, which is made anew."
            raise NodeFailed(behind.what, behind.why, fix) from None

    def _insert(self, log: Log) -> None:
        event = next(decode_events([log], self._run.contract_names))
        self._db.execute(
            "INSERT INTO logs VALUES (?,?,?,?,?,?,?,?,?,?)",
            (
                log.block,
                log.log_index,
                log.block_hash,
                log.tx,
                log.address,
                self._run.contract_names[log.address],
                type(event).__name__,
                json.dumps(fields_of(event)),
                b"".join(log.topics),
                log.data,
            ),
        )

    def _remember(self, last: int, head: Block) -> None:
        """All events up to `last` are in the index: of the chain that ends in `head`, whose hash was known before."""
        values = {
            "run": self._run.address,
            "chain_id": str(self._run.chain.chain_id),
            "block": str(last),
            "head": str(head.number),
            "block_hash": head.hash.hex(),
        }
        self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?,?)", values.items())


def fields_of(event: ChainEvent) -> dict[str, object]:
    """An event's own fields as JSON values: integers as decimal strings, bytes as 0x-hex, structs as objects."""
    plain = _plain({name: value for name, value in asdict(event).items() if name not in _PLACE})
    assert isinstance(plain, dict)
    return plain


def _plain(value: object) -> object:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, dict):
        return {str(name).rstrip("_"): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)
