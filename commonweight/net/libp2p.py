"""A tunnel through libp2p, by hivemind's P2P daemon (extra `p2p`): relays, NAT traversal, and peers by identity alone.

The daemon is a process of its own that this one starts and talks to over Unix sockets; it dies with it. A process
behind a router listens nowhere: it keeps a reservation at its relays, and whoever wants to reach it asks one of them.
One that listens is a relay for others and answers for the DHT. Each stream is copied to a socket pair, so that the rest
of the program sees a connected socket.
"""

import asyncio
import contextlib
import ipaddress
import logging
import socket
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from commonweight.errors import PeerUnreachable, UsageError
from commonweight.net.tunnel import Admit, Multiaddr, parse_multiaddr

if TYPE_CHECKING:
    from collections.abc import Awaitable

_log = logging.getLogger("commonweight.net")
_PROTOCOL = "/commonweight/1"
_START_S, _DIAL_S = 60.0, 30.0
_CHUNK = 1 << 16
_TRIES, _PROOF, _PROOF_S, _RESERVED_S = 20, 1 << 19, 30.0, 1.5
_CODES = {"ip4": 4, "tcp": 6, "ip6": 41, "dns": 53, "dns4": 54, "dns6": 55, "p2p-circuit": 290, "p2p": 421}


class Libp2p:
    """A daemon with its streams; for one event loop. Made by `start`."""

    def __init__(self, daemon: Any, client: Any, relays: Sequence[Multiaddr], announced: Sequence[str]) -> None:
        self._daemon = daemon
        self._client = client
        self._relays = relays
        self._announced = announced
        self._work: set[asyncio.Task[None]] = set()

    @classmethod
    async def start(cls, folder: Path, relays: Sequence[str] = (), listen: str | None = None) -> Self:
        """Start the daemon with the identity that `folder` keeps. `relays` are multiaddresses; `listen` is one without
        an identity, such as /ip4/0.0.0.0/tcp/4001, or None to be reached by the relays only.

        Raises UsageError when the extra is missing or nothing was named, PeerUnreachable when no daemon starts.
        """
        for _ in range(_TRIES):
            made = await cls._begin(folder, relays, listen)
            try:
                if listen is None or await made._carries():
                    return made
            except BaseException:
                await made.close()
                raise
            _log.info("libp2p's daemon came up with the small limits, starting it again")
            await made.close()
        raise PeerUnreachable(
            "libp2p's daemon is no use as a relay", "it cuts connections off after 128 KiB", "start again"
        )

    @classmethod
    async def _begin(cls, folder: Path, relays: Sequence[str], listen: str | None) -> Self:
        library = _library()
        from hivemind.p2p.p2p_daemon_bindings.control import P2PDaemonError
        from hivemind.p2p.p2p_daemon_bindings.p2pclient import Client

        known = [parse_multiaddr(relay) for relay in relays]
        if listen is None and not known:
            raise UsageError(
                "libp2p needs a way in", "neither a relay nor an address to listen on was named", "name one by --p2p"
            )
        key = await asyncio.to_thread(_own_key, library, folder)

        class Daemon(library):  # type: ignore[misc, valid-type]
            """Takes the named relays at once: a search for others would hold reservations up for minutes."""

            DHT_MODE_MAPPING = {**library.DHT_MODE_MAPPING, "client": {"dhtClient": 1, "relayDiscovery": 0}}  # noqa: RUF012

        create = partial(
            Daemon.create,
                initial_peers=[str(relay) for relay in known] or None, trusted_relays=[str(relay) for relay in known],
                host_maddrs=[listen] if listen else None, no_listen=listen is None, use_auto_relay=listen is None,
                force_reachability="public" if listen else "private", dht_mode="server" if listen else "client",
                identity_path=str(key), check_if_identity_free=False, nat_port_map=listen is not None,
                startup_timeout=_START_S,
            )  # fmt: skip
        daemon: Any = None
        for last in (False, False, True):  # at times it does not get to know a relay that is there
            try:
                daemon = await create()
            except P2PDaemonError as problem:
                if last:
                    raise PeerUnreachable(
                        "libp2p's daemon does not start", str(problem)[:300], "check that a relay can be reached"
                    ) from None
            else:
                break
        client = await Client.create(daemon.daemon_listen_maddr, daemon._client_listen_maddr)
        announced = [] if listen is None else [str(each) for each in await daemon.get_visible_maddrs()]
        return cls(daemon, client, known, announced)

    @property
    def identity(self) -> str:
        """This process's identity in base58."""
        return str(self._daemon.peer_id.to_base58())

    @property
    def address(self) -> str:
        """Where others reach this process: where it listens, of several addresses one that others can see, or at its
        first relay.
        """
        seen = [each for each in self._announced if not each.startswith(("/ip4/127.", "/ip6/::1/"))]
        return (seen or self._announced or [_at_relay(self._relays[0], self.identity)])[0]

    async def serve(self, admit: Admit) -> None:
        """Let `admit` have every connection that others open from now on."""
        await self._daemon.add_binary_stream_handler(_PROTOCOL, self._incoming(admit))

    def _incoming(self, admit: Admit) -> "Any":
        async def taken(info: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            admit(await self._socket(reader, writer), f"/p2p/{info.peer_id.to_base58()}")

        return taken

    async def open(self, address: str) -> socket.socket:
        """A connected socket to the peer. Raises PeerUnreachable."""
        from hivemind.p2p import PeerID
        from hivemind.p2p.p2p_daemon_bindings.utils import ControlFailure

        target = parse_multiaddr(address)
        try:
            peer = PeerID.from_base58(target.identity)
            async with asyncio.timeout(_DIAL_S):
                if target.route:
                    await self._client.connect(peer, [_Route(target.route)])
                _, reader, writer = await self._client.stream_open(peer, (_PROTOCOL,))
        except (ControlFailure, OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as problem:
            why = (str(problem) or type(problem).__name__).splitlines()[-1].strip()
            raise PeerUnreachable(
                f"libp2p finds no way to {address[-80:]}", why[:300],
                "check that it runs and has a reservation at its relay, which takes minutes after its start",
            ) from None  # fmt: skip
        return await self._socket(reader, writer)

    async def _carries(self) -> bool:
        """Whether connections through this relay may carry more than the 128 KiB that libp2p has as its default.

        The daemon starts two relay services, one with its own limits and one with libp2p's; which of them answers is
        settled by a race at its start and stays so.
        """
        with tempfile.TemporaryDirectory() as folder:
            there = await self._begin(Path(folder) / "there", [self.address], None)
            here = await self._begin(Path(folder) / "here", [self.address], None)
            try:
                return await asyncio.wait_for(_passes(here, there), _PROOF_S)
            except TimeoutError:
                return False
            finally:
                await here.close()
                await there.close()

    async def close(self) -> None:
        """End every stream and the daemon."""
        for task in list(self._work):
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        self._client.close()
        await self._daemon.shutdown()

    async def _socket(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> socket.socket:
        """One end of a pair whose other end is copied from and to a stream."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        inner_reader, inner_writer = await asyncio.open_connection(sock=theirs, limit=_CHUNK)
        self._spawn(self._both(reader, writer, inner_reader, inner_writer))
        return ours

    async def _both(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, inner_reader: asyncio.StreamReader,
        inner_writer: asyncio.StreamWriter,
    ) -> None:  # fmt: skip
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, inner_writer))
                group.create_task(_copy(inner_reader, writer))
        except* OSError as problem:
            _log.debug("a stream ended: %s", problem.exceptions[0])
        finally:
            for each in (writer, inner_writer):
                each.close()

    def _spawn(self, work: "Awaitable[None]") -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)


async def _passes(here: Libp2p, there: Libp2p) -> bool:
    """Whether a body of some hundred KiB arrives."""
    arrived: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()
    await there.serve(lambda connection, _: arrived.set_result(connection))
    while True:
        await asyncio.sleep(_RESERVED_S)
        with contextlib.suppress(PeerUnreachable):  # the reservation at the relay is not made yet
            sending = await here.open(there.address)
            break
    _, writer = await asyncio.open_connection(sock=sending)
    reader, taking = await asyncio.open_connection(sock=await arrived)
    try:
        writer.write(bytes(_PROOF))
        return len(await reader.readexactly(_PROOF)) == _PROOF
    except (asyncio.IncompleteReadError, OSError):
        return False
    finally:
        writer.close()
        taking.close()


class _Route:
    """A way to a peer in bytes: for each part its code, and its value with its length where that is not fixed."""

    def __init__(self, parts: "tuple[tuple[str, str], ...]") -> None:
        self._parts = parts

    def to_bytes(self) -> bytes:
        """As libp2p's multiaddr specification has it."""
        return b"".join(_varint(_CODES[name]) + _value(name, value) for name, value in self._parts)


def _value(name: str, value: str) -> bytes:
    if name in ("ip4", "ip6"):
        return ipaddress.ip_address(value).packed
    if name == "tcp":
        return int(value).to_bytes(2, "big")
    if name == "p2p-circuit":
        return b""
    from hivemind.p2p import PeerID

    raw: bytes = PeerID.from_base58(value).to_bytes() if name == "p2p" else value.encode("ascii")
    return _varint(len(raw)) + raw


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until the end, which is passed on."""
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.write_eof()


def address_at(folder: Path, relay: str) -> str:
    """Where a process that keeps its identity in `folder` is reached at a relay; the identity is made when it is not
    there. Raises UsageError when the extra is missing, PeerUnreachable when the relay's address is none.
    """
    library = _library()
    from hivemind.p2p import PeerID

    identity = PeerID.from_identity(_own_key(library, folder).read_bytes())
    return _at_relay(parse_multiaddr(relay), identity.to_base58())


def _at_relay(relay: Multiaddr, identity: str) -> str:
    return f"{relay}/p2p-circuit/p2p/{identity}"


def _library() -> Any:
    """hivemind's P2P. Raises UsageError."""
    try:
        from hivemind.p2p import P2P
    except ImportError:
        raise UsageError(
            "There is nothing here that speaks libp2p", "hivemind is not installed",
            "install the extra: pip install 'commonweight[p2p]'",
        ) from None  # fmt: skip
    return P2P


def _own_key(library: Any, folder: Path) -> Path:
    """The file that holds the identity; made in one piece, readable by its owner, when it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    key, aside = folder / "p2p.key", folder / "p2p.key.part"
    if not key.exists():
        aside.unlink(missing_ok=True)
        library.generate_identity(str(aside))
        aside.replace(key)
    return key
