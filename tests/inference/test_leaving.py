"""Clients that go at any moment of a stream: no place stays taken, nothing stays reserved, what was sent is charged."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
import uvicorn
from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from commonweight.errors import RpcUnavailable
from commonweight.protocol.x402 import HEADER_SIGNATURE
from inference.answers import text_sha256
from inference.api import Metrics, _Api, build_app
from inference.metering import ChannelFacts
from inference.receipts import read_receipt
from inference.serving import Serving
from inference.settings import ServeSettings
from tests.inference.parts import (
    CHANNEL,
    CHECKPOINT,
    DOCUMENTS,
    PRICE,
    SERVER,
    SERVER_KEY,
    StubChain,
    facts,
    make_till,
    payment,
)
from tests.inference.test_serving import MODEL, StubGenerator

pytestmark = pytest.mark.unit
PROMPT_TOKENS, MAX_TOKENS, PLACES = 18, 4, 3
TEXT = "abcd"
MAXIMUM = (PROMPT_TOKENS + MAX_TOKENS) * PRICE
WAIT_S = 60.0
SETTINGS = ServeSettings("", (), "", Path(), None, Path())


@pytest_asyncio.fixture
async def serving(tmp_path: Path) -> AsyncIterator[Serving]:
    till = make_till(tmp_path, StubChain({CHANNEL: facts(deposited=10**9)}))
    workers = ThreadPoolExecutor(2)
    generator = StubGenerator()
    generator.pieces = list(TEXT)
    made = Serving(
        replace(MODEL, generator=generator), till, workers,  # type: ignore[arg-type]
        key=SERVER_KEY, documents=DOCUMENTS, max_tokens=50, max_at_once=PLACES,
    )  # fmt: skip
    yield made
    generator.go_on.set()
    await made.drained()
    workers.shutdown()
    till.ledger.close()


@pytest.fixture
def app(serving: Serving) -> ASGIApp:
    return build_app(serving, SETTINGS, Metrics())


@pytest.fixture(params=["app", "response"])
def either(request: pytest.FixtureRequest, app: ASGIApp, serving: Serving) -> ASGIApp:
    """The application, whose middleware takes in one message more, or the response as it is."""

    async def response(scope: Scope, receive: Receive, send: Send) -> None:
        answered = await _Api(serving, SETTINGS, Metrics()).chat(Request(scope, receive))
        await answered(scope, receive, send)

    return app if request.param == "app" else response


def stub(serving: Serving) -> StubGenerator:
    assert isinstance(serving.model.generator, StubGenerator)
    return serving.model.generator


def request(serving: Serving, number: int, stream: bool = True) -> tuple[bytes, str]:
    """The body of a chat and its payment; the voucher covers `number` requests."""
    chat = [{"role": "user", "content": "1"}]
    body = {"model": "tiny", "messages": chat, "max_tokens": MAX_TOKENS, "seed": number, "stream": stream}
    terms = serving.till.requirements(CHECKPOINT, PROMPT_TOKENS, MAX_TOKENS)
    return json.dumps(body).encode(), payment(number * MAXIMUM).to_header(terms)


async def settled(serving: Serving) -> None:
    """Wait until everything has ended; then no place is taken and nothing reserved."""
    async with asyncio.timeout(WAIT_S):
        await serving.drained()
    assert serving.busy == 0
    assert serving.till.ledger.open_requests() == []


def charged(serving: Serving) -> list[int]:
    """The completion tokens of each receipt, all of which are right."""
    tokens, total = [], 0
    for data in serving.till.ledger.receipts(CHANNEL, 0, 1000):
        served, _ = read_receipt(data, DOCUMENTS, SERVER)
        total += (PROMPT_TOKENS + served.completion_tokens) * PRICE
        assert (served.prompt_tokens, served.cumulative) == (PROMPT_TOKENS, total)
        assert served.answer_sha256 == text_sha256(TEXT[: served.completion_tokens]), "what was sent, and no more"
        tokens.append(served.completion_tokens)
    account = serving.till.ledger.account(CHANNEL)
    assert account is not None and (account.charged, account.reserved) == (total, 0)
    return tokens


async def ask_and_leave(app: ASGIApp, serving: Serving, number: int, after: int) -> str:
    """Ask over ASGI and leave when so many messages have come; the text that they had."""
    body, header = request(serving, number)
    left = asyncio.Event()
    told: list[Message] = []
    asked = False

    async def receive() -> Message:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": body, "more_body": False}
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if not left.is_set():
            told.append(message)
        if len(told) >= after:
            left.set()
        await asyncio.sleep(0)

    if after == 0:
        left.set()
    path = "/v1/chat/completions"
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "POST",
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(HEADER_SIGNATURE.lower().encode(), header.encode())], "client": ("x", 1), "server": ("x", 2),
    }  # fmt: skip
    async with asyncio.timeout(WAIT_S):
        await app(scope, receive, send)
    return text_of(b"".join(message.get("body", b"") for message in told))


def text_of(stream: bytes) -> str:
    """The text in the whole events of a stream."""
    text = ""
    for line in stream.split(b"\n\n")[:-1]:
        if line.startswith(b"data: {") and (choices := json.loads(line[6:]).get("choices")):
            text += choices[0]["delta"].get("content") or ""
    return text


@pytest.mark.parametrize("after", [0, 1, 2])
async def test_a_client_that_leaves_before_the_first_piece_pays_nothing(
    either: ASGIApp, serving: Serving, after: int
) -> None:
    """At once, when the answer's head has come, and at the chunk that opens a chat."""
    stub(serving).pieces = []
    for number in range(1, 2 * PLACES):
        assert await ask_and_leave(either, serving, number, after) == ""
        await settled(serving)
    assert charged(serving) == []


async def test_a_client_that_leaves_in_the_middle_pays_for_what_was_sent(either: ASGIApp, serving: Serving) -> None:
    for number in range(1, 2 * PLACES):
        got = await ask_and_leave(either, serving, number, after=3)
        assert got
        await settled(serving)
        assert charged(serving)[-1] >= len(got)


async def test_one_that_stays_pays_for_all(app: ASGIApp, serving: Serving) -> None:
    stub(serving).go_on.set()
    assert await ask_and_leave(app, serving, 1, after=1000) == TEXT
    await settled(serving)
    assert charged(serving) == [len(TEXT)]


# --- over sockets ----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def listening(app: ASGIApp) -> AsyncIterator[uvicorn.Server]:
    """uvicorn while it serves."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        assert not serving.done()
        await asyncio.sleep(0.01)
    try:
        yield server
    finally:
        server.should_exit = True
        await serving


async def quiet(server: uvicorn.Server, serving: Serving) -> None:
    """Wait until no connection and no handler is left; then all has ended."""
    async with asyncio.timeout(WAIT_S):
        while server.server_state.connections or server.server_state.tasks:
            assert server.started
            await asyncio.sleep(0.001)
    await settled(serving)


async def metric(server: uvicorn.Server, name: str) -> float:
    """A metric as the server tells it, 0 for one that it does not have yet."""
    async with httpx.AsyncClient(trust_env=False) as http:
        port = server.servers[0].sockets[0].getsockname()[1]
        lines = (await http.get(f"http://127.0.0.1:{port}/metrics")).text.splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(f"commonweight_{name}")), 0.0)


async def connect(
    server: uvicorn.Server, body: bytes, header: str, less: int = 0
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection whose end is a reset, with the request sent but for its last `less` bytes."""
    port = server.servers[0].sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n{HEADER_SIGNATURE}: {header}\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[: len(body) - less])
    await writer.drain()
    return reader, writer


@pytest.mark.parametrize(("until", "pieces", "least"), [(b"assistant", [], 0), (b'"content":"a', list(TEXT), 1)])
async def test_a_connection_that_is_reset_holds_nothing(
    app: ASGIApp, serving: Serving, until: bytes, pieces: list[str], least: int
) -> None:
    stub(serving).pieces = pieces
    async with listening(app) as server:
        for number in range(1, 2 * PLACES):
            reader, writer = await connect(server, *request(serving, number))
            async with asyncio.timeout(WAIT_S):
                await reader.readuntil(until)
            writer.close()
            await quiet(server, serving)
    assert len(charged(serving)) == (2 * PLACES - 1 if least else 0) and all(n >= least for n in charged(serving))


async def test_a_body_that_breaks_off_is_no_failure(
    app: ASGIApp, serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(app) as server:
        _, writer = await connect(server, *request(serving, 1), less=1)
        writer.close()
        await quiet(server, serving)
        assert await metric(server, 'answers_total{outcome="failed"}') == 0
    assert [record.message for record in caplog.records if record.exc_info] == []


@pytest.mark.parametrize("stream", [False, True])
async def test_what_fails_is_counted_and_tells_others_no_cause(app: ASGIApp, serving: Serving, stream: bool) -> None:
    stub(serving).failure = RuntimeError("secret of /var/lib")
    stub(serving).go_on.set()
    async with listening(app) as server:
        reader, writer = await connect(server, *request(serving, 1, stream=stream))
        async with asyncio.timeout(WAIT_S):
            told = await reader.readuntil(b"try again later")
        assert b"secret" not in told
        writer.close()
        await quiet(server, serving)
        assert await metric(server, 'answers_total{outcome="failed"}') == 1
    assert charged(serving) == ([len(TEXT)] if stream else [])


async def test_one_too_many_is_told_to_wait_and_is_no_failure(app: ASGIApp, serving: Serving) -> None:
    async with listening(app) as server:
        asked, heads = [], []
        for number in range(1, PLACES + 2):  # one after the other: a voucher that comes after a higher one is refused
            asked.append(await connect(server, *request(serving, number)))
            async with asyncio.timeout(WAIT_S):
                heads.append(await asked[-1][0].readuntil(b"\r\n"))
        assert [b" 503 " in head for head in heads] == [False] * PLACES + [True]
        assert await metric(server, 'answers_total{outcome="busy"}') == 1
        assert await metric(server, 'answers_total{outcome="failed"}') == 0
        for _, writer in asked:
            writer.close()
        await quiet(server, serving)


async def test_a_channel_that_cannot_be_read_is_the_servers_failure(app: ASGIApp, serving: Serving) -> None:
    def read(channel: bytes) -> ChannelFacts | None:
        raise RpcUnavailable("No endpoint answers")

    serving.till._read = read
    async with listening(app) as server:
        reader, writer = await connect(server, *request(serving, 1))
        async with asyncio.timeout(WAIT_S):
            assert b" 503 " in await reader.readuntil(b"\r\n")
        assert await metric(server, 'answers_total{outcome="failed"}') == 1
        assert await metric(server, 'answers_total{outcome="refused"}') == 0
        writer.close()
        await quiet(server, serving)


async def test_an_event_is_one_line_however_its_reader_tells_lines_apart(app: ASGIApp, serving: Serving) -> None:
    stub(serving).pieces = ["\u2028", "\u0085é", "\u2029"]
    stub(serving).go_on.set()
    body, header = request(serving, 1)
    async with listening(app) as server, httpx.AsyncClient(trust_env=False) as http:
        url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1/chat/completions"
        async with http.stream("POST", url, content=body, headers={HEADER_SIGNATURE: header}) as response:
            lines = [line async for line in response.aiter_lines() if line]
    assert lines.pop() == "data: [DONE]"
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events) == "\u2028\u0085é\u2029"


async def test_connections_that_are_reset_at_any_moment_hold_nothing(app: ASGIApp, serving: Serving) -> None:
    stub(serving).go_on.set()
    async with listening(app) as server:
        for number in range(1, 61):
            _, writer = await connect(server, *request(serving, number))
            for _ in range(number):  # at another step of the server each time
                await asyncio.sleep(0)
            await asyncio.sleep(0.0005 * (number % 20))
            writer.close()
            await quiet(server, serving)
        reader, writer = await connect(server, *request(serving, 1000))
        async with asyncio.timeout(WAIT_S):
            assert await reader.readuntil(b"[DONE]")
        writer.close()
        await quiet(server, serving)
    assert charged(serving)[-1] == len(TEXT)
