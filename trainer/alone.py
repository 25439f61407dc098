"""One key, one process: a second one with the same key would commit twice to one round, which is an offence.

On one computer a lock tells them apart, whatever their data directories; elsewhere the other one's answers do.
"""

import fcntl
import json
import logging
import os
from pathlib import Path
from typing import BinaryIO

from commonweight.errors import PeerError, TrainingError
from commonweight.net import Dialer, is_multiaddr

_PATIENCE_S = 3.0
_OFFENCE = "two of them commit twice to one round, which is an offence: a ban, and the stake may be slashed"
_log = logging.getLogger("commonweight.trainer")


def lock_key(folder: Path, name: str, data_dir: Path) -> BinaryIO | None:
    """Hold the lock of a key in a run, `name`, for this user, until the file is closed or the process ends.

    TrainingError when another process has it. None, with a warning, where there can be no such file.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (folder / f"{name}.lock").open("a+b")
    except OSError as problem:
        _log.warning("no other process with this key would be noticed here: %s", problem)
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = _holder(lock.read(4096))
        lock.close()
        raise TrainingError(
            f"Another process with this provider's key runs on this computer: {holder}",
            _OFFENCE,
            "stop that one first and wait until it has ended; then start with its --data-dir, which has its rounds",
        ) from None
    except OSError as problem:
        lock.close()
        _log.warning("no other process with this key would be noticed here: %s", problem)
        return None
    lock.truncate(0)
    lock.write(json.dumps({"pid": os.getpid(), "data_dir": str(data_dir.absolute())}).encode())
    lock.flush()
    return lock


def _holder(text: bytes) -> str:
    """What the file says of the process that holds it."""
    try:
        said = json.loads(text)
        return f"process {int(said['pid'])}, in {said['data_dir']}"
    except (ValueError, KeyError, TypeError):
        return "one that has just begun"


async def require_alone(dialer: Dialer, own: str, peer: str) -> None:
    """TrainingError when something answers with the key `own` (an address) where it is registered, at `peer`.

    To be called before this process listens itself. An address that cannot be dialled, or that leads through a relay,
    tells nothing.
    """
    if is_multiaddr(peer):
        return
    try:
        await dialer.call(peer, own, "ping", {}, b"", timeout_s=_PATIENCE_S)
    except PeerError:
        return
    raise TrainingError(
        f"Another process with this provider's key answers at {peer}",
        _OFFENCE,
        "stop that one first; never start a second one with this key, here or on another machine",
    )
