"""Ways to peers that no TCP connection reaches: what a tunnel must do, and the addresses that ask for one.

Such an address is a libp2p multiaddress that ends in the peer's identity, with the way to it before or without one:
`/p2p/ID`, `/ip4/203.0.113.7/tcp/4001/p2p/ID`, `/dns4/relay.example.org/tcp/4001/p2p/RELAY/p2p-circuit/p2p/ID`. A tunnel
only carries bytes: TLS, keys and frames inside it are the same as over TCP.
"""

import ipaddress
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from commonweight.errors import PeerUnreachable

_HOSTS = {"ip4", "ip6", "dns", "dns4", "dns6"}
_IDENTITY = re.compile(r"[1-9A-HJ-NP-Za-km-z]{40,64}")
_NAME = re.compile(r"[A-Za-z0-9.-]{1,253}")
_LONGEST = 512

Admit = Callable[[socket.socket, str], None]
"""Takes a connected socket and who it comes from."""


class Tunnel(Protocol):
    """Carries connections for one process."""

    async def open(self, address: str) -> socket.socket:
        """A connected, non-blocking stream socket to the peer. Raises PeerUnreachable."""


@dataclass(frozen=True)
class Multiaddr:
    """A multiaddress: `parts` are (protocol, value) in order, with value '' for p2p-circuit; the last is the peer."""

    parts: tuple[tuple[str, str], ...]

    @property
    def identity(self) -> str:
        """The peer's identity in base58."""
        return self.parts[-1][1]

    @property
    def route(self) -> "tuple[tuple[str, str], ...]":
        """What comes before the peer's identity; empty when it has to be looked up."""
        return self.parts[:-1]

    def __str__(self) -> str:
        return "".join(f"/{name}/{value}" if value else f"/{name}" for name, value in self.parts)


def is_multiaddr(address: str) -> bool:
    """Whether an address means a tunnel rather than host:port."""
    return address.startswith("/")


def parse_multiaddr(text: str) -> Multiaddr:
    """Raises PeerUnreachable for what is not a multiaddress over TCP that ends in an identity."""
    words, parts = iter(text[1:].split("/")), list[tuple[str, str]]()
    for name in words:
        value = "" if name == "p2p-circuit" else next(words, "")
        if len(text) > _LONGEST or not _valid(name, value):
            raise _wrong(text)
        parts.append((name, value))
    if not is_multiaddr(text) or not parts or parts[-1][0] != "p2p":
        raise _wrong(text)
    return Multiaddr(tuple(parts))


def _valid(name: str, value: str) -> bool:
    if name in ("ip4", "ip6"):
        try:
            return ipaddress.ip_address(value).version == int(name[2])
        except ValueError:
            return False
    if name in _HOSTS:
        return _NAME.fullmatch(value) is not None
    if name == "tcp":
        return value.isascii() and value.isdigit() and 0 < int(value) < 65536
    return _IDENTITY.fullmatch(value) is not None if name == "p2p" else name == "p2p-circuit"


def _wrong(text: str) -> PeerUnreachable:
    return PeerUnreachable(
        f"{text[:100]!r} is not an address", "a libp2p address ends in /p2p/ and the peer's identity",
        "write it like /ip4/203.0.113.7/tcp/4001/p2p/ID",
    )  # fmt: skip
