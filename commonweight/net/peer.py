"""A client's side: connect to a peer whose key is known, and call its methods, many at once on one connection."""

import asyncio
import ipaddress
import itertools
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from weakref import WeakValueDictionary

from commonweight.errors import (
    AuthenticationError,
    FrameTooLarge,
    PeerError,
    PeerRefused,
    PeerTimeout,
    PeerUnreachable,
    ProtocolViolation,
)
from commonweight.net import tcp
from commonweight.net.identity import (
    Caller,
    Identity,
    check_server_hello,
    client_context,
    client_hello,
    peer_certificate_sha256,
)
from commonweight.net.limits import Limits
from commonweight.net.server import Reply
from commonweight.net.stream import Stream
from commonweight.net.traffic import PROCESS_TRAFFIC, Traffic
from commonweight.net.tunnel import Tunnel, is_multiaddr, parse_multiaddr
from commonweight.net.wire import Frame, Wire
from commonweight.protocol.canonical import JsonObject

DEFAULT_MAX_REPLY = 1 << 26
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}")
MAX_ADDRESS = 256
"""Characters of a peer's address; the registry takes more."""
_MAX_ABANDONED = 4096
_BULK_BYTES = 1 << 16


@dataclass
class _Call:
    method: str
    max_reply: int
    answer: "asyncio.Future[Reply] | None"  # None once nobody waits any more


async def connect(
    address: str,
    expect: str,
    identity: Identity,
    *,
    timeout_s: float = 15.0,
    limits: Limits | None = None,
    traffic: Traffic = PROCESS_TRAFFIC,
    tunnel: Tunnel | None = None,
) -> "Peer":
    """Connect to `host:port`, or through `tunnel` to a libp2p address, and prove both sides; `expect` is the address of
    the key that must answer.

    Raises PeerUnreachable, PeerTimeout, AuthenticationError (it is someone else, another run, or its clock is off) and
    PeerRefused (it does not let us in; `code` says why).
    """
    limits = limits or Limits()
    wire: Wire | None = None
    try:
        async with asyncio.timeout(timeout_s):
            stream = await _open(address, tunnel)
            wire = Wire(stream, limits, Traffic(traffic), address)
            tcp.prepare(stream.transport.get_extra_info("socket"))
            caller = await _greet(wire, stream, expect, identity, limits)
    except TimeoutError:
        _drop(wire)
        raise PeerTimeout(f"{address} did not complete the handshake within {timeout_s:g} s") from None
    except (OSError, ValueError) as problem:  # a name that no resolver takes is a UnicodeError, or has a zero in it
        _drop(wire)
        raise PeerUnreachable(
            f"No connection to {address}", str(problem), "check that it runs and that this address can be reached"
        ) from problem
    except BaseException:
        _drop(wire)
        raise
    return Peer(wire, caller, address, limits)


async def _open(address: str, tunnel: Tunnel | None) -> Stream:
    """A TLS connection, over TCP or through the tunnel; nobody has proved anything yet."""
    loop = asyncio.get_running_loop()
    if not is_multiaddr(address):
        host, port = split_address(address)
        _, stream = await loop.create_connection(Stream, host, port, ssl=client_context(), ssl_shutdown_timeout=1.0)
        return stream
    parse_multiaddr(address)
    if tunnel is None:
        raise PeerUnreachable(
            f"{address[-80:]} can only be reached through libp2p", "this process was started without it",
            "install the extra p2p and name a relay by --p2p",
        )  # fmt: skip
    connection = await tunnel.open(address)
    _, stream = await loop.create_connection(
        Stream, sock=connection, ssl=client_context(), ssl_shutdown_timeout=1.0, server_hostname=""
    )
    return stream


async def _greet(wire: Wire, stream: Stream, expect: str, identity: Identity, limits: Limits) -> Caller:
    certificate = peer_certificate_sha256(stream.transport.get_extra_info("ssl_object"))
    hello = await _hello_frame(wire, limits)
    caller, nonce = check_server_hello(
        hello.header.get("hello"), identity, expect, certificate, limits.max_clock_skew_s
    )
    answer = client_hello(identity, expect, certificate, nonce)
    await wire.send({"hello": answer.to_json()}, b"", "hello")
    welcome = (await _hello_frame(wire, limits)).header
    if welcome.get("status") != "ok":
        raise _refused(welcome)
    return caller


class Peer:
    """An open connection to a peer. `caller` is who it proved to be; counters are in `traffic`.

    A call that nothing at all was heard of in its time makes the connection suspect: it takes no new calls, and ends
    with those that still wait on it.
    """

    def __init__(self, wire: Wire, caller: Caller, address: str, limits: Limits) -> None:
        self.on_end: Callable[[], object] = _nothing
        """Called when the connection is over."""
        self.caller = caller
        self.address = address
        self.traffic = wire.traffic
        self._wire = wire
        self._limits = limits
        self._ids = itertools.count(1)
        self._calls: dict[int, _Call] = {}
        self._problem: PeerError | None = None
        self._suspect = False
        self._long = 0  # calls with a long body, for which the receiver may have no room yet
        self._reading = asyncio.create_task(self._read())

    @property
    def closed(self) -> bool:
        """Whether the connection is gone, or may be; a new one has to be made then."""
        return self._problem is not None or self._suspect or self._wire.closing

    @property
    def bytes_sent(self) -> int:
        """Frame bytes sent on this connection."""
        return self.traffic.totals().bytes_sent

    @property
    def bytes_received(self) -> int:
        """Frame bytes received on this connection."""
        return self.traffic.totals().bytes_received

    async def call(
        self,
        method: str,
        params: "JsonObject | None" = None,
        body: bytes = b"",
        *,
        timeout_s: float = 30.0,
        max_reply: int = DEFAULT_MAX_REPLY,
    ) -> Reply:
        """Call a method and wait for its reply, which may have a body of at most `max_reply` bytes.

        Raises PeerRefused (the peer's refusal; `code` says why), PeerTimeout, PeerUnreachable (connection lost),
        FrameTooLarge and ProtocolViolation (the peer misbehaved; the connection is closed).
        """
        if self._problem is not None:
            raise type(self._problem)(*self._problem.args)
        number = next(self._ids)
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        call = self._calls[number] = _Call(method, max_reply, answer)
        header: JsonObject = {"id": number, "method": method, "params": params or {}}
        heard = self._wire.arrived
        long = len(body) > _BULK_BYTES
        self._count_long(long)
        sending = asyncio.create_task(self._wire.send(header, body, method))
        either: set[asyncio.Future[None] | asyncio.Future[Reply]] = {sending, answer}
        try:
            async with asyncio.timeout(timeout_s):
                # a refusal may come while the body is still being sent
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if not answer.done():
                    await sending
                return await answer
        except TimeoutError:
            self._suspect |= sending.done() and self._wire.arrived == heard
            raise PeerTimeout(f"{self.address} did not answer {method} within {timeout_s:g} s") from None
        finally:
            self._count_long(-long)
            sending.cancel()  # if it has begun, half a frame is out and the connection ends
            await asyncio.gather(sending, return_exceptions=True)
            if answer.done() and not answer.cancelled():
                self._calls.pop(number, None)
                answer.exception()  # seen, also when the sending failed first
            else:
                call.answer = None  # a late reply is read and dropped
            unused = self._suspect and all(waiting.answer is None for waiting in self._calls.values())
            if unused or len(self._calls) > _MAX_ABANDONED:
                self._wire.abort()

    def _count_long(self, change: int) -> None:
        """A receiver without room leaves a long body unread for a while, which is no sign of a dead path."""
        if change:
            self._long += change
            unread_s = self._limits.handler_s + self._limits.frame_s
            self._wire.allow_silence(unread_s if self._long else tcp.SILENT_S)

    async def ping(self, timeout_s: float = 10.0) -> int:
        """Round-trip time of an empty request, in microseconds."""
        started = time.perf_counter_ns()
        await self.call("ping", timeout_s=timeout_s, max_reply=0)
        return (time.perf_counter_ns() - started) // 1000

    async def close(self) -> None:
        """Close the connection; calls that are waiting fail with PeerUnreachable."""
        self._fail(PeerUnreachable(f"The connection to {self.address} was closed here"))
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        await self._wire.close()

    async def _read(self) -> None:
        try:
            while (
                frame := await self._wire.receive(self._limits.max_header, self._admit, None, self._method_of)
            ) is not None:
                self._settle(frame)
            self._fail(PeerUnreachable(f"{self.address} closed the connection"))
        except PeerError as problem:
            self._fail(problem)
        finally:
            self._wire.abort()
            self.on_end()

    async def _admit(self, header: JsonObject, size: int) -> None:
        call = self._calls.get(_number(header))
        if call is None or set(header) != {"id", "status", "params"} or not isinstance(header["params"], dict):
            raise ProtocolViolation(f"{self.address} answered what was not asked")
        if size > call.max_reply:
            raise FrameTooLarge(
                f"{self.address} answered {call.method} with {size} bytes", f"{call.max_reply} are allowed here"
            )

    def _settle(self, frame: Frame) -> None:
        call = self._calls.pop(_number(frame.header))
        params = frame.header["params"]
        if call.answer is None or call.answer.done() or not isinstance(params, dict):
            return
        if frame.header["status"] == "ok":
            call.answer.set_result(Reply(params, frame.body, frame.transfer_us))
        else:
            call.answer.set_exception(_refused(frame.header))

    def _method_of(self, header: JsonObject) -> str:
        call = self._calls.get(_number(header))
        return call.method if call else "unknown"

    def _fail(self, problem: PeerError) -> None:
        if self._problem is None:
            self._problem = problem
        for call in self._calls.values():
            if call.answer is not None and not call.answer.done():
                call.answer.set_exception(type(problem)(*problem.args))


class Dialer:
    """Keeps one connection to each peer and makes a new one when it is lost; for one event loop.

    When the upload is capped, long bodies have a second connection, so that nothing short waits behind them.
    """

    def __init__(
        self, identity: Identity, limits: Limits | None = None, traffic: Traffic = PROCESS_TRAFFIC,
        tunnel: Tunnel | None = None,
    ) -> None:  # fmt: skip
        self.identity = identity
        self.tunnel = tunnel
        self.limits = limits or Limits()
        self.traffic = traffic
        self._peers: dict[tuple[str, str, bool], Peer] = {}
        self._turns: WeakValueDictionary[tuple[str, str, bool], asyncio.Lock] = WeakValueDictionary()

    async def peer(self, address: str, expect: str, timeout_s: float = 15.0, *, bulk: bool = False) -> Peer:
        """The open connection to `expect` at an address, or a new one; raises as `connect` does."""
        target = (address, expect.lower(), bulk)
        async with self._turns.setdefault(target, asyncio.Lock()):
            known = self._peers.get(target)
            if known is not None and not known.closed:
                return known
            peer = await connect(
                address, expect, self.identity, timeout_s=timeout_s, limits=self.limits, traffic=self.traffic,
                tunnel=self.tunnel,
            )  # fmt: skip
            self._peers[target] = peer
            peer.on_end = partial(self._forget, target, peer)
            return peer

    def _forget(self, target: tuple[str, str, bool], peer: Peer) -> None:
        """A connection is over: nothing stays of an address that is not used any more."""
        if self._peers.get(target) is peer:
            del self._peers[target]

    async def call(
        self,
        address: str,
        expect: str,
        method: str,
        params: "JsonObject | None" = None,
        body: bytes = b"",
        *,
        timeout_s: float = 30.0,
        max_reply: int = DEFAULT_MAX_REPLY,
    ) -> Reply:
        """Connect if needed, and call; `timeout_s` covers both.

        A connection that turns out to have been closed by the peer is made anew once, so a method may arrive twice.
        """
        ends = time.monotonic() + timeout_s
        bulk = self.limits.upload is not None and len(body) > _BULK_BYTES
        for last in (False, True):
            used = self._peers.get((address, expect.lower(), bulk))
            peer = await self.peer(address, expect, max(0.001, ends - time.monotonic()), bulk=bulk)
            left_s = max(0.001, ends - time.monotonic())
            try:
                return await peer.call(method, params, body, timeout_s=left_s, max_reply=max_reply)
            except PeerUnreachable:
                if last or peer is not used:
                    raise
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Close every connection."""
        peers, self._peers = list(self._peers.values()), {}
        await asyncio.gather(*(peer.close() for peer in peers), return_exceptions=True)


def check_address(address: str) -> None:
    """Raises PeerUnreachable for what is neither host:port nor a libp2p address, is longer than MAX_ADDRESS characters,
    names a host that cannot exist, or cannot be connected to by anybody.
    """
    if len(address) > MAX_ADDRESS:
        raise PeerUnreachable(
            f"{address[:100]!r} and so on is too long", f"{MAX_ADDRESS} characters is the most", "name a shorter one"
        )
    if is_multiaddr(address):
        hosts = [value for _, value in parse_multiaddr(address).parts]
    else:
        hosts = [split_address(address)[0]]
        if not _can_exist(hosts[0]):
            raise PeerUnreachable(
                f"{address[:100]!r} is not an address",
                "a host is named by letters, digits, dots and hyphens, or is an IPv6 address in brackets",
                "correct the address",
            )
    if any(_is_any(host) for host in hosts):
        raise PeerUnreachable(
            f"Nobody can connect to {address}", "it means all addresses of one machine", "name one of them"
        )


def _can_exist(host: str) -> bool:
    """Whether it is formed like a host's name, or like an address; underscores are in names of local networks."""
    if ":" not in host:
        return _HOST.fullmatch(host) is not None
    try:
        return ipaddress.ip_address(host).version == 6 and "%" not in host
    except ValueError:
        return False


def _is_any(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[v6]:port`; raises PeerUnreachable when it is neither."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise PeerUnreachable(f"{address[:100]!r} is not an address", "it has to be host:port", "correct the address")
    return host, int(port)


async def _hello_frame(wire: Wire, limits: Limits) -> Frame:
    async def no_body(_header: JsonObject, size: int) -> None:
        if size:
            raise ProtocolViolation(f"{wire.where} sent a hello with a body")

    frame = await wire.receive(limits.max_hello, no_body, limits.handshake_s, lambda _: "hello")
    if frame is None:
        raise AuthenticationError(f"{wire.where} closed the connection instead of saying who it is")
    return frame


def _refused(header: JsonObject) -> PeerRefused:
    params = header.get("params")
    said = params if isinstance(params, dict) else {}
    what, why, fix = (str(said.get(name, ""))[:500] for name in ("what", "why", "fix"))
    return PeerRefused(str(header.get("status"))[:40], what or "The peer refused", why, fix)


def _number(header: JsonObject) -> int:
    value = header.get("id")
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _nothing() -> None:
    """What follows the end of a connection that nobody keeps."""


def _drop(wire: Wire | None) -> None:
    if wire is not None:
        wire.abort()
