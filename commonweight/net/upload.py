"""A cap on what a process sends: one token bucket for all its connections, replies and calls alike.

A body goes out in pieces, each of which waits for its tokens. Whoever waits is served in the order in which frames
began to wait, so that one frame after the other goes at the full rate and none lasts longer than its receiver grants;
a peer that does not read waits for its socket, not here, and holds nobody up. Frames without a long body (requests,
refusals, pings) go at once and are charged afterwards, as long as that debt is less than a second's worth.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable

from commonweight.errors import UsageError
from commonweight.net.limits import Limits

SMALL_BYTES = 4096
"""A frame of at most this size does not wait."""
_BURST_S = 0.1
_DEBT_S = 1.0
_PIECE = (1 << 14, 1 << 18)


class UploadCap:
    """At most `bytes_per_s` on average and a tenth of a second's worth at once; for one event loop.

    Frame bytes are counted; TLS, TCP and IP add about 5 % on the link. Raises UsageError for a rate at which a frame
    would take longer than peers wait for it.
    """

    def __init__(self, bytes_per_s: int, clock: Callable[[], float] = time.monotonic) -> None:
        least = 2 * Limits().bytes_per_s
        if bytes_per_s < least:
            raise UsageError(
                f"An upload of {bytes_per_s} bytes/s is too little",
                f"peers give up on what is slower than {least} bytes/s",
                f"allow at least {-(-8 * least // 1000)}kbit",
            )
        self.bytes_per_s = bytes_per_s
        self.piece = min(max(int(bytes_per_s * _BURST_S), _PIECE[0]), _PIECE[1])
        self._burst = max(bytes_per_s * _BURST_S, float(self.piece))
        self._clock = clock
        self._level, self._at = self._burst, clock()
        self._frames = itertools.count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None

    def frame(self) -> int:
        """A frame's place among those that wait."""
        return next(self._frames)

    async def begin(self, frame: int, size: int, first: int) -> None:
        """Wait until a frame of `size` bytes may begin with its `first` ones, before any of it is sent."""
        self._fill()
        if size <= SMALL_BYTES and self._level - size >= -_DEBT_S * self.bytes_per_s:
            self._level -= size
        else:
            await self.take(frame, first)

    async def take(self, frame: int, size: int) -> None:
        """Wait for the next `size` bytes of a frame; more than a whole bucket is lent when it is full."""
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (frame, size, granted))
        self._grant()
        try:
            await granted
        except asyncio.CancelledError:
            self._grant()  # whoever waits behind it must not wait for it
            raise

    def _fill(self) -> None:
        now = self._clock()
        self._level = min(self._burst, self._level + (now - self._at) * self.bytes_per_s)
        self._at = now

    def _grant(self) -> None:
        self._fill()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            _, size, granted = self._waiting[0]
            if not granted.done():
                lacking_s = (min(size, self._burst) - self._level) / self.bytes_per_s
                if lacking_s > 0:
                    self._timer = asyncio.get_running_loop().call_later(lacking_s, self._grant)
                    return
                self._level -= size
                granted.set_result(None)
            heapq.heappop(self._waiting)
