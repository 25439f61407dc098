"""The transport over simulated links: latency, bandwidth, partitions. The other half of the seam is `Server` itself.

A call pays for its bytes on the sender's way out and on the receiver's way in, one after the other as on a wire. Over
a link that is cut nothing arrives until it is mended: the caller waits until its own time is over. A process that is
killed resets its connections; a frozen one keeps them.
"""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from commonweight.errors import FrameTooLarge, PeerRefused, PeerTimeout, PeerUnreachable
from commonweight.net import DEFAULT_MAX_REPLY, Caller, Identity, Reply, Request, Server
from commonweight.protocol.canonical import JsonObject
from tests.crowd.clock import Process, VirtualLoop

_CONNECT_S = 0.002
_TICK_S = 1e-6  # what the loop takes for the same moment


@dataclass
class Line:
    """One party's way to the network: bytes queue up for it, and leave in order at its speed of the moment."""

    latency_s: float = 0.02
    bytes_per_s: float = 12_500_000.0
    waiting: dict[asyncio.Future[None], None] = field(default_factory=dict)  # in the order of their coming
    _queued: float = 0.0  # bytes that ever came
    _through: float = 0.0  # bytes that had left at `_since`
    _since: float = 0.0

    def send(self, now: float, size: int) -> float:
        """Queue bytes up; returns the place of the last one, for `through_at`."""
        self._look(now)
        self._queued += size
        return self._queued

    def through_at(self, place: float) -> float:
        """When the byte at a place leaves, if the speed stays; some time ago when it has left."""
        return self._since + (place - self._through) / self.bytes_per_s

    def change(self, now: float, latency_s: float, bytes_per_s: float) -> None:
        """From now on it is as fast as that, for what has queued up too: whoever waits looks again."""
        self._look(now)
        self.latency_s, self.bytes_per_s = latency_s, bytes_per_s
        for waiting in list(self.waiting):
            if not waiting.done():
                waiting.set_result(None)

    def _look(self, now: float) -> None:
        self._through = min(self._queued, self._through + (now - self._since) * self.bytes_per_s)
        self._since = now


@dataclass
class Party:
    """A process on the network."""

    name: str
    process: Process
    line: Line = field(default_factory=Line)
    server: Server | None = None
    address: str = ""
    calls: set[asyncio.Future[Reply]] = field(default_factory=set)  # that it is answering


class Links:
    """Who is where, and which links are cut."""

    def __init__(self, loop: VirtualLoop, seed: int) -> None:
        self.loop, self._seed = loop, seed
        self.parties: dict[str, Party] = {}
        self.listening: dict[str, Party] = {}
        self._cut: dict[str, frozenset[str]] = {}
        self._mended: asyncio.Future[None] = loop.create_future()
        self._counts: dict[tuple[str, str], int] = {}
        self.calls = 0

    def join(self, name: str, process: Process, line: Line) -> Party:
        """A process appears; the same name as before means: the one that was started again."""
        party = self.parties[name] = Party(name, process, line)
        process.on_kill.append(lambda: self.leave(party))
        return party

    def leave(self, party: Party) -> None:
        """Its connections are reset."""
        if self.listening.get(party.address) is party:
            del self.listening[party.address]
        for call in list(party.calls):
            if not call.done():
                call.set_exception(PeerUnreachable(f"{party.name} is gone"))

    def cut(self, one: str, *others: str) -> None:
        """Nothing gets through between `one` and the others any more."""
        self._cut[one] = frozenset(others)

    def mend(self, one: str) -> None:
        """What was cut off of `one` is there again."""
        self._cut.pop(one, None)
        mended, self._mended = self._mended, self.loop.create_future()
        mended.set_result(None)

    def _is_cut(self, one: str, other: str) -> bool:
        return other in self._cut.get(one, ()) or one in self._cut.get(other, ())

    async def carry(self, one: Party, other: Party, size: int) -> int:
        """Wait until these bytes have crossed; how long it took, in microseconds."""
        began = self.loop.time()
        while self._is_cut(one.name, other.name):
            await asyncio.shield(self._mended)
        number = self._counts[one.name, other.name] = self._counts.get((one.name, other.name), 0) + 1
        jitter = random.Random(f"{self._seed} {one.name} {other.name} {number}").uniform(1.0, 1.2)
        out, into = one.line.send(self.loop.time(), size), other.line.send(self.loop.time(), size)
        way_s = (one.line.latency_s + other.line.latency_s) * jitter / 2
        while (over := max(one.line.through_at(out), other.line.through_at(into))) > self.loop.time() + _TICK_S:
            await self._until(over, one.line, other.line)
        await asyncio.sleep(way_s)
        if self._is_cut(one.name, other.name):
            return await self.carry(one, other, 0)
        return max(1, round((self.loop.time() - began) * 1e6))

    async def _until(self, when: float, *lines: Line) -> None:
        """Wait until then, or until the speed of one of these lines changes."""
        woken: asyncio.Future[None] = self.loop.create_future()
        timer = self.loop.call_at(when, lambda: None if woken.done() else woken.set_result(None))
        for line in lines:
            line.waiting[woken] = None
        try:
            await woken
        finally:
            timer.cancel()
            for line in lines:
                line.waiting.pop(woken, None)

    async def call(self, caller: Party, who: Caller, address: str, request: tuple[str, JsonObject, bytes]) -> Reply:
        """A request and its reply. Raises PeerUnreachable or PeerRefused."""
        method, params, body = request
        self.calls += 1
        target = self.listening.get(address)
        if target is None or target.server is None:
            await asyncio.sleep(_CONNECT_S)
            raise PeerUnreachable(f"Nobody listens at {address}")
        took_us = await self.carry(caller, target, _size(params, body))
        if self.listening.get(address) is not target:
            raise PeerUnreachable(f"{target.name} is gone")
        answer: asyncio.Future[Reply] = self.loop.create_future()
        target.calls.add(answer)
        answer.add_done_callback(target.calls.discard)
        serving = self.loop.start(
            target.process, _serve(target.server, Request(who, method, params, body, took_us), answer)
        )
        try:
            reply = await answer
        finally:
            if not answer.done():
                answer.cancel()
            del serving
        us = await self.carry(target, caller, _size(reply.params, reply.body))
        return Reply(reply.params, reply.body, us)


def _size(params: JsonObject, body: bytes) -> int:
    return len(json.dumps(params)) + len(body) + 64


async def _serve(server: Server, request: Request, answer: asyncio.Future[Reply]) -> None:
    try:
        await server.authorise(request.caller)
        if len(request.body) > server.largest_body(request.method):
            raise PeerRefused("frame-too-large", "The request is refused")
        reply = await server.answer(request) if request.method != "ping" else Reply()
    except PeerRefused as refused:
        if not answer.done():
            answer.set_exception(PeerRefused(refused.code, refused.what, refused.why, refused.fix))
    else:
        if not answer.done():
            answer.set_result(reply)


class SimDialer:
    """A `Dialer` over simulated links."""

    def __init__(self, links: Links, party: Party, identity: Identity) -> None:
        self.links, self.party, self.identity = links, party, identity
        self._who = Caller(identity.address, identity.role, identity.index)

    async def call(
        self, address: str, expect: str, method: str, params: JsonObject | None = None, body: bytes = b"", *,
        timeout_s: float = 30.0, max_reply: int = DEFAULT_MAX_REPLY,
    ) -> Reply:  # fmt: skip
        try:
            async with asyncio.timeout(timeout_s):
                target = self.links.listening.get(address)
                if target is not None and target.server is not None and target.server.identity.address != expect:
                    raise PeerUnreachable(f"somebody else listens at {address}")
                reply = await self.links.call(self.party, self._who, address, (method, params or {}, body))
        except TimeoutError:
            raise PeerTimeout(f"{address} did not answer {method} within {timeout_s:g} s") from None
        if len(reply.body) > max_reply:
            raise FrameTooLarge(f"{address} answered {method} with {len(reply.body)} bytes")
        return reply

    async def peer(self, address: str, expect: str, timeout_s: float = 15.0) -> Any:
        async def ping(timeout_s: float) -> int:
            began = self.links.loop.time()
            await self.call(address, expect, "ping", timeout_s=timeout_s)
            return round((self.links.loop.time() - began) * 1e6)

        return SimpleNamespace(ping=ping)

    async def close(self) -> None:
        return None


def listener(links: Links, party: Party) -> type[Server]:
    """A `Server` for this party that listens on simulated links."""

    class SimServer(Server):
        async def start(self, host: str, port: int) -> tuple[str, int]:
            party.server, party.address = self, f"{host}:{port}"
            links.listening[party.address] = party
            return host, port

        async def close(self) -> None:
            links.leave(party)

    return SimServer
