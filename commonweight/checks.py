"""Findings of the commands that look before a start what is wrong: `doctor`, `provider doctor`, `oracle check`.

A finding says what was looked at, and when it is not as it should be, why and how to mend it. Looking changes nothing
but for one small file in the content store, which is written to see whether it can be.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from commonweight.errors import CommonweightError, UsageError
from commonweight.net import split_address
from commonweight.store import ContentStore

T = TypeVar("T")
FREE_BYTES = 1 << 30
CLOCK_S = 5


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. When it is not `ok`, `why` and `fix` say what is wrong and what to do."""

    ok: bool
    what: str
    why: str = ""
    fix: str = ""


def attempt(findings: list[Finding], what: str, look: Callable[[], T]) -> T | None:
    """What `look` returns; its error becomes a finding."""
    try:
        found = look()
    except CommonweightError as error:
        findings.append(
            Finding(
                False,
                what,
                " ".join(t if t.endswith(".") else t + "." for t in (error.what, error.why) if t),
                error.fix,
            )
        )
        return None
    findings.append(Finding(True, what))
    return found


def folder(path: Path, needed_bytes: int = FREE_BYTES) -> Iterator[Finding]:
    """The data directory: that it can be written, and that there is room."""
    what, room = f"{path} can be written", f"{_gib(needed_bytes)} GiB of disk are free"
    try:
        path.mkdir(parents=True, exist_ok=True)
        free, writable = shutil.disk_usage(path).free, os.access(path, os.W_OK)
    except OSError as error:
        yield Finding(False, what, str(error), "Choose another --data-dir.")
        return
    yield Finding(writable, what, "" if writable else "It is another user's", "Give this user the right to write.")
    why = "" if free >= needed_bytes else f"{_gib(free)} GiB are"
    yield Finding(free >= needed_bytes, room, why, "Free space there, or choose another --data-dir.")


def memory(needed_bytes: int, meminfo: Path = Path("/proc/meminfo")) -> Finding:
    """Whether that much memory is available now."""
    what = f"{_gib(needed_bytes)} GiB of memory are available"
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):
        return Finding(True, what + " (this system does not tell)")
    why = "" if free >= needed_bytes else f"{_gib(free)} GiB are"
    return Finding(free >= needed_bytes, what, why, "End other programs, or train on a larger machine.")


def enough_memory(needed_bytes: int, allowed_bytes: int) -> None:
    """Raise UsageError when training is estimated to need more than its owner allows."""
    if needed_bytes > allowed_bytes:
        raise UsageError(
            f"This run's model does not fit into {_gib(allowed_bytes)} GiB of memory",
            f"training it takes about {_gib(needed_bytes)} GiB",
            "raise --max-memory, or lend this machine to a run with a smaller model",
        )


def free_to_listen(address: str) -> Finding:
    """Whether this process could listen there."""
    what = f"{address} is free to listen on"
    try:
        host, port = split_address(address)
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, CommonweightError) as error:
        return Finding(False, what, str(error), "Stop what uses the port, or choose another --listen.")
    return Finding(True, what)


def in_use(folder: Path) -> bool:
    """Whether another process holds the data directory's lock."""
    try:
        with (folder / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def clock(chain_time_s: int, now_s: float, slack_s: int = CLOCK_S) -> Finding:
    """Whether this clock and the chain's agree; a chain shows its last block's time, which may lag by a block."""
    apart = abs(chain_time_s - now_s)
    why = f"They are {apart:.0f} s apart" if apart > slack_s else ""
    fix = "Set the clock by NTP, or use an RPC that is up to date."
    return Finding(apart <= slack_s, "This clock and the chain's agree", why, fix)


def round_trip(store: ContentStore) -> None:
    """Put a small file into the store and get it back. Raises CommonweightError where one of them fails."""
    sent = b"commonweight doctor " + secrets.token_bytes(16)
    cid = store.put(sent)
    store.get(cid)  # checked against the CID
    store.unpin(cid)


def _gib(count: int) -> str:
    return f"{count / 2**30:.2g}" if count < 2**30 else f"{count / 2**30:.1f}"
