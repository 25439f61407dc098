"""A server: authenticated requests from many peers at once, with bounds on everything that they can make it hold.

A connection is counted before TLS begins; one that does not finish TLS and its hello in time is cut off. Some do so at
one time, and the others wait for their turn (`commonweight.net.door`). After the hello, `authorise` decides whether the
caller may speak at all. Requests of one connection run at the same time; a caller with too many in flight, or over its
rate, is read later. Whoever sends what is not a frame of this protocol, or more than its method allows, loses the
connection and nobody else is touched; so does, when there is no room for others' bodies, whoever has most of it.

Anybody can be an observer, under any number of keys: observers call only what is marked for them, in short headers, and
few are connected at one time; the oldest gives way to the next, and to whoever is known when the server is full.
"""

import asyncio
import contextlib
import ipaddress
import logging
import resource
import socket
import sys
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from commonweight.errors import CommonweightError, PeerError, PeerRefused, PeerTimeout
from commonweight.net import tcp
from commonweight.net.door import Door, Guest
from commonweight.net.identity import Caller, Certificate, Identity, check_client_hello, new_certificate, server_hello
from commonweight.net.limits import Budget, Limits, RateLimiter
from commonweight.net.room import Hold, Room
from commonweight.net.stream import Stream
from commonweight.net.traffic import PROCESS_TRAFFIC, Traffic
from commonweight.net.wire import Frame, Wire
from commonweight.protocol.canonical import JsonObject

_log = logging.getLogger("commonweight.net")
_OBSERVER = "observer"
_BACKLOG = 1024


@dataclass(frozen=True)
class Request:
    """What a handler gets: the proven caller, the parameters, the body, and how long the body took to arrive."""

    caller: Caller
    method: str
    params: JsonObject
    body: bytes
    transfer_us: int


@dataclass(frozen=True)
class Reply:
    """What a handler answers, and what a caller gets. `transfer_us` is how long the body took (filled on arrival)."""

    params: JsonObject = field(default_factory=dict)
    body: bytes = b""
    transfer_us: int = 0


Handler = Callable[[Request], Awaitable[Reply]]
Authorise = Callable[[Caller], Awaitable[None]]


@dataclass(frozen=True)
class Method:
    """A handler with the largest request body that it takes. `ends_itself`: it has an end of its own, which may come
    later than `handler_s` of the limits. `observable`: observers may call it, too.
    """

    handler: Handler
    max_body: int = 0
    ends_itself: bool = False
    observable: bool = False


class Server:
    """Serves `methods` to callers that `authorise` lets in (it raises PeerRefused for others). `ping` is built in."""

    def __init__(
        self,
        identity: Identity,
        methods: Mapping[str, Method],
        authorise: Authorise,
        limits: Limits | None = None,
        traffic: Traffic = PROCESS_TRAFFIC,
    ) -> None:
        self.identity = identity
        self.limits = limits or Limits()
        self.traffic = traffic
        self._methods = {**methods, "ping": Method(_pong, observable=True)}
        self._authorise = authorise
        self._certificate: Certificate = new_certificate()
        self._room = Room(self.limits.max_body_memory)
        self._rate = RateLimiter(self.limits.requests_per_s, self.limits.burst)
        self._listener: socket.socket | None = None
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()
        pending = min(self.limits.max_pending, _open_files() // 4)
        places = max(1, min(self.limits.max_handshakes, pending // 2))
        self._door = Door(places, pending - places, self.limits.patience_s)
        self._open: dict[str, dict[Wire, None]] = defaultdict(dict)
        self._observers: dict[Wire, str] = {}  # in the order of their coming, with their address
        self._in_flight: dict[str, Budget] = {}
        self._answering: Counter[Wire] = Counter()

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; port 0 takes a free one. Returns the host and port. Raises OSError when the address is taken."""
        infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = infos[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
        self._listener = listener
        self._spawn(self._accept(listener))
        bound = listener.getsockname()
        return str(bound[0]), int(bound[1])

    async def close(self) -> None:
        """Stop listening, end every connection and cancel what is running."""
        self._closed = True
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def connections(self) -> int:
        """How many authenticated connections are open."""
        return sum(len(wires) for wires in self._open.values())

    # --- coming in ---------------------------------------------------------------------------------------------------

    def _spawn(self, work: Awaitable[None]) -> "asyncio.Task[None]":
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listener)
            except OSError as problem:
                if self._listener is None:
                    return
                _log.warning("a connection could not be accepted: %s", problem)
                await asyncio.sleep(0.1)  # out of file descriptors: let some be closed
                continue
            self.admit(connection, f"{address[0]}:{address[1]}")
            await asyncio.sleep(0)  # many that come at once do not keep those waiting who are here

    def admit(self, connection: socket.socket, where: str) -> None:
        """Serve a connected socket, whoever accepted it; `where` says in logs where it comes from."""
        if self._closed:
            connection.close()
            return
        self._spawn(self._connection(connection, where))

    async def _connection(self, connection: socket.socket, where: str) -> None:
        wire, task = None, asyncio.current_task()
        assert task is not None
        guest = Guest(_origin(where), task.cancel)
        try:
            async with asyncio.timeout(self.limits.handshake_s):
                await self._door.enter(guest)
            async with asyncio.timeout(self.limits.handshake_s):
                wire = await self._secure(connection, where)
                caller = await self._greet(wire, guest)
            self._door.leave(guest)
            await self._serve(wire, caller)
        except PeerRefused as refused:
            _log.info("%s was refused: %s", where, refused)
            if wire is not None:
                await wire.close()
        except (PeerError, OSError, TimeoutError) as problem:
            _log.info("connection from %s ended: %s", where, problem)
        finally:
            self._door.leave(guest)
            if wire is None:
                connection.close()
            else:
                wire.abort()

    async def _secure(self, connection: socket.socket, where: str) -> Wire:
        loop = asyncio.get_running_loop()
        tcp.prepare(connection)
        _, stream = await loop.connect_accepted_socket(
            Stream,
            connection,
            ssl=self._certificate.context,
            ssl_handshake_timeout=self.limits.handshake_s,
            ssl_shutdown_timeout=1.0,
        )
        return Wire(stream, self.limits, Traffic(self.traffic), where)

    async def _greet(self, wire: Wire, guest: Guest) -> Caller:
        hello = server_hello(self.identity, self._certificate)
        await wire.send({"hello": hello.to_json()}, b"", "hello")
        frame = await wire.receive(self.limits.max_hello, _no_body, self.limits.handshake_s, _hello_name)
        if frame is None:
            raise PeerTimeout(f"{wire.where} left without a hello")
        try:
            caller = check_client_hello(
                frame.header.get("hello"),
                self.identity,
                self._certificate.sha256,
                str(hello.body["nonce"]),
                self.limits.max_clock_skew_s,
            )
            guest.proven = True
            await self.authorise(caller)
            if self.connections >= self.limits.max_connections and not (self._observers and caller.role != _OBSERVER):
                raise PeerRefused("busy", "This server has no room for more connections", "", "try again later")
        except PeerRefused as refused:
            await wire.send(_refusal(refused), b"", "hello")
            raise
        await wire.send({"status": "ok", "params": {}}, b"", "hello")
        return caller

    # --- requests ----------------------------------------------------------------------------------------------------

    async def _serve(self, wire: Wire, caller: Caller) -> None:
        while len(self._open[caller.address]) >= self.limits.max_connections_per_caller:
            self._drop(next(iter(self._open[caller.address])), caller.address)
        crowded = caller.role == _OBSERVER and len(self._observers) >= self.limits.max_observers
        if self._observers and (crowded or self.connections >= self.limits.max_connections):
            self._drop(*next(iter(self._observers.items())))
        self._open[caller.address][wire] = None
        if caller.role == _OBSERVER:
            self._observers[wire] = caller.address
        try:
            while await self._next(wire, caller):
                pass
        finally:
            self._forget(wire, caller.address)

    def _drop(self, wire: Wire, address: str) -> None:
        """End a connection, and count it no more."""
        wire.abort()
        self._forget(wire, address)

    def _forget(self, wire: Wire, address: str) -> None:
        self._observers.pop(wire, None)
        self._open[address].pop(wire, None)
        if not self._open[address]:
            del self._open[address]

    async def _next(self, wire: Wire, caller: Caller) -> bool:
        """Read one request and start it; False when the peer has closed."""
        hold: Hold | None = None

        async def admit(header: JsonObject, size: int) -> None:
            nonlocal hold
            name = str(header.get("method"))
            allowed = self.largest_body(name)
            if size > allowed:
                code = "frame-too-large" if name in self._methods else "unknown-method"
                refused = PeerRefused(code, "The request is refused", f"its body has {size} bytes, allowed {allowed}")
                await wire.send(_refusal(refused, _id(header)), b"", name[:40])
                raise refused
            if size:
                wanted = Hold(caller.address, size, wire.abort)
                async with asyncio.timeout(self.limits.handler_s):
                    await self._room.take(wanted)
                hold = wanted

        delay_s = self._rate.delay_s(caller.address)
        if delay_s > 0:
            await asyncio.sleep(delay_s)
        room = self._in_flight.setdefault(caller.address, Budget(self.limits.max_in_flight_per_caller))
        await room.take(1)
        started = False
        try:
            longest = self.limits.max_hello if caller.role == _OBSERVER else self.limits.max_header
            frame = await wire.receive(
                longest, admit, self.limits.idle_s, self._count_as, lambda: self._answering[wire] > 0
            )
            if frame is not None:
                task = self._spawn(self._answer(wire, caller, frame))
                self._answering[wire] += 1
                task.add_done_callback(lambda _: self._answered(wire, caller, hold))
                if hold is not None:
                    hold.cut = partial(_cut_off, wire, task)
                    if hold.cutting:
                        hold.cut()
                started = True
            return started
        finally:
            if not started:
                self._done(caller, hold)

    def _answered(self, wire: Wire, caller: Caller, hold: Hold | None) -> None:
        """The reply is out, or never will be."""
        self._answering[wire] -= 1
        if not self._answering[wire]:
            del self._answering[wire]
        self._done(caller, hold)

    def _done(self, caller: Caller, hold: Hold | None) -> None:
        if hold is not None:
            self._room.give_back(hold)
        room = self._in_flight[caller.address]
        room.give_back(1)
        if room.idle:
            del self._in_flight[caller.address]

    async def _answer(self, wire: Wire, caller: Caller, frame: Frame) -> None:
        header, name = frame.header, self._count_as(frame.header)
        try:
            reply = await self._handle(caller, frame)
            answer: JsonObject = {"id": _id(header), "status": "ok", "params": reply.params}
            body = reply.body
        except PeerRefused as refused:
            answer, body = _refusal(refused, _id(header)), b""
        with contextlib.suppress(PeerError):  # a peer that left does not get its answer
            await wire.send(answer, body, name)

    async def _handle(self, caller: Caller, frame: Frame) -> Reply:
        name, params = str(frame.header.get("method")), frame.header.get("params")
        known = set(frame.header) == {"id", "method", "params"} and type(frame.header["id"]) is int
        if not isinstance(params, dict) or not known:
            code = "bad-request" if name in self._methods else "unknown-method"
            raise PeerRefused(code, f"The request {name[:40]!r} is refused", "it is not a request of this protocol")
        return await self.answer(Request(caller, name, params, frame.body, frame.transfer_us))

    async def authorise(self, caller: Caller) -> None:
        """Let a proven caller in; raises PeerRefused for others."""
        await self._authorise(caller)

    def largest_body(self, name: str) -> int:
        """How many bytes the body of a request may have; 0 for a method that is not there."""
        method = self._methods.get(name)
        return method.max_body if method else 0

    async def answer(self, request: Request) -> Reply:
        """The reply to a request, whatever transport brought it; raises only PeerRefused."""
        name, method = request.method, self._methods.get(request.method)
        if method is None:
            raise PeerRefused(
                "unknown-method", f"The request {name[:40]!r} is refused", "it is not one of this server's methods"
            )
        if request.caller.role == _OBSERVER and not method.observable:
            raise PeerRefused("not-yours", f"{name} is refused", "an observer may not ask this", "call as what you are")
        try:
            async with asyncio.timeout(None if method.ends_itself else self.limits.handler_s):
                return await method.handler(request)
        except PeerRefused:
            raise
        except CommonweightError as problem:
            raise PeerRefused(type(problem).__name__, problem.what, problem.why, problem.fix) from problem
        except TimeoutError:
            raise PeerRefused("too-slow", "The request took too long here", "", "try again later") from None
        except Exception as problem:
            _log.exception("the handler of %s failed", name)
            raise PeerRefused("internal-error", "The request failed here", type(problem).__name__) from problem

    def _count_as(self, header: JsonObject) -> str:
        name = str(header.get("method"))
        return name if name in self._methods else "unknown"


def _open_files() -> int:
    """How many files this process may have open."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def _cut_off(wire: Wire, task: "asyncio.Task[None]") -> None:
    """End a connection and what is being done for a request of it: others need the room."""
    wire.abort()
    task.cancel()


def _origin(where: str) -> str:
    """Whom a connection is counted under before it has said who it is: its host, of IPv6 the network of 64 bits."""
    host = where.rpartition(":")[0] or where
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return host if address.version == 4 else str(ipaddress.ip_network((host, 64), strict=False))


def _hello_name(_header: JsonObject) -> str:
    return "hello"


async def _pong(_request: Request) -> Reply:
    return Reply()


async def _no_body(_header: JsonObject, size: int) -> None:
    if size:
        raise PeerRefused("bad-hello", "A hello has no body")


def _id(header: JsonObject) -> int:
    value = header.get("id")
    return value if isinstance(value, int) else 0


def _refusal(refused: PeerRefused, number: int | None = None) -> JsonObject:
    identified: JsonObject = {} if number is None else {"id": number}
    return identified | {
        "status": refused.code,
        "params": {"what": refused.what, "why": refused.why, "fix": refused.fix},
    }
