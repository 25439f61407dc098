"""Nonces that stay right when several threads and processes send from one key.

Each (chain, address) has a lock file and a record of what is in flight in the state directory. A sender holds the lock
from choosing a nonce until the node has taken the transaction; the record lets whoever comes next, also after a crash,
see and re-price a transaction that holds up all later ones.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from commonweight.errors import ChainError


@dataclass(frozen=True)
class InFlight:
    """A transaction that was sent and not yet seen mined. `hashes` are of all its price variants; amounts in wei."""

    nonce: int
    to: str | None
    data: str
    value: int
    gas: int
    max_fee: int
    tip: int
    hashes: tuple[str, ...]
    sent_at: float

    def repriced(self, max_fee: int, tip: int, tx_hash: str, now: float) -> InFlight:
        """The same transaction after a re-send at another price, whose hash comes last."""
        others = tuple(known for known in self.hashes if known != tx_hash)
        return replace(self, max_fee=max_fee, tip=tip, hashes=(*others, tx_hash), sent_at=now)


@dataclass
class Record:
    """What is in flight from one address, by nonce. `save` writes it at once, before what it announces is done."""

    in_flight: dict[int, InFlight]
    save: Callable[[], None]

    @property
    def next_nonce(self) -> int:
        """One more than the highest nonce in flight; 0 if there is none."""
        return max(self.in_flight, default=-1) + 1


class NonceStore:
    """The lock and record of one address on one chain; `chain` tells chains of equal id apart, like its first hash."""

    def __init__(self, directory: Path, chain_id: int, chain: bytes, address: str) -> None:
        self._base = directory / f"{chain_id}-{chain.hex()[:8]}-{address.lower()}"
        self._thread_lock = _thread_lock(str(self._base))
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise _not_writable(directory, error) from None

    @contextmanager
    def locked(self) -> Iterator[Record]:
        """Hold the lock; changes to the yielded record are kept, also when an exception passes through."""
        with self._thread_lock:
            try:
                descriptor = os.open(self._base.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
            except OSError as error:
                raise _not_writable(self._base.parent, error) from None
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                in_flight = self._read()
                written = dict(in_flight)

                def save() -> None:
                    nonlocal written
                    self._write(in_flight)
                    written = dict(in_flight)

                try:
                    yield Record(in_flight, save)
                finally:
                    if in_flight != written:
                        save()
            finally:
                os.close(descriptor)

    def _read(self) -> dict[int, InFlight]:
        try:
            body = json.loads(self._base.with_suffix(".json").read_text())
            entries = [InFlight(**{**e, "hashes": tuple(e["hashes"])}) for e in body["in_flight"]]
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError):  # a record of another version: the chain still knows the next nonce
            return {}
        return {e.nonce: e for e in entries}

    def _write(self, in_flight: dict[int, InFlight]) -> None:
        target = self._base.with_suffix(".json")
        temporary = target.with_suffix(".json.new")
        try:
            with temporary.open("w") as file:
                json.dump({"in_flight": [asdict(e) for _, e in sorted(in_flight.items())]}, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except OSError as error:
            raise _not_writable(self._base.parent, error) from None


_locks: dict[str, threading.Lock] = {}
_locks_guard = threading.Lock()


def _thread_lock(name: str) -> threading.Lock:
    # threads of one process queue here and not in flock, where a wait could not be interrupted
    with _locks_guard:
        return _locks.setdefault(name, threading.Lock())


def _not_writable(directory: Path, error: OSError) -> ChainError:
    return ChainError(
        f"The folder {directory} cannot be written.",
        error.strerror or str(error),
        "Name another one by COMMONWEIGHT_STATE_DIR.",
    )
