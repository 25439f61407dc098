"""The cap on the upload: what really leaves over sockets, by calls and by replies, and what does not wait behind it."""

import asyncio
import os
import time

import pytest

from commonweight.errors import UsageError
from commonweight.net import Dialer, Limits, Method, Reply, Request, Server, Traffic, UploadCap
from commonweight.protocol.keys import address_of
from commonweight.quantities import parse_rate
from tests.net.serving import MEMBER_KEY, SERVER_KEY, authorise, identity

SERVER = address_of(SERVER_KEY)
RATE = 2 << 20
BODY = 2 << 20


async def sink(request: Request) -> Reply:
    return Reply({"size": len(request.body)})


async def source(_request: Request) -> Reply:
    return Reply({}, os.urandom(BODY))


async def served(limits: Limits | None = None, traffic: Traffic | None = None) -> tuple[Server, str]:
    methods = {"sink": Method(sink, BODY), "source": Method(source)}
    server = Server(identity(SERVER_KEY, "signer", None), methods, authorise, limits, traffic or Traffic())
    host, port = await server.start("127.0.0.1", 0)
    return server, f"{host}:{port}"


def test_the_rate_that_a_refusal_names_is_taken() -> None:
    with pytest.raises(UsageError) as refused:
        UploadCap(12_500)
    named = refused.value.fix.removeprefix("allow at least ")
    assert named == "525kbit"
    UploadCap(parse_rate(named))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.e2e
async def test_calls_and_replies_together_stay_under_the_cap_and_pings_do_not_wait() -> None:
    sent = Traffic()
    limits = Limits(upload=UploadCap(RATE))
    capped, at = await served(limits, sent)  # this process sends replies from here ...
    other, elsewhere = await served()
    dialer = Dialer(identity(MEMBER_KEY), limits, sent)  # ... and calls from here, under one cap
    caller = Dialer(identity(MEMBER_KEY), traffic=Traffic())
    started = time.monotonic()
    bulk = [asyncio.create_task(dialer.call(elsewhere, SERVER, "sink", {}, bytes(BODY))) for _ in range(2)]
    bulk += [asyncio.create_task(caller.call(at, SERVER, "source")) for _ in range(2)]
    waited, samples = [], []
    while not all(task.done() for task in bulk):
        asked = time.monotonic()
        await (await dialer.peer(elsewhere, SERVER)).ping()
        waited.append(time.monotonic() - asked)
        samples.append((time.monotonic() - started, sent.totals().bytes_sent))
        await asyncio.wait(bulk, timeout=0.05)
    took = time.monotonic() - started
    assert [len(task.result().body) for task in bulk] == [0, 0, BODY, BODY]
    assert sent.totals().bytes_sent > 4 * BODY
    assert sent.totals().bytes_sent <= RATE * (took + 0.1) + limits.upload.piece  # type: ignore[union-attr]
    assert all(size <= RATE * (at_s + 0.1) + BODY for at_s, size in samples), "a frame is counted when it is out"
    assert len(waited) > 5
    assert sorted(waited)[len(waited) // 2] < BODY / RATE / 2, "a ping does not wait for a body"
    for closing in (dialer, caller, capped, other):
        await closing.close()


@pytest.mark.unit
async def test_frames_go_one_after_the_other_and_short_ones_at_once() -> None:
    clock = Clock()
    cap = UploadCap(1 << 20, clock)
    order: list[str] = []

    async def send(name: str, frame: int, pieces: int) -> None:
        await cap.begin(frame, pieces * cap.piece, cap.piece)
        for _ in range(pieces - 1):
            await cap.take(frame, cap.piece)
        order.append(name)

    tasks = [asyncio.create_task(send(name, cap.frame(), 3)) for name in ("first", "second")]
    await asyncio.sleep(0)
    await cap.begin(cap.frame(), 100, 100)  # would hang if it waited: the clock stands still
    for _ in range(40):
        clock.now += 0.1
        cap._grant()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert order == ["first", "second"]
    await asyncio.gather(*tasks)


@pytest.mark.unit
async def test_short_frames_wait_once_they_owe_a_second() -> None:
    cap = UploadCap(1 << 20, Clock())
    for _ in range(281):  # 0.1 s of burst and 1 s of debt, in frames of 4096 bytes
        await asyncio.wait_for(cap.begin(cap.frame(), 4096, 4096), 5)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(cap.begin(cap.frame(), 4096, 4096), 0.05)


@pytest.mark.unit
async def test_who_gives_up_waiting_holds_nobody_up() -> None:
    clock = Clock()
    cap = UploadCap(1 << 20, clock)
    await cap.take(cap.frame(), cap.piece)
    first = asyncio.create_task(cap.take(cap.frame(), cap.piece))
    second = asyncio.create_task(cap.take(cap.frame(), 1))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    clock.now += 0.01
    cap._grant()
    await asyncio.wait_for(second, 5)


@pytest.mark.unit
def test_a_rate_that_peers_would_not_wait_for_is_refused() -> None:
    with pytest.raises(UsageError, match="too little"):
        UploadCap(1000)
