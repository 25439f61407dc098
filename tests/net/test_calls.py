"""Calls between real processes: replies, refusals, many at once, deadlines, counters, reconnecting."""

import asyncio
import contextlib
import gc
import os
import socket
import weakref

import pytest

from commonweight.errors import (
    FrameTooLarge,
    PeerError,
    PeerRefused,
    PeerTimeout,
    PeerUnreachable,
)
from commonweight.net import Dialer, Method, Peer, Reply, Request, Server, Traffic, connect, split_address, tcp
from commonweight.net.identity import Caller, new_certificate, server_hello
from commonweight.net.limits import Budget, Limits, RateLimiter
from commonweight.net.server import _origin
from commonweight.protocol.keys import address_of
from tests.net.conftest import Start
from tests.net.raw import Raw, frame, listen
from tests.net.serving import METHODS, SERVER_KEY, authorise, identity

pytestmark = pytest.mark.e2e
SERVER = address_of(SERVER_KEY)


async def peer_of(address: str, **options: object) -> Peer:
    return await connect(address, SERVER, identity(), **options)  # type: ignore[arg-type]


async def test_a_call_carries_parameters_and_body_both_ways(serve: Start) -> None:
    peer = await peer_of(serve())
    body = os.urandom(3 << 20)
    reply = await peer.call("echo", {"a": [1, "ä", None]}, body)
    assert reply.params == {"params": {"a": [1, "ä", None]}, "caller": identity().address}
    assert reply.body == body
    assert reply.transfer_us > 0
    assert peer.caller == Caller(SERVER, "signer", None)
    await peer.close()


async def test_many_calls_share_a_connection_and_do_not_wait_for_each_other(serve: Start) -> None:
    peer = await peer_of(serve())
    held = asyncio.create_task(peer.call("hold", timeout_s=30))
    replies = await asyncio.gather(*(peer.call("echo", {"n": n}, bytes([n]) * 5000) for n in range(50)))
    assert [reply.params["params"] for reply in replies] == [{"n": n} for n in range(50)]
    assert all(reply.body == bytes([n]) * 5000 for n, reply in enumerate(replies))
    assert not held.done()
    await peer.close()
    with pytest.raises(PeerUnreachable):
        await held


async def test_who_is_lost_with_a_long_body_under_way_is_not_reached(serve: Start) -> None:
    """As when the other process is killed: its connection is gone before the call has ended."""
    peer = await peer_of(serve())
    held = asyncio.create_task(peer.call("keep", {}, bytes(1 << 20), timeout_s=30))
    await peer.ping()
    peer._wire.abort()
    with pytest.raises(PeerUnreachable):
        await held
    await peer.close()


async def test_a_refusal_comes_by_name(serve: Start) -> None:
    peer = await peer_of(serve())
    with pytest.raises(PeerRefused) as refused:
        await peer.call("refuse")
    assert refused.value.code == "not-now"
    assert (refused.value.what, refused.value.why, refused.value.fix) == ("Not now", "it is a test", "ask later")
    with pytest.raises(PeerRefused) as refused:
        await peer.call("refuse", {"config": True})
    assert refused.value.code == "ConfigError"
    with pytest.raises(PeerRefused) as refused:
        await peer.call("unheard-of")
    assert refused.value.code == "unknown-method"
    await peer.close()


async def test_a_failing_handler_shows_no_details_and_ends_nothing(serve: Start) -> None:
    peer = await peer_of(serve())
    with pytest.raises(PeerRefused) as refused:
        await peer.call("fail")
    assert refused.value.code == "internal-error"
    assert "secret" not in str(refused.value)
    assert (await peer.call("echo", {"still": "there"})).params["params"] == {"still": "there"}
    await peer.close()


async def test_a_deadline_ends_one_call_and_a_late_reply_is_dropped(serve: Start) -> None:
    peer = await peer_of(serve(handler_s=1.0))
    late = asyncio.create_task(peer.call("hold", timeout_s=0.5))
    await peer.ping()  # the connection is alive
    with pytest.raises(PeerTimeout):
        await late
    with pytest.raises(PeerRefused) as refused:  # by now the reply to the first has come as well
        await peer.call("hold", timeout_s=10)
    assert refused.value.code == "too-slow"
    assert (await peer.call("echo", {}, b"x")).body == b"x"
    await peer.close()


async def test_a_handler_with_an_end_of_its_own_is_waited_for_and_its_connection_is_not_idle(serve: Start) -> None:
    peer = await peer_of(serve(handler_s=0.2, idle_s=1.0))
    assert (await peer.call("at_last", {"n": 1})).params == {"n": 1}
    with pytest.raises(PeerUnreachable):  # nothing is under way any more
        async with asyncio.timeout(20):
            while True:
                await asyncio.sleep(1.5)
                await peer.ping()
    await peer.close()
    peer = await peer_of(serve(handler_s=0.1))
    with pytest.raises(PeerRefused) as refused:
        await peer.call("later")
    assert refused.value.code == "too-slow"
    await peer.close()


async def test_a_reply_over_the_allowed_size_ends_the_connection(serve: Start) -> None:
    peer = await peer_of(serve())
    assert len((await peer.call("big", {"size": 1000}, max_reply=1000)).body) == 1000
    with pytest.raises(FrameTooLarge):
        await peer.call("big", {"size": 1001}, max_reply=1000)
    assert peer.closed
    with pytest.raises(PeerError):
        await peer.call("echo")


async def test_a_body_over_the_methods_size_is_refused_before_it_is_read(serve: Start) -> None:
    address = serve()
    peer = await peer_of(address)
    with pytest.raises(PeerRefused) as refused:
        await peer.call("echo", {}, bytes((32 << 20) + 1))
    assert refused.value.code == "frame-too-large"
    other = await peer_of(address)
    with pytest.raises(PeerRefused) as refused:
        await other.call("hold", {}, b"x")
    assert refused.value.code == "frame-too-large"


async def test_a_killed_server_fails_what_is_waiting_and_what_comes(serve: Start) -> None:
    server = Server(identity(SERVER_KEY, "signer", None), METHODS, authorise)
    host, port = await server.start("127.0.0.1", 0)
    peer = await peer_of(f"{host}:{port}")
    held = asyncio.create_task(peer.call("hold"))
    await peer.ping()
    await server.close()
    with pytest.raises(PeerUnreachable):
        await held
    with pytest.raises(PeerUnreachable):
        await peer.call("echo")
    with pytest.raises(PeerUnreachable):
        await peer_of(f"{host}:{port}")


async def test_a_dialer_keeps_a_connection_and_makes_a_new_one_when_it_is_lost() -> None:
    calls: list[Caller] = []

    async def who(request: Request) -> Reply:
        calls.append(request.caller)
        return Reply()

    def server() -> Server:
        return Server(identity(SERVER_KEY, "signer", None), {"who": Method(who)}, authorise)

    first = server()
    host, port = await first.start("127.0.0.1", 0)
    address = f"{host}:{port}"
    dialer = Dialer(identity())
    await asyncio.gather(*(dialer.call(address, SERVER, "who") for _ in range(5)))
    assert first.connections == 1
    await first.close()
    with pytest.raises(PeerUnreachable):
        await dialer.call(address, SERVER, "who")
    second = server()
    await second.start(host, port)
    await dialer.call(address, SERVER, "who")
    assert len(calls) == 6
    await dialer.close()
    await second.close()


async def test_a_dialer_keeps_nothing_of_connections_that_are_over() -> None:
    dialer = Dialer(identity())
    for end in ("server", "suspicion"):
        server = Server(identity(SERVER_KEY, "signer", None), METHODS, authorise)
        host, port = await server.start("127.0.0.1", 0)
        peer = weakref.ref(await dialer.peer(f"{host}:{port}", SERVER))
        if end == "suspicion":
            with pytest.raises(PeerTimeout):
                await dialer.call(f"{host}:{port}", SERVER, "hold", timeout_s=0.1)
        await server.close()
        async with asyncio.timeout(20):
            while dialer._peers or peer() is not None:
                await asyncio.sleep(0.01)
                gc.collect()
    assert not dialer._turns
    await dialer.close()


class Router:
    """A router in between that forgets: from then on it drops what comes on the connections made before."""

    def __init__(self, target: str) -> None:
        self.made = self._forgotten = 0
        self._target = split_address(target)
        self._ends: list[asyncio.StreamWriter] = []

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def forget(self) -> None:
        self._forgotten = self.made

    async def stop(self) -> None:
        self._server.close()
        for end in self._ends:
            end.transport.abort()
        await self._server.wait_closed()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.made += 1
        number = self.made
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        self._ends += [writer, far_writer]

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while data := await source.read(1 << 16):
                    if number > self._forgotten:
                        sink.write(data)

        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))


async def test_after_a_call_that_nothing_was_heard_of_a_new_connection_is_made(serve: Start) -> None:
    router, dialer = Router(serve()), Dialer(identity())
    address = await router.start()
    await dialer.call(address, SERVER, "ping")
    router.forget()
    with pytest.raises(PeerTimeout):
        await dialer.call(address, SERVER, "echo", timeout_s=0.3)
    for _ in range(3):
        await dialer.call(address, SERVER, "ping", timeout_s=10)
    assert router.made == 2
    await dialer.close()
    await router.stop()


async def test_what_still_waits_on_a_silent_connection_is_not_given_up(serve: Start) -> None:
    dialer, address = Dialer(identity()), serve()
    first = await dialer.peer(address, SERVER)
    waiting = asyncio.create_task(first.call("later", {"n": 1}, timeout_s=20))
    with pytest.raises(PeerTimeout):
        await dialer.call(address, SERVER, "hold", timeout_s=0.3)
    assert await dialer.peer(address, SERVER) is not first
    assert (await waiting).params == {"n": 1}
    with pytest.raises(PeerUnreachable):
        await first.call("ping")
    await dialer.close()


async def test_a_connection_on_which_a_long_reply_arrives_is_kept(serve: Start) -> None:
    dialer, address = Dialer(identity()), serve()
    first = await dialer.peer(address, SERVER)
    reply = asyncio.create_task(dialer.call(address, SERVER, "big", {"size": 60 << 20}, timeout_s=60))
    async with asyncio.timeout(20):
        while first._wire.arrived < 1 << 20:
            await asyncio.wait([reply], timeout=0.01)
    with pytest.raises(PeerTimeout):
        await dialer.call(address, SERVER, "hold", timeout_s=0.05)
    assert await dialer.peer(address, SERVER) is first
    assert len((await reply).body) == 60 << 20
    await dialer.close()


async def test_both_sides_have_the_kernel_look_for_dead_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[socket.socket] = []
    prepare = tcp.prepare
    monkeypatch.setattr(tcp, "prepare", lambda made: (prepare(made), prepared.append(made)))
    server = Server(identity(SERVER_KEY, "signer", None), METHODS, authorise)
    host, port = await server.start("127.0.0.1", 0)
    peer = await peer_of(f"{host}:{port}")
    assert len(prepared) == 2
    for made in prepared:
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1000 * tcp.SILENT_S
    held = asyncio.create_task(peer.call("keep", {}, bytes(1 << 20)))
    await peer.ping()
    theirs = next(made for made in prepared if made.getpeername() == (host, port))
    assert theirs.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 135_000, "it may have to wait for room"
    await peer.close()
    with pytest.raises(PeerUnreachable):
        await held
    await server.close()


async def test_a_long_body_may_wait_for_its_receiver_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel takes a closed window for a dead path, unless it is told to wait."""
    monkeypatch.setattr(tcp, "SILENT_S", 1)
    certificate, size = new_certificate(), 32 << 20

    async def slow(raw: Raw) -> None:
        hello = server_hello(identity(SERVER_KEY, "signer", None), certificate)
        raw.write(frame({"hello": hello.to_json()}))
        await raw.receive()
        raw.write(frame({"status": "ok", "params": {}}))
        raw.stream.transport.pause_reading()
        await asyncio.sleep(4)
        raw.stream.transport.resume_reading()
        assert len((await raw.receive()).body) == size
        raw.write(frame({"id": 1, "status": "ok", "params": {}}))
        await raw.gone()

    address, server = await listen(slow, certificate.context)
    peer = await peer_of(address)
    await peer.call("echo", {}, bytes(size), timeout_s=60)
    await peer.close()
    server.close()
    await server.wait_closed()


async def test_traffic_is_counted_to_the_byte_on_both_sides() -> None:
    ours, theirs = Traffic(), Traffic()
    server = Server(identity(SERVER_KEY, "signer", None), METHODS, authorise, traffic=theirs)
    host, port = await server.start("127.0.0.1", 0)
    peer = await connect(f"{host}:{port}", SERVER, identity(), traffic=ours)
    await peer.call("echo", {"x": 1}, bytes(100_000))
    sent, received = ours.totals(), theirs.totals()
    header = b'{"id":1,"method":"echo","params":{"x":1}}'
    assert sent.sent_by_method["echo"] == 12 + len(header) + 100_000
    assert sent.sent_by_method == received.received_by_method
    assert sent.received_by_method == received.sent_by_method
    assert sent.bytes_sent == received.bytes_received == peer.bytes_sent
    assert sent.bytes_received == received.bytes_sent == peer.bytes_received
    await peer.close()
    await server.close()


async def test_ping_measures_the_round_trip(serve: Start) -> None:
    peer = await peer_of(serve())
    assert 0 < min([await peer.ping() for _ in range(3)]) < 10_000_000
    await peer.close()


async def test_nobody_listening_is_unreachable_by_name() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(PeerUnreachable, match="No connection"):
        await peer_of(address)


@pytest.mark.parametrize("address", ["", "host", ":1", "host:", "host:0", "host:70000", "host:x", "host:1٣"])
def test_malformed_addresses_are_refused(address: str) -> None:
    with pytest.raises(PeerUnreachable, match="not an address"):
        split_address(address)


def test_connections_are_counted_by_host_and_by_the_network_of_an_ipv6_host() -> None:
    places = ["10.0.0.1:5", "10.0.0.1:6", "10.0.0.2:5", "2001:db8::1:5", "2001:db8::ffff:2:9", "2001:db8:0:1::1:5", "x"]
    assert len({_origin(place) for place in places}) == 5


def test_addresses_are_split() -> None:
    assert split_address("host:80") == ("host", 80)
    assert split_address("[::1]:443") == ("::1", 443)


async def test_a_budget_serves_in_order_and_survives_cancelling() -> None:
    budget = Budget(10)
    await budget.take(6)
    large = asyncio.create_task(budget.take(8))
    small = asyncio.create_task(budget.take(1))
    await asyncio.sleep(0)
    assert not large.done()
    assert not small.done()  # it waits behind the large one
    large.cancel()
    await small
    with pytest.raises(asyncio.CancelledError):
        await large
    budget.give_back(6)
    budget.give_back(1)
    assert budget.idle
    await budget.take(100)  # more than all of it, when nothing else is held
    budget.give_back(100)
    assert budget.idle


def test_the_rate_limiter_lets_a_burst_through_and_then_the_rate() -> None:
    limiter = RateLimiter(per_s=10, burst=5, max_callers=2)
    delays = [limiter.delay_s("a", now=100.0) for _ in range(8)]
    assert delays[:5] == pytest.approx([0] * 5)
    assert delays[5:] == pytest.approx([0.1, 0.2, 0.3])
    assert limiter.delay_s("b", now=100.0) == 0
    assert limiter.delay_s("a", now=200.0) == 0
    assert Limits().transfer_s(32 * 1024 * 100) == pytest.approx(115)
