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
from commonweight.quantities import show_size
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
    what = f"{path} can be written"
    try:
        path.mkdir(parents=True, exist_ok=True)
        free, writable = shutil.disk_usage(path).free, os.access(path, os.W_OK)
    except OSError as error:
        yield Finding(False, what, str(error), "Choose another --data-dir.")
        return
    yield Finding(writable, what, "" if writable else "It is another user's", "Give this user the right to write.")
    yield _enough(needed_bytes, free, "disk is free", "Free space there, or choose another --data-dir.")


def available_memory(
    meminfo: Path = Path("/proc/meminfo"),
    groups: Path = Path("/sys/fs/cgroup"),
    own: Path = Path("/proc/self/cgroup"),
) -> int | None:
    """How many bytes of memory are available now, on this machine and to this process's control groups; None where the
    system does not tell.
    """
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        return min((int(lines["MemAvailable"].split()[0]) * 1024, *_left_to(groups, own)))
    except (OSError, ValueError, KeyError):
        return None


def _left_to(groups: Path, own: Path) -> Iterator[int]:
    """What each control group (version 2) that this process is in leaves of its limit; files in memory give way."""
    try:
        (inside,) = (line[3:] for line in own.read_text().splitlines() if line.startswith("0::"))
    except (OSError, ValueError):
        return
    group = groups / inside.strip("/")
    for folder in (group, *group.parents):
        try:
            limit, used = int((folder / "memory.max").read_text()), int((folder / "memory.current").read_text())
            held = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):  # no group, or one without a limit
            continue
        yield max(0, limit - used + int(held.get("inactive_file", 0)))


def memory(needed_bytes: int, meminfo: Path = Path("/proc/meminfo")) -> Finding:
    """Whether that much memory is available now."""
    free = available_memory(meminfo)
    if free is None:
        return Finding(True, f"At least {show_size(needed_bytes)} of memory is available (this system does not tell)")
    return _enough(needed_bytes, free, "memory is available", "End other programs, or train on a larger machine.")


def _enough(needed_bytes: int, there_bytes: int, state: str, fix: str) -> Finding:
    what, there = f"At least {show_size(needed_bytes)} of {state}", f"{show_size(there_bytes)} is"
    if there_bytes >= needed_bytes:
        return Finding(True, f"{what} ({there})")
    return Finding(False, what, there, fix)


def enough_memory(needed_bytes: int, allowed_bytes: int) -> None:
    """Raise UsageError when training is estimated to need more than its owner allows."""
    if needed_bytes > allowed_bytes:
        raise UsageError(
            f"This run's model does not fit into {show_size(allowed_bytes)} of memory",
            f"training it takes about {show_size(needed_bytes)}",
            "raise --max-memory, or lend this machine to a run with a smaller model",
        )


def free_to_listen(address: str, option: str = "--listen") -> Finding:
    """Whether this process could listen there; `option` is what names the address."""
    what = f"{address} is free to listen on"
    try:
        require_free(address, option)
    except UsageError as error:
        return Finding(False, what, error.why, error.fix)
    return Finding(True, what)


def require_free(address: str, option: str = "--listen") -> None:
    """Raise UsageError when this process could not listen there; port 0 always finds a place."""
    if address.endswith(":0"):
        return
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(*split_address(address), type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except (OSError, CommonweightError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        fix = f"Stop what uses the port, or choose another {option}."
        raise UsageError(f"{address} cannot be listened on.", why, fix) from None


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
