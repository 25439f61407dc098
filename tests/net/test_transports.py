"""What every transport promises, tried on each of them: TLS over TCP, TLS through a libp2p relay (by `make p2p-test`,
where hivemind is), and the simulated links of the crowd.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from commonweight.errors import FrameTooLarge, PeerError, PeerRefused, PeerTimeout, PeerUnreachable
from commonweight.net import Caller, Dialer, Identity, Method, Reply, Request, Server
from commonweight.protocol.documents import Domain
from tests.crowd.clock import Process, VirtualLoop, simulate
from tests.crowd.links import Line, Links, SimDialer, listener

pytestmark = pytest.mark.unit
RUN, DOMAIN = "0x" + "ca" * 20, Domain(31337, "0x" + "0c" * 20)
SERVING = Identity(b"\x11" * 32, RUN, DOMAIN, "signer")
ASKING = Identity(b"\x22" * 32, RUN, DOMAIN, "member", 7)
BANNED = Identity(b"\x33" * 32, RUN, DOMAIN, "member", 13)
Scenario = Callable[[Any, Any, Server, str], Awaitable[None]]


async def echo(request: Request) -> Reply:
    return Reply({"params": request.params, "caller": [request.caller.role, request.caller.index]}, request.body)


async def refuse(request: Request) -> Reply:
    raise PeerRefused("busy", "Not now", "too much to do", "wait")


async def fail(request: Request) -> Reply:
    raise RuntimeError("a secret detail")


async def hold(request: Request) -> Reply:
    await asyncio.Event().wait()
    return Reply()


async def authorise(caller: Caller) -> None:
    if caller.index == 13:
        raise PeerRefused("banned", "Provider 13 is banned")


METHODS = {"echo": Method(echo, 1 << 16), "refuse": Method(refuse), "fail": Method(fail), "hold": Method(hold)}


def over(kind: str, scenario: Scenario) -> None:
    """Run a scenario with (a dialer, a banned member's dialer, the server, its address)."""

    async def tls() -> None:
        server = Server(SERVING, METHODS, authorise)
        host, port = await server.start("127.0.0.1", 0)
        dialers = Dialer(ASKING), Dialer(BANNED)
        try:
            await scenario(*dialers, server, f"{host}:{port}")
        finally:
            await asyncio.gather(*(dialer.close() for dialer in dialers))
            await server.close()

    async def simulated(loop: VirtualLoop) -> None:
        links = Links(loop, 0)
        parties = [links.join(name, Process(name), Line()) for name in ("server", "asking", "banned")]
        server = listener(links, parties[0])(SERVING, METHODS, authorise)
        await server.start("server", 1)
        dialers = [SimDialer(links, p, i) for p, i in zip(parties[1:], (ASKING, BANNED), strict=True)]
        await scenario(*dialers, server, "server:1")

    async def relayed(folder: Path) -> None:
        from commonweight.net.libp2p import Libp2p

        relay = await Libp2p.start(folder / "relay", listen="/ip4/127.0.0.1/tcp/0")
        tunnels = [await Libp2p.start(folder / name, [relay.address]) for name in ("server", "asking", "banned")]
        server = Server(SERVING, METHODS, authorise)
        await tunnels[0].serve(server.admit)
        dialers = [Dialer(identity, tunnel=each) for identity, each in zip((ASKING, BANNED), tunnels[1:], strict=True)]
        try:
            await asyncio.sleep(2)  # the reservation at the relay
            await scenario(*dialers, server, tunnels[0].address)
        finally:
            await asyncio.gather(*(dialer.close() for dialer in dialers))
            await server.close()
            for each in (*tunnels, relay):
                await each.close()

    if kind == "tls":
        asyncio.run(tls())
    elif kind == "libp2p":
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(relayed(Path(folder)))
    else:
        simulate(simulated)


@pytest.fixture(params=["tls", "simulated", *(["libp2p"] if find_spec("hivemind") else [])])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_parameters_and_body_go_both_ways_and_the_caller_is_known(kind: str) -> None:
    async def scenario(dialer: Any, _: Any, server: Server, address: str) -> None:
        reply = await dialer.call(address, SERVING.address, "echo", {"n": 1}, b"body")
        assert (reply.params, reply.body) == ({"params": {"n": 1}, "caller": ["member", 7]}, b"body")
        peer = await dialer.peer(address, SERVING.address)
        assert await peer.ping(5.0) > 0

    over(kind, scenario)


def test_many_calls_do_not_wait_for_each_other(kind: str) -> None:
    async def scenario(dialer: Any, _: Any, server: Server, address: str) -> None:
        held = asyncio.ensure_future(dialer.call(address, SERVING.address, "hold", timeout_s=60))
        replies = await asyncio.gather(
            *(dialer.call(address, SERVING.address, "echo", {"n": n}, bytes(n)) for n in range(20))
        )
        assert [len(reply.body) for reply in replies] == list(range(20))
        assert not held.done()
        held.cancel()
        await asyncio.gather(held, return_exceptions=True)

    over(kind, scenario)


@pytest.mark.parametrize(
    ("method", "size", "code"),
    [("refuse", 0, "busy"), ("fail", 0, "internal-error"), ("nothing", 0, "unknown-method"),
     ("echo", (1 << 16) + 1, "frame-too-large")],
)  # fmt: skip
def test_refusals_come_by_name_and_show_no_secrets(kind: str, method: str, size: int, code: str) -> None:
    async def scenario(dialer: Any, _: Any, server: Server, address: str) -> None:
        with pytest.raises(PeerRefused) as refused:
            await dialer.call(address, SERVING.address, method, {}, bytes(size))
        assert refused.value.code == code
        assert "secret" not in str(refused.value)

    over(kind, scenario)


def test_who_may_not_speak_is_refused(kind: str) -> None:
    async def scenario(_: Any, banned: Any, server: Server, address: str) -> None:
        with pytest.raises(PeerRefused) as refused:
            await banned.call(address, SERVING.address, "echo")
        assert refused.value.code == "banned"

    over(kind, scenario)


def test_silence_ends_at_the_deadline_and_a_long_reply_is_not_taken(kind: str) -> None:
    async def scenario(dialer: Any, _: Any, server: Server, address: str) -> None:
        with pytest.raises(PeerTimeout):
            await dialer.call(address, SERVING.address, "hold", timeout_s=0.5)
        with pytest.raises(FrameTooLarge):
            await dialer.call(address, SERVING.address, "echo", {}, bytes(100), max_reply=99)

    over(kind, scenario)


def test_another_key_is_not_spoken_to_and_a_closed_server_is_unreachable(kind: str) -> None:
    async def scenario(dialer: Any, _: Any, server: Server, address: str) -> None:
        with pytest.raises(PeerError):
            await dialer.call(address, ASKING.address, "echo")
        held = asyncio.ensure_future(dialer.call(address, SERVING.address, "hold", timeout_s=60))
        await asyncio.sleep(0.2)
        await server.close()
        with pytest.raises(PeerUnreachable):
            await held
        with pytest.raises(PeerUnreachable):
            await dialer.call(address, SERVING.address, "echo")

    over(kind, scenario)
