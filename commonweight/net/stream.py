"""The bytes of one connection, read into place: TLS decrypts into the very buffer of the frame that is awaited.

asyncio's own streams copy what arrives three times more; between fast links that is a third of the work of moving it.
"""

import asyncio

_PIECE = 1 << 18
_SPARE = 1 << 16


class Stream(asyncio.BufferedProtocol):
    """One connection, for one task that reads and any number that write.

    What arrives before it is awaited is kept, up to a quarter of a megabyte; then the peer has to wait. All methods
    raise OSError when the connection was lost, `exactly` also asyncio.IncompleteReadError when the peer closed it.
    """

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._spare = memoryview(bytearray(_SPARE))
        self._early = bytearray()
        self._pieces: list[bytearray] = []
        self._filled = 0  # of the last piece
        self._missing = 0  # of the bytes that are awaited
        self._paused = False
        self._arrived: asyncio.Future[None] | None = None
        self._ended = False
        self._problem: Exception | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost = asyncio.Event()
        self.arrived = 0
        """Bytes that have come so far."""

    # --- called by the event loop ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is complete."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Where to put what arrives."""
        return memoryview(self._pieces[-1])[self._filled :] if self._missing else self._spare

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes were put there."""
        self.arrived += nbytes
        if self._missing:
            self._filled += nbytes
            self._missing -= nbytes
            if self._missing and self._filled == len(self._pieces[-1]):
                self._begin_piece()
            if not self._missing:
                self._wake()
            return
        self._early += self._spare[:nbytes]
        if len(self._early) >= _PIECE and not self._paused:
            self._paused = True
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """The peer will send no more; the connection closes itself then, as TLS demands."""
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over, for a reason or after it was closed."""
        self._end(exc)
        self._lost.set()
        self._writable.set()

    def pause_writing(self) -> None:
        """The peer does not read as fast as this side writes."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._writable.set()

    # --- reading -----------------------------------------------------------------------------------------------------

    async def some(self, most: int) -> bytes:
        """What has arrived, one byte or more; b"" when the peer has closed the connection."""
        while not self._early and not self._ended:
            await self._arrival()
        if not self._early and self._problem is not None:
            raise self._problem
        return self._take(most)

    async def exactly(self, size: int) -> bytes:
        """So many bytes. Cancelled in between it loses what it had: the connection is of no use then."""
        first = self._take(size)
        if len(first) == size:
            return first
        self._missing = size - len(first)
        self._begin_piece()
        try:
            while self._missing and not self._ended:
                await self._arrival()
            if self._missing:
                raise self._problem or asyncio.IncompleteReadError(first, size)
            return b"".join([first, *self._pieces])
        finally:
            self._pieces.clear()
            self._missing = 0

    def _begin_piece(self) -> None:
        self._pieces.append(bytearray(min(self._missing, _PIECE)))  # memory grows as bytes arrive
        self._filled = 0

    def _take(self, most: int) -> bytes:
        taken = bytes(self._early[:most])
        del self._early[:most]
        return taken

    async def _arrival(self) -> None:
        if self._paused:
            self._paused = False
            self.transport.resume_reading()
        self._arrived = asyncio.get_running_loop().create_future()
        try:
            await self._arrived
        finally:
            self._arrived = None

    def _wake(self) -> None:
        arrived = self._arrived
        if arrived is not None and not arrived.done():
            arrived.set_result(None)

    def _end(self, problem: Exception | None) -> None:
        self._ended = True
        self._problem = self._problem or problem
        self._wake()

    # --- writing -----------------------------------------------------------------------------------------------------

    @property
    def transport(self) -> asyncio.Transport:
        """The transport, once the connection is made."""
        assert self._transport is not None
        return self._transport

    @property
    def closing(self) -> bool:
        """Whether the connection is closed or being closed."""
        return self.transport.is_closing()

    def write(self, data: bytes | memoryview) -> None:
        """Send it as soon as the peer reads; it must not change before `drain` returns."""
        self.transport.write(data)

    async def drain(self) -> None:
        """Wait until there is room to write more."""
        if self.closing:
            await asyncio.sleep(0)  # let the loss be told first
        await self._writable.wait()
        if self._problem is not None:
            raise self._problem
        if self._lost.is_set():
            raise ConnectionResetError("Connection lost")

    def abort(self) -> None:
        """Close at once, without goodbye."""
        self.transport.abort()

    async def close(self) -> None:
        """Close after what was written has gone out."""
        self.transport.close()
        await self._lost.wait()
        if self._problem is not None:
            raise self._problem
