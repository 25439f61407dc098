"""Frames on a TLS connection: u32 header length, u64 body length, header as canonical JSON, body as it is.

Lengths are big-endian and checked before anything is read for them. Memory grows only as bytes arrive. A frame that
takes longer than its size allows ends the connection, and so does one that was begun but could not be finished.
"""

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from commonweight.errors import FormatError, FrameTooLarge, PeerTimeout, PeerUnreachable, ProtocolViolation
from commonweight.net import tcp
from commonweight.net.limits import Limits
from commonweight.net.stream import Stream
from commonweight.net.traffic import Traffic
from commonweight.protocol.canonical import JsonObject, dumps, loads_object

PREFIX = struct.Struct(">IQ")
_PIECE = 1 << 17
_GOODBYE_S = 1.0


@dataclass(frozen=True)
class Frame:
    """One frame; `transfer_us` is how long its body took to arrive, in microseconds."""

    header: JsonObject
    body: bytes
    transfer_us: int


Admit = Callable[[JsonObject, int], Awaitable[None]]
"""Called with a frame's header and body length before the body is read; raises when it must not be read."""


class Wire:
    """One connection, for one task that reads and any number that write. `where` names the other side in errors."""

    def __init__(
        self,
        stream: Stream,
        limits: Limits,
        traffic: Traffic,
        where: str,
    ) -> None:
        self._stream = stream
        self._limits = limits
        self._turn = asyncio.Lock()
        self.traffic = traffic
        self.where = where

    @property
    def closing(self) -> bool:
        """Whether the connection is closed or being closed."""
        return self._stream.closing

    @property
    def arrived(self) -> int:
        """Bytes that have come so far, of frames that are not complete too."""
        return self._stream.arrived

    def allow_silence(self, seconds: float) -> None:
        """Bound how long TCP waits for the other side to take what is sent."""
        tcp.allow_silence(self._stream.transport.get_extra_info("socket"), seconds)

    def abort(self) -> None:
        """Close at once, without goodbye."""
        self._stream.abort()

    async def close(self) -> None:
        """Close after what was written has gone out; an unresponsive peer is cut off.

        What the peer is still sending is read and dropped for a moment, so that its last answer is not lost with it.
        """
        try:
            async with asyncio.timeout(_GOODBYE_S):
                while await self._stream.some(_PIECE):
                    pass
                await self._stream.close()
        except (OSError, TimeoutError):
            self.abort()

    async def send(self, header: JsonObject, body: bytes, method: str) -> None:
        """Write one frame, waiting while the peer does not read or the upload is capped.

        Raises PeerUnreachable or PeerTimeout.
        """
        encoded, view = dumps(header), memoryview(body)
        size = PREFIX.size + len(encoded) + len(body)
        upload = self._limits.upload
        piece_size = _PIECE if upload is None else upload.piece
        frame = 0 if upload is None else upload.frame()
        if upload is not None:
            await upload.begin(frame, size, size - max(0, len(body) - piece_size))
        async with self._turn:
            if self.closing:
                raise PeerUnreachable(f"The connection to {self.where} is closed")
            try:
                async with asyncio.timeout(self._limits.transfer_s(size)):
                    self._stream.write(PREFIX.pack(len(encoded), len(body)) + encoded)
                    for start in range(0, len(body), piece_size):
                        await self._stream.drain()
                        piece = view[start : start + piece_size]
                        if start and upload is not None:
                            await upload.take(frame, len(piece))
                        self._stream.write(piece)
                    await self._stream.drain()
            except TimeoutError:
                self.abort()
                raise PeerTimeout(f"{self.where} stopped reading", f"{size} bytes could not be sent in time") from None
            except OSError as problem:
                self.abort()
                raise PeerUnreachable(f"The connection to {self.where} was lost", str(problem)) from problem
            except BaseException:
                self.abort()  # half a frame is out: nothing that follows could be understood
                raise
        self.traffic.add_sent(method, size)

    async def receive(
        self, max_header: int, admit: Admit, wait_s: float | None, name: Callable[[JsonObject], str],
        busy: Callable[[], bool] = lambda: False,
    ) -> Frame | None:  # fmt: skip
        """Read one frame; None when the peer has closed between two frames.

        `wait_s` bounds the wait for its first byte, None waits for ever, and so it does while the connection is `busy`
        otherwise. `name` gives the method to count it under.
        Raises FrameTooLarge, ProtocolViolation, PeerTimeout, PeerUnreachable, and what `admit` raises.
        """
        try:
            first = await self._first_byte(wait_s, busy)
            if not first:
                return None
            async with asyncio.timeout(self._limits.frame_s):
                header_size, body_size = PREFIX.unpack(first + await self._stream.exactly(PREFIX.size - 1))
            if header_size > max_header:
                raise FrameTooLarge(
                    f"{self.where} announced a header of {header_size} bytes", f"{max_header} are allowed here"
                )
            async with asyncio.timeout(self._limits.transfer_s(header_size)):
                header = loads_object(await self._stream.exactly(header_size), max_header)
            await admit(header, body_size)
            started = time.perf_counter_ns()
            async with asyncio.timeout(self._limits.transfer_s(body_size)):
                body = await self._stream.exactly(body_size)
            transfer_us = (time.perf_counter_ns() - started) // 1000
        except TimeoutError:
            raise PeerTimeout(f"{self.where} was silent for too long", "a frame did not arrive in time") from None
        except asyncio.IncompleteReadError:
            raise PeerUnreachable(f"{self.where} closed the connection in the middle of a frame") from None
        except FormatError as problem:
            raise ProtocolViolation(f"{self.where} sent a header that is refused", str(problem)) from None
        except OSError as problem:
            raise PeerUnreachable(f"The connection to {self.where} was lost", str(problem)) from problem
        self.traffic.add_received(name(header), PREFIX.size + header_size + body_size)
        return Frame(header, body, transfer_us)

    async def _first_byte(self, wait_s: float | None, busy: Callable[[], bool]) -> bytes:
        while True:
            try:
                async with asyncio.timeout(wait_s):
                    return await self._stream.some(1)
            except TimeoutError:
                if not busy():
                    raise
