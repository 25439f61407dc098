"""One key, one process: a second one with the same key would commit twice to one round, which is an offence.

On one computer a lock tells them apart, whatever their data directories; elsewhere the other one's answers do.
"""

from pathlib import Path
from typing import BinaryIO

from commonweight.chain import alone
from commonweight.chain.run import Run
from commonweight.errors import PeerError, TrainingError
from commonweight.net import Dialer, is_multiaddr

_PATIENCE_S = 3.0
_OFFENCE = "two of them commit twice to one round, which is an offence: a ban, and the stake may be slashed"


def lock_key(folder: Path, run: Run, address: str, data_dir: Path) -> BinaryIO | None:
    """Hold the lock of a member's key; see `alone.lock_key`. TrainingError when another process has it."""

    def refuse(holder: str) -> TrainingError:
        return TrainingError(
            f"Another process with this provider's key runs on this computer: {holder}",
            _OFFENCE,
            "stop that one first and wait until it has ended; then start with its --data-dir, which has its rounds",
        )

    return alone.lock_key(folder, run, "member", address, data_dir, refuse)


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
