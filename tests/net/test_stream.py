"""A connection's bytes as they are read into place, over real sockets and TLS: order, backpressure and ends."""

import asyncio
import random

import pytest

from commonweight.net.identity import new_certificate
from commonweight.net.stream import Stream
from tests.net.raw import Raw, listen

pytestmark = pytest.mark.e2e
PIECE = 1 << 18


async def pair() -> tuple[Stream, Stream, asyncio.Server]:
    """Both ends of a connection, and the server to close afterwards."""
    met: asyncio.Future[Raw] = asyncio.get_running_loop().create_future()

    async def meet(raw: Raw) -> None:
        met.set_result(raw)

    address, server = await listen(meet, new_certificate().context)
    near = (await Raw.open(address)).stream
    return near, (await met).stream, server


async def end(*streams: Stream, server: asyncio.Server) -> None:
    for stream in streams:
        stream.abort()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("seed", range(6))
async def test_bytes_arrive_in_order_however_they_are_written_and_read(seed: int) -> None:
    near, far, server = await pair()
    rng = random.Random(seed)
    data = rng.randbytes(3_000_000)
    sizes = [1, 11, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 65_536, 700_000]

    async def write() -> None:
        at = 0
        while at < len(data):
            size = rng.choice(sizes)
            near.write(memoryview(data)[at : at + size])
            at += size
            await near.drain()
            await asyncio.sleep(rng.choice([0, 0, 0.002]))

    writing = asyncio.create_task(write())
    got = bytearray()
    while len(got) < len(data):
        size = min(rng.choice(sizes), len(data) - len(got))
        got += await (far.exactly(size) if rng.random() < 0.7 else far.some(size))
        await asyncio.sleep(rng.choice([0, 0, 0.002]))
    await writing
    assert got == data
    await end(near, far, server=server)


async def test_a_peer_that_is_not_read_has_to_wait() -> None:
    near, far, server = await pair()

    async def write() -> None:
        for _ in range(1024):
            near.write(bytes(1 << 16))
            await near.drain()

    writing = asyncio.create_task(write())
    done, _ = await asyncio.wait([writing], timeout=1.0)
    assert not done
    assert len(far._early) < 2 * PIECE
    assert await far.exactly(1024 << 16) == bytes(1024 << 16)  # and goes on when it is
    await writing
    await end(near, far, server=server)


async def test_what_came_before_the_end_is_there_and_then_the_end() -> None:
    near, far, server = await pair()
    near.write(b"the last answer")
    await near.drain()
    closing = asyncio.create_task(near.close())
    await asyncio.sleep(0.1)
    assert await far.exactly(8) == b"the last"
    assert await far.some(100) == b" answer"
    assert await far.some(100) == b""
    with pytest.raises(asyncio.IncompleteReadError):
        await far.exactly(1)
    await closing
    with pytest.raises(OSError, match="lost"):
        await near.drain()
    await end(far, server=server)


async def test_a_frame_cut_off_in_the_middle_is_no_frame() -> None:
    near, far, server = await pair()
    reading = asyncio.create_task(far.exactly(2 * PIECE))
    near.write(bytes(PIECE + 1))
    await near.drain()
    await asyncio.sleep(0.1)
    near.abort()
    with pytest.raises((asyncio.IncompleteReadError, OSError)):
        await reading
    await end(far, server=server)
