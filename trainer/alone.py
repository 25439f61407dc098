"""One key, one process: a second one with the same key would commit twice to one round, which is an offence."""

from commonweight.errors import PeerError, TrainingError
from commonweight.net import Dialer, is_multiaddr

_PATIENCE_S = 3.0


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
        "two of them commit twice to one round, which is an offence: a ban, and the stake may be slashed",
        "stop that one first; never start a second one with this key, here or on another machine",
    )
