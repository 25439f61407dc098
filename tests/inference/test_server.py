"""The server's process beside its requests: it goes on settling, whatever a moment was like."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import httpx
import pytest

from commonweight.chain.structs import VoucherClaim
from commonweight.chain.types import Receipt
from commonweight.errors import InferenceError, TransactionStuck
from commonweight.protocol.x402 import HEADER_SIGNATURE
from inference.metering import ChannelFacts, Ledger, Reservation
from inference.server import Opened, ServerInfo, _listen, _serve, _settle_regularly, _url
from inference.serving import Serving
from inference.settings import ServeSettings
from inference.settlement import Settler
from inference.till import Till
from tests.inference.parts import (
    CHANNEL,
    CHECKPOINT,
    DOCUMENTS,
    PRICE,
    REQUEST,
    SERVER_KEY,
    facts,
    make_till,
    payment,
    query_only,
    voucher,
)
from tests.inference.test_serving import MODEL, StubGenerator, question
from tests.inference.test_settlement import StubPayments
from tests.waiting import wait_for

pytestmark = pytest.mark.unit
WAIT_S, AT_ONCE = 30.0, 40


async def until(condition: Callable[[], bool], settling: asyncio.Task[None]) -> None:
    """Wait for a condition while settling goes on."""
    async with asyncio.timeout(30):
        while not condition():
            assert not settling.done()
            await asyncio.sleep(0.01)


def owing(ledger: Ledger) -> None:
    """Have the channel owe 60."""
    ledger.observe(facts())
    taken = ledger.reserve(voucher(100), REQUEST, 100, "")
    assert isinstance(taken, Reservation)
    ledger.charge(taken, 60, lambda before, sequence: b"receipt", "x" * 100_000)


def opened_with(till: Till, chain: StubPayments, **changes: object) -> Opened:
    """What a server works with; it settles all the time."""
    settler = Settler(till.ledger, till.refresh, chain.settle, chain.clear, every_s=0.0, threshold=0)
    workers = ThreadPoolExecutor(1)
    serving = Serving(
        replace(MODEL, generator=StubGenerator()), till, workers,  # type: ignore[arg-type]
        key=SERVER_KEY, documents=DOCUMENTS, max_tokens=50, max_at_once=AT_ONCE,
    )  # fmt: skip
    info = ServerInfo("", "", "", "", "", "")
    made = Opened(info, serving, settler, till.ledger, workers, lambda: None)
    return replace(made, **changes)  # type: ignore[arg-type]


@asynccontextmanager
async def served(settings: ServeSettings, opened: Opened) -> AsyncIterator[str]:
    """The address where a server listens; it is told to stop at the end, and has to end."""
    ready = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(_serve(settings, opened, listener, lambda _: ready.set()))
        await asyncio.to_thread(ready.wait, WAIT_S)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            async with asyncio.timeout(WAIT_S):
                await serving


async def test_a_disk_that_was_full_does_not_end_settling(tmp_path: Path) -> None:
    chain = StubPayments({CHANNEL: facts()})
    till = make_till(tmp_path, chain)
    ledger = till.ledger
    owing(ledger)
    query_only(ledger, 1)
    settings = ServeSettings("", (), "", Path(), None, tmp_path, settle_every_s=0.0, keep_answers_s=0.0)
    stop = asyncio.Event()
    settling = asyncio.create_task(_settle_regularly(settings, opened_with(till, chain), stop))
    await until(lambda: chain.reads > 1, settling)
    query_only(ledger, 0)
    await until(lambda: bool(chain.sent), settling)
    stop.set()
    await settling
    assert chain.channels[CHANNEL].settled == 60
    ledger.close()


async def test_a_request_that_could_not_be_ended_is_settled_with_the_last(tmp_path: Path) -> None:
    chain = StubPayments({CHANNEL: facts()})
    till = make_till(tmp_path, chain)
    opened = opened_with(till, chain)
    generator = cast(StubGenerator, opened.serving.model.generator)
    generator.pieces = ["ab"]
    stop = asyncio.Event()
    settings = ServeSettings("", (), "", Path(), None, tmp_path)
    settling = asyncio.create_task(_settle_regularly(settings, opened, stop))
    priced = opened.serving.priced(question())
    taken = await opened.serving.pay(priced, payment(100))
    assert isinstance(taken, Reservation)
    stream = opened.serving.stream(priced, taken)
    await anext(stream)
    query_only(till.ledger, 1)
    stream.leave()
    await opened.serving.drained()
    query_only(till.ledger, 0)
    stop.set()
    await settling
    assert chain.channels[CHANNEL].settled == 7 * PRICE
    till.ledger.close()


async def test_an_answer_of_a_node_that_makes_no_sense_does_not_end_settling(tmp_path: Path) -> None:
    chain = StubPayments({CHANNEL: facts()}, failure=KeyError("timestamp"))
    till = make_till(tmp_path, chain)
    owing(till.ledger)
    settings = ServeSettings("", (), "", Path(), None, tmp_path, settle_every_s=0.0)
    stop = asyncio.Event()
    settling = asyncio.create_task(_settle_regularly(settings, opened_with(till, chain), stop))
    await until(lambda: chain.reads > 1, settling)
    chain.failure = None
    await until(lambda: bool(chain.sent), settling)
    stop.set()
    await settling
    till.ledger.close()


async def test_what_fails_to_settle_is_told_with_what_is_at_stake(tmp_path: Path) -> None:
    chain = StubPayments({CHANNEL: facts()}, asset_error="EnforcedPause")
    till = make_till(tmp_path, chain)
    owing(till.ledger)
    opened = opened_with(till, chain)
    settings = ServeSettings("", (), "", Path(), None, tmp_path, settle_every_s=0.0)

    def metric(name: str, **labels: str) -> float:
        return opened.metrics.registry.get_sample_value(f"commonweight_{name}", labels) or 0.0

    async with served(settings, opened) as url:
        await asyncio.to_thread(wait_for, lambda: metric("settlements_total", outcome="failed") > 1)
        assert metric("unsettled") == 60 and metric("settlements_total", outcome="made") == 0
        chain.asset_error = ""
        await asyncio.to_thread(wait_for, lambda: metric("unsettled") == 0)
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            told = (await http.get("/metrics")).text
    assert 'commonweight_settlements_total{outcome="made"} 1.0' in told and "commonweight_unsettled 0.0" in told
    till.ledger.close()


def test_the_address_of_a_listener_is_one_that_clients_can_use() -> None:
    try:
        listener = _listen("[::1]:0", 1.0)
    except InferenceError:
        pytest.skip("this machine has no IPv6")
    with listener:
        url = _url(listener)
        assert httpx.URL(url).host == "::1" and httpx.URL(url).port == listener.getsockname()[1]


async def test_a_settlement_that_is_not_mined_holds_up_no_stop(tmp_path: Path) -> None:
    chain = StubPayments({CHANNEL: facts()})
    till = make_till(tmp_path, chain)
    owing(till.ledger)
    sending, abandoned = threading.Event(), threading.Event()

    def send(claims: Sequence[VoucherClaim]) -> Receipt:
        sending.set()
        assert abandoned.wait(2 * WAIT_S)
        raise TransactionStuck("settle was sent and is not mined yet, and this program ends")

    settler = Settler(till.ledger, till.refresh, send, chain.clear, every_s=0.0, threshold=0)
    opened = opened_with(till, chain, settler=settler, abandon=abandoned.set)
    try:
        async with served(ServeSettings("", (), "", Path(), None, tmp_path, shutdown_s=0.1), opened):
            await asyncio.to_thread(sending.wait, WAIT_S)
    finally:
        abandoned.set()
    till.ledger.close()


async def test_payments_that_wait_for_the_chain_hold_up_nobody_else(tmp_path: Path) -> None:
    chain = StubPayments({CHANNEL: facts(deposited=10**9)})
    till = make_till(tmp_path, chain)
    reading, go_on = threading.Event(), threading.Event()

    def read(channel: bytes) -> ChannelFacts | None:
        reading.set()
        assert go_on.wait(2 * WAIT_S)
        return chain.read(channel)

    till._read = read
    till.ledger.observe(facts(deposited=10**9, read_at=0.0))
    opened = opened_with(till, chain)
    cast(StubGenerator, opened.serving.model.generator).go_on.set()
    body = {"model": "tiny", "prompt": "12345", "max_tokens": 5, "seed": 1}
    terms = till.requirements(CHECKPOINT, 5, 5)
    settings = ServeSettings("", (), "", Path(), None, tmp_path, max_concurrent=1, max_waiting=AT_ONCE - 1)
    async with (
        served(settings, opened) as url,
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=WAIT_S) as http,
    ):
        paying = [
            asyncio.create_task(
                http.post("/v1/completions", json=body, headers={HEADER_SIGNATURE: payment(100 * n).to_header(terms)})
            )
            for n in range(1, AT_ONCE + 1)
        ]
        try:
            await asyncio.to_thread(reading.wait, WAIT_S)
            async with asyncio.timeout(WAIT_S / 2):
                while opened.serving.busy < AT_ONCE:
                    assert not any(task.done() for task in paying)
                    await asyncio.sleep(0.01)
                assert (await http.post("/v1/completions", json=body)).status_code == 402
                assert (await http.get("/v1/channels/0x" + "00" * 32)).status_code == 404
        finally:
            go_on.set()
        assert {(await task).status_code for task in paying} <= {200, 402}
    till.ledger.close()


@pytest.mark.parametrize(
    "said", [b"", b"POST /v1/comp", b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"]
)
async def test_connections_that_say_nothing_hold_up_nobody_who_asks(tmp_path: Path, said: bytes) -> None:
    chain = StubPayments({CHANNEL: facts()})
    till = make_till(tmp_path, chain)
    till.ledger.observe(facts())
    opened = opened_with(till, chain)
    generator = cast(StubGenerator, opened.serving.model.generator)
    settings = ServeSettings("", (), "", Path(), None, tmp_path, max_concurrent=1, max_waiting=1)
    body, terms = {"model": "tiny", "prompt": "12345", "max_tokens": 5, "seed": 1}, till.requirements(CHECKPOINT, 5, 5)
    async with (
        served(settings, opened) as url,
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=WAIT_S) as http,
    ):
        paid = {HEADER_SIGNATURE: payment(100).to_header(terms)}
        asking = asyncio.create_task(http.post("/v1/completions", json=body, headers=paid))
        await asyncio.to_thread(generator.begun.wait, WAIT_S)
        silent = [await asyncio.open_connection(*url.removeprefix("http://").split(":")) for _ in range(100)]
        try:
            for _, writer in silent:
                writer.write(said)
            for _ in range(5):
                async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=WAIT_S) as other:
                    assert (await other.get("/healthz")).status_code == 200
            generator.go_on.set()
            assert (await asking).status_code == 200, "one that is answered makes no room"
        finally:
            generator.go_on.set()
            for _, writer in silent:
                writer.transport.abort()
    till.ledger.close()


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels wait for ever")
def test_a_connection_that_takes_nothing_is_closed() -> None:
    with _listen("127.0.0.1:0", 0.2) as listener, socket.socket() as client:
        listener.listen()
        client.connect(listener.getsockname())
        connection, _ = listener.accept()
        connection.settimeout(WAIT_S)
        with connection, pytest.raises(OSError, match="timed out") as error:
            while True:
                connection.sendall(b"x" * 2**20)
        assert error.value.errno == errno.ETIMEDOUT, "by the kernel, not by this test"
