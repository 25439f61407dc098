"""Peers that do not keep to the protocol: they lose their connection, cost bounded memory, and nobody else notices."""

import asyncio
import contextlib
import random
import re
import ssl
import time
from dataclasses import replace

import pytest

from commonweight.errors import (
    AuthenticationError,
    FrameTooLarge,
    PeerError,
    PeerRefused,
    PeerTimeout,
    PeerUnreachable,
    ProtocolViolation,
)
from commonweight.net import Peer, connect
from commonweight.net.identity import (
    Certificate,
    check_server_hello,
    client_hello,
    new_certificate,
    server_hello,
)
from commonweight.protocol.documents import Signed
from commonweight.protocol.keys import address_of
from tests.net.conftest import Start
from tests.net.raw import PREFIX, Raw, frame, listen
from tests.net.serving import MEMBER_KEY, OTHER_KEY, RUN, SERVER_KEY, identity

pytestmark = pytest.mark.e2e
SERVER = address_of(SERVER_KEY)
OTHER_RUN = "0x" + "cb" * 20


async def honest(address: str) -> Peer:
    return await connect(address, SERVER, identity(OTHER_KEY, "member", 1))


async def still_serves(address: str) -> None:
    peer = await honest(address)
    assert (await peer.call("echo", {"fine": True}, b"body")).body == b"body"
    await peer.close()


async def authenticated(address: str) -> Raw:
    raw = await Raw.open(address)
    assert (await raw.greet(identity(), SERVER))["status"] == "ok"
    return raw


# --- garbage ---------------------------------------------------------------------------------------------------------


async def test_garbage_instead_of_tls_is_cut_off(serve: Start) -> None:
    address = serve()
    host, port = address.split(":")
    for seed in range(10):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(random.Random(seed).randbytes(2000))
        async with asyncio.timeout(20):
            try:
                while await reader.read(1000):
                    pass
            except ConnectionError:
                pass
        writer.close()
    await still_serves(address)


async def test_tls_below_1_3_and_other_protocols_are_refused(serve: Start) -> None:
    address = serve()
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await Raw.open(address, old)
    await still_serves(address)


@pytest.mark.parametrize("seed", range(12))
async def test_garbage_after_tls_and_after_the_hello_is_cut_off(serve: Start, seed: int) -> None:
    address = serve(frame_s=1.0, handshake_s=3.0)
    rng = random.Random(seed)
    kinds = [
        rng.randbytes(4000),
        frame(rng.randbytes(300)),
        frame(b'{"id":1,"id":2}'),
        frame(b'{"id": 1}'),
        frame(b"[" * 3000),
        frame(b"\xff\xfe"),
    ]
    for raw in (await Raw.open(address), await authenticated(address)):
        raw.write(kinds[seed % len(kinds)])
        await raw.gone()
    await still_serves(address)


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"id": 1},
        {"id": 1, "method": "echo", "params": []},
        {"id": "x", "method": ["echo"], "params": {}},
        {"id": 1, "method": "echo", "params": {}, "more": 1},
        {"id": 1, "method": "", "params": {}},
    ],
)
async def test_malformed_requests_are_refused_by_name(serve: Start, header: dict[str, object]) -> None:
    address = serve()
    raw = await authenticated(address)
    raw.write(frame(header))  # type: ignore[arg-type]
    answer = (await raw.receive()).header
    assert answer["status"] in ("unknown-method", "bad-request")
    await raw.close()
    await still_serves(address)


# --- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("header", "body"), [(4097, 0), (2**32 - 1, 0), (100, 1), (100, 2**64 - 1)])
async def test_an_oversize_hello_is_cut_off_unread(serve: Start, header: int, body: int) -> None:
    address = serve()
    raw = await Raw.open(address)
    await raw.nonce()
    raw.write(PREFIX.pack(header, body) + b'{"x":"' + b"y" * 92 + b'"}')
    await raw.gone()
    await still_serves(address)


@pytest.mark.parametrize(("header", "body"), [((1 << 20) + 1, 0), (2**32 - 1, 2**64 - 1)])
async def test_an_oversize_header_is_cut_off_unread(serve: Start, header: int, body: int) -> None:
    address = serve()
    raw = await authenticated(address)
    raw.write(PREFIX.pack(header, body))
    await raw.gone()
    await still_serves(address)


async def test_an_oversize_body_costs_no_memory(serve: Start) -> None:
    address = serve()
    peer = await honest(address)
    before = (await peer.call("memory")).params["peak_kib"]
    for size in (2**40, 2**64 - 1):
        raw = await authenticated(address)
        header = b'{"id":1,"method":"echo","params":{}}'
        raw.write(PREFIX.pack(len(header), size) + header)
        assert (await raw.receive()).header["status"] == "frame-too-large"
        await raw.gone()
    after = (await peer.call("memory")).params["peak_kib"]
    assert isinstance(before, int)
    assert isinstance(after, int)
    assert after - before < 20_000
    await peer.close()


async def test_who_asks_and_does_not_read_holds_a_bounded_amount_of_memory(serve: Start) -> None:
    address = serve(max_in_flight_per_caller=4)
    peer = await honest(address)
    before = (await peer.call("memory")).params["peak_kib"]
    raw = await authenticated(address)
    raw.stream.transport.pause_reading()
    raw.write(frame({"id": 1, "method": "big", "params": {"size": 4 << 20}}) * 100)
    for _ in range(20):
        await peer.ping()
        await asyncio.sleep(0.05)
    after = (await peer.call("memory")).params["peak_kib"]
    assert isinstance(before, int)
    assert isinstance(after, int)
    assert after - before < 100_000, "four replies of 4 MiB, and what TLS makes of them"
    await peer.close()
    raw.stream.abort()


# --- time ------------------------------------------------------------------------------------------------------------


async def test_a_silent_connection_is_cut_off(serve: Start) -> None:
    address = serve(handshake_s=1.0)
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    async with asyncio.timeout(20):
        assert await reader.read(100) == b""
    writer.transport.abort()
    silent_after_tls = await Raw.open(address)
    await silent_after_tls.gone()


async def test_a_hello_in_drops_is_cut_off(serve: Start) -> None:
    address = serve(handshake_s=1.0)
    raw = await Raw.open(address)
    gone = asyncio.create_task(raw.gone())
    hello = PREFIX.pack(2000, 0) + b'{"' + b"x" * 1998
    for byte in hello:
        raw.write(bytes([byte]))
        done, _ = await asyncio.wait([gone], timeout=0.02)
        if done:
            break
    await gone
    await still_serves(serve())


@pytest.mark.parametrize("part", ["lengths", "header", "body"])
async def test_a_frame_in_drops_is_cut_off(serve: Start, part: str) -> None:
    address = serve(frame_s=0.5, bytes_per_s=1 << 20)
    raw = await authenticated(address)
    whole = frame({"id": 1, "method": "echo", "params": {}}, bytes(3000))
    raw.write(whole[: {"lengths": 0, "header": 12, "body": 60}[part]])
    gone = asyncio.create_task(raw.gone())
    sent = 0
    while not gone.done():
        raw.write(whole[60 + sent : 61 + sent])
        sent += 1
        assert sent < 2000
        await asyncio.wait([gone], timeout=0.02)
    await gone
    await still_serves(address)


async def test_a_peer_that_does_not_read_its_replies_is_cut_off(serve: Start) -> None:
    address = serve(frame_s=0.5, bytes_per_s=1 << 30)
    raw = await authenticated(address)
    for number in range(1, 9):
        raw.write(frame({"id": number, "method": "big", "params": {"size": 32 << 20}}))
    peer = await honest(address)
    async with asyncio.timeout(30):
        while (await peer.call("connections")).params["open"] != 1:
            await peer.ping()
    await raw.gone()
    await peer.close()


async def test_an_idle_connection_is_closed(serve: Start) -> None:
    raw = await authenticated(serve(idle_s=0.3))
    await raw.gone()


# --- floods ----------------------------------------------------------------------------------------------------------


async def test_a_flood_of_connections_does_not_keep_others_out(serve: Start) -> None:
    address = serve(max_pending=16, handshake_s=60.0)
    host, port = address.split(":")
    silent = [await asyncio.open_connection(host, int(port)) for _ in range(300)]
    await still_serves(address)
    async with asyncio.timeout(20):
        cut_off = 0
        for reader, _ in silent[:200]:
            try:
                cut_off += await reader.read(1) == b""
            except ConnectionError:
                cut_off += 1
    assert cut_off == 200
    for _, writer in silent:
        writer.transport.abort()


async def test_all_members_may_come_in_the_same_moment(serve: Start) -> None:
    """None of them is cut off for coming with many: a handshake that gets on is finished, and the others wait."""
    address = serve(max_handshakes=8, patience_s=15.0)
    members = [identity(bytes([1, number]) * 16, "member", number + 100) for number in range(96)]
    peers = await asyncio.gather(*(connect(address, SERVER, member, timeout_s=30.0) for member in members))
    for peer in peers:
        await peer.close()


async def test_a_flood_from_one_host_cuts_off_nobody_from_another(serve: Start) -> None:
    address = serve(max_pending=8, handshake_s=60.0)
    slow = await Raw.open(address)  # has not said yet who it is
    host, port = address.split(":")
    flood = [await asyncio.open_connection(host, int(port), local_addr=("127.0.0.2", 0)) for _ in range(50)]
    async with asyncio.timeout(20):
        with contextlib.suppress(ConnectionError):
            assert await flood[40][0].read(1) == b""
    assert (await slow.greet(identity(), SERVER))["status"] == "ok"
    await slow.close()
    for _, writer in flood:
        writer.transport.abort()


async def test_a_flood_of_requests_is_slowed_down_and_others_are_served(serve: Start) -> None:
    address = serve(requests_per_s=20.0, burst=10)
    raw = await authenticated(address)
    request = frame({"id": 1, "method": "echo", "params": {}})
    started = time.monotonic()
    raw.write(request * 30)
    peer = await honest(address)
    await asyncio.gather(*(peer.ping() for _ in range(5)))
    for _ in range(30):
        await raw.receive()
    assert time.monotonic() - started > 0.9  # 20 over the burst at 20 a second
    await peer.close()
    await raw.close()


async def test_requests_that_hang_do_not_use_up_the_server(serve: Start) -> None:
    address = serve(max_in_flight_per_caller=4)
    raw = await authenticated(address)
    raw.write(frame({"id": 1, "method": "hold", "params": {}}) * 500)
    await still_serves(address)
    second = await authenticated(address)  # the same caller has no room left, over all its connections
    second.write(frame({"id": 2, "method": "echo", "params": {}}))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await second.receive()
    await still_serves(address)
    await raw.close()
    await second.close()


async def test_bodies_that_stall_give_their_memory_back(serve: Start) -> None:
    address = serve(max_body_memory=1 << 20, frame_s=1.0, bytes_per_s=1 << 30)
    stalled = []
    for _ in range(3):
        raw = await authenticated(address)
        whole = frame({"id": 1, "method": "echo", "params": {}}, bytes(1 << 20))
        raw.write(whole[:-1])
        await raw.stream.drain()
        stalled.append(raw)
    peer = await honest(address)
    assert len((await peer.call("echo", {}, bytes(1 << 19), timeout_s=30)).body) == 1 << 19
    for raw in stalled:
        await raw.gone()
    await peer.close()


@pytest.mark.parametrize("method", ["echo", "keep"], ids=["announced and not sent", "sent and being handled"])
async def test_who_takes_all_the_room_for_bodies_gives_way_to_who_needs_a_little(serve: Start, method: str) -> None:
    """Announcing a body reserves its memory: whoever reserves most makes room, and not those who wait behind it."""
    room = 8 << 20
    address = serve(max_body_memory=room)
    greedy = [await authenticated(address) for _ in range(4)]
    for raw in greedy:
        whole = frame({"id": 1, "method": method, "params": {}}, bytes(room))
        raw.write(whole[: PREFIX.size + 100] if method == "echo" else whole)
        await raw.stream.drain()
    peer = await honest(address)
    await asyncio.sleep(0.2)
    for _ in range(3):
        assert len((await peer.call("echo", {}, bytes(1 << 19), timeout_s=60)).body) == 1 << 19
    await greedy[0].gone()
    for raw in greedy[1:]:
        await raw.close()
    await peer.close()


async def test_a_caller_has_a_bounded_number_of_connections(serve: Start) -> None:
    address = serve(max_connections_per_caller=3)
    connections = [await authenticated(address) for _ in range(5)]
    await connections[0].gone()
    await connections[1].gone()
    connections[4].write(frame({"id": 1, "method": "echo", "params": {}}))
    assert (await connections[4].receive()).header["status"] == "ok"
    await still_serves(address)
    for raw in connections:
        await raw.close()


async def test_a_full_server_says_so(serve: Start) -> None:
    address = serve(max_connections=1)
    raw = await authenticated(address)
    with pytest.raises(PeerRefused) as refused:
        await honest(address)
    assert refused.value.code == "busy"
    await raw.close()


async def observing(address: str, number: int) -> Raw:
    raw = await Raw.open(address)
    assert (await raw.greet(identity(bytes([number]) * 32, "observer", None), SERVER))["status"] == "ok"
    return raw


async def test_observers_give_way_to_each_other_and_to_whoever_is_known(serve: Start) -> None:
    address = serve(max_connections=4, max_observers=3)
    observers = [await observing(address, number) for number in range(100, 105)]
    for raw in observers[:2]:
        await raw.gone()
    known = [await authenticated(address) for _ in range(2)]
    await observers[2].gone()
    peer = await honest(address)
    await observers[3].gone()
    assert (await peer.call("connections")).params == {"open": 4}
    observers[4].write(frame({"id": 1, "method": "seen", "params": {}}))
    assert (await observers[4].receive()).header["status"] == "ok"
    await peer.close()
    for raw in [*known, observers[4]]:
        await raw.close()


async def test_a_server_full_of_members_is_full_for_observers(serve: Start) -> None:
    address = serve(max_connections=1)
    raw = await authenticated(address)
    with pytest.raises(PeerRefused) as refused:
        await connect(address, SERVER, identity(OTHER_KEY, "observer", None))
    assert refused.value.code == "busy"
    await raw.close()


async def test_observers_call_what_is_for_them_and_in_short(serve: Start) -> None:
    address = serve()
    peer = await connect(address, SERVER, identity(OTHER_KEY, "observer", None))
    assert (await peer.call("seen", {"fine": True})).params["params"] == {"fine": True}
    await peer.ping()
    for method in ("echo", "hold", "big"):
        with pytest.raises(PeerRefused) as refused:
            await peer.call(method)
        assert refused.value.code == "not-yours"
    await peer.close()
    raw = await observing(address, 100)
    raw.write(PREFIX.pack(4097, 0) + b'{"id":1')
    await raw.gone()
    await still_serves(address)


@pytest.mark.parametrize("number", [[[]] * 300_000, "x", None, True, {}])
async def test_a_request_whose_number_is_none_is_not_handled(serve: Start, number: object) -> None:
    address = serve()
    raw = await authenticated(address)
    raw.write(frame({"id": number, "method": "hold", "params": {}}))  # type: ignore[dict-item]
    assert (await raw.receive()).header["status"] == "bad-request"
    await raw.close()


# --- who is it -------------------------------------------------------------------------------------------------------


async def test_another_key_than_the_expected_is_refused(serve: Start) -> None:
    with pytest.raises(AuthenticationError, match="wrong key"):
        await connect(serve(key=OTHER_KEY), SERVER, identity())


async def test_the_right_key_in_another_runs_domain_is_not_called_a_stranger(serve: Start) -> None:
    elsewhere = replace(identity(), domain=replace(identity().domain, contract="0x" + "ee" * 20))
    with pytest.raises(AuthenticationError, match="or it serves another run") as refused:
        await connect(serve(), SERVER, elsewhere)
    named = set(re.findall("0x[0-9a-f]{40}", str(refused.value)))
    assert named == {SERVER}, "the address that such a signature gives is nobody's"


async def test_another_run_is_refused_by_both_sides(serve: Start) -> None:
    address = serve()
    with pytest.raises(AuthenticationError, match="wrong-run"):
        await connect(address, SERVER, identity(run=OTHER_RUN))
    raw = await Raw.open(address)
    assert (await raw.greet(identity(run=OTHER_RUN), SERVER))["status"] == "wrong-run"
    await raw.gone()


@pytest.mark.parametrize("shift_s", [-125, 125])
async def test_an_expired_or_future_hello_is_refused_by_both_sides(serve: Start, shift_s: float) -> None:
    raw = await Raw.open(serve())
    assert (await raw.greet(identity(), SERVER, now_s=time.time() + shift_s))["status"] == "clock"
    await raw.gone()
    certificate = new_certificate()
    hello = server_hello(identity(SERVER_KEY, "signer", None), certificate, now_s=time.time() + shift_s)
    with pytest.raises(AuthenticationError, match="clock"):
        check_server_hello(hello.to_json(), identity(), SERVER, certificate.sha256, 120)


async def test_who_may_not_speak_is_told_why(serve: Start) -> None:
    with pytest.raises(PeerRefused) as refused:
        await connect(serve(), SERVER, identity(index=13))
    assert refused.value.code == "banned"


async def test_a_replayed_hello_is_refused(serve: Start) -> None:
    address = serve()
    first = await Raw.open(address)
    _, nonce = await first.nonce()
    recorded = client_hello(identity(), SERVER, first.certificate, nonce)
    assert (await first.say(recorded))["status"] == "ok"
    second = await Raw.open(address)
    await second.nonce()
    assert (await second.say(recorded))["status"] == "bad-hello"
    await second.gone()
    await first.close()


async def test_a_hello_for_another_server_or_an_altered_one_is_refused(serve: Start) -> None:
    address = serve()
    raw = await Raw.open(address)
    assert (await raw.greet(identity(), "0x" + "99" * 20))["status"] == "bad-hello"
    await raw.gone()
    raw = await Raw.open(address)
    _, nonce = await raw.nonce()
    hello = client_hello(identity(), SERVER, raw.certificate, nonce)
    mirrored = Signed("tls", {**hello.body, "side": "server"}, hello.signature)
    assert (await raw.say(mirrored))["status"] == "bad-hello"
    await raw.gone()
    raw = await Raw.open(address)
    _, nonce = await raw.nonce()
    hello = client_hello(identity(), SERVER, raw.certificate, nonce)
    altered = Signed("tls", {**hello.body, "index": 7}, hello.signature)
    answer = await raw.say(altered)  # a valid signature by nobody known: the caller is another address
    assert answer["status"] == "ok"
    raw.write(frame({"id": 1, "method": "echo", "params": {}}))
    params = (await raw.receive()).header["params"]
    assert isinstance(params, dict)
    assert params["caller"] != identity().address
    await raw.close()


class Middle:
    """A man in the middle: TLS with his own certificate towards the client, a connection of his own to the server."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.certificate: Certificate = new_certificate()
        self.answers: list[object] = []

    async def start(self, forge: bool) -> str:
        self.forge = forge
        address, self.server = await listen(self.serve, self.certificate.context)
        return address

    async def serve(self, client: Raw) -> None:
        server = await Raw.open(self.target)
        try:
            hello = (await server.receive()).header
            if self.forge:  # a member himself: he says who he is, but with the server's nonce
                signed = hello["hello"]
                assert isinstance(signed, dict)
                body = signed["body"]
                assert isinstance(body, dict)
                mine = server_hello(identity(OTHER_KEY, "member", 1), self.certificate)
                from commonweight.protocol.documents import sign

                forged = sign("tls", {**mine.body, "nonce": body["nonce"]}, OTHER_KEY, identity().domain)
                hello = {"hello": forged.to_json()}
            client.write(frame(hello))
            answer = (await client.receive()).header
            server.write(frame(answer))
            self.answers.append((await server.receive()).header["status"])
        except (EOFError, PeerError, ConnectionError):
            self.answers.append("client left")
        finally:
            await client.close()
            await server.close()

    async def stop(self) -> None:
        self.server.close()
        await self.server.wait_closed()


async def test_a_man_in_the_middle_is_noticed_by_the_client(serve: Start) -> None:
    middle = Middle(serve())
    address = await middle.start(forge=False)
    with pytest.raises(AuthenticationError, match="middle"):
        await connect(address, SERVER, identity())
    await middle.stop()


async def test_a_member_cannot_pass_anothers_hello_on(serve: Start) -> None:
    middle = Middle(serve())
    address = await middle.start(forge=True)
    with pytest.raises(PeerError):
        await connect(address, address_of(OTHER_KEY), identity(MEMBER_KEY))
    assert middle.answers == ["bad-hello"]
    await middle.stop()


# --- servers that misbehave ------------------------------------------------------------------------------------------


async def hostile_server(answers: list[bytes], greet: bool = True) -> tuple[str, asyncio.Server]:
    """A server that proves itself and then sends `answers`, one for each frame that it reads."""
    certificate = new_certificate()

    async def serve(raw: Raw) -> None:
        try:
            if greet:
                hello = server_hello(identity(SERVER_KEY, "signer", None), certificate)
                raw.write(frame({"hello": hello.to_json()}))
                await raw.receive()
                raw.write(frame({"status": "ok", "params": {}}))
            for answer in answers:
                if greet:
                    await raw.receive()
                raw.write(answer)
            await raw.gone()
        except (EOFError, PeerError):
            pass
        finally:
            await raw.close()

    return await listen(serve, certificate.context)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"\x00" * 64, ProtocolViolation),
        (PREFIX.pack(2**32 - 1, 0), FrameTooLarge),
        (frame({"id": 99, "status": "ok", "params": {}}), ProtocolViolation),
        (frame({"id": 1, "status": "ok"}), ProtocolViolation),
        (frame({"id": 1, "status": "ok", "params": {}}, b"xx"), FrameTooLarge),
        (frame({"id": True, "status": "ok", "params": {}}), ProtocolViolation),
        (frame({"id": 1, "status": "x" * 100, "params": {"what": {"a": "b"}}}), PeerRefused),
    ],
)
async def test_a_lying_server_is_refused_by_name(answer: bytes, error: type[PeerError]) -> None:
    address, server = await hostile_server([answer])
    peer = await connect(address, SERVER, identity())
    with pytest.raises(error):
        await peer.call("echo", max_reply=1)
    await peer.close()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("greeting", [b"", b"\xff" * 40, frame({"hello": {}}), frame({}), frame({"hello": 1}, b"x")])
async def test_a_server_that_does_not_say_who_it_is_is_refused(greeting: bytes) -> None:
    address, server = await hostile_server([greeting], greet=False)
    with pytest.raises((AuthenticationError, ProtocolViolation, PeerTimeout, FrameTooLarge)):
        await connect(address, SERVER, identity(), timeout_s=1.0)
    server.close()
    await server.wait_closed()


async def test_a_server_that_never_answers_the_handshake_times_out() -> None:
    left = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.transport.abort()
        left.set()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    with pytest.raises((PeerTimeout, PeerUnreachable)):
        await connect(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", SERVER, identity(), timeout_s=0.5)
    await left.wait()
    server.close()
    await server.wait_closed()


def test_the_runs_name_is_compared_whatever_its_case() -> None:
    assert identity(run=RUN.upper().replace("0X", "0x")).run == RUN
