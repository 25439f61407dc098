"""One key, one process: on one computer a lock tells two of them apart, whatever their data directories."""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from commonweight.chain.run import Run
from commonweight.errors import CommonweightError
from commonweight.protocol.fields import lower_address

_log = logging.getLogger("commonweight.chain")


def lock_key(
    folder: Path, run: Run, role: str, address: str, data_dir: Path, refuse: Callable[[str], CommonweightError]
) -> BinaryIO | None:
    """Hold the lock of a key's role in a run, for this user, until the file is closed or the process ends.

    Raises what `refuse` makes of the process that has it. None, with a warning, where there can be no such file. The
    block of the run's creation tells chains of one id apart.
    """
    created = run.chain.block(run.first_block).hash.hex()[:8]
    name = f"{role}-{run.chain.chain_id}-{created}-{lower_address(run.address)}-{lower_address(address)}"
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
        raise refuse(holder) from None
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
