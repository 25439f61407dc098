"""What is asked of TCP: short frames leave at once, and a path that is dead is noticed before long.

Of a connection that carries nothing the kernel finds out by probes, of one with bytes under way by their not being
acknowledged. Elsewhere than on Linux some of these options are missing, and calls find out by their own time.
"""

import contextlib
import socket

SILENT_S = 25
"""How long the other side may acknowledge nothing."""
_PROBES = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 2}


def prepare(connection: socket.socket | None) -> None:
    """Set the options of a connection; where the socket is not TCP there is nothing to do, nor where it is closed by
    now, of which a transport knows no socket.
    """
    if connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _PROBES.items():
        _set(connection, name, value)
    allow_silence(connection, SILENT_S)


def allow_silence(connection: socket.socket | None, seconds: float) -> None:
    """Bound how long sent bytes may stay unacknowledged, or wait for a receiver that reads no more for now."""
    if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):  # closed by now
            _set(connection, "TCP_USER_TIMEOUT", round(seconds * 1000))


def _set(connection: socket.socket, name: str, value: int) -> None:
    option = getattr(socket, name, None)
    if option is not None:
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
