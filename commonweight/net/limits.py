"""What one process grants to the others: sizes, numbers, times and rates. Every wait has an end and every buffer a
size.
"""

import asyncio
import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from commonweight.net.upload import UploadCap


@dataclass(frozen=True)
class Limits:
    """Bounds of a server, and of the client's side of a connection. Bytes, seconds, and numbers of things."""

    max_header: int = 1 << 20
    max_hello: int = 4096
    handshake_s: float = 15.0
    idle_s: float = 180.0
    handler_s: float = 120.0
    frame_s: float = 15.0  # for a frame of no length; a longer one gets time by `bytes_per_s`
    bytes_per_s: int = 32 * 1024
    max_pending: int = 2048  # connections that have not said who they are yet: all members may come in one moment
    max_handshakes: int = 64  # of those at one time, and at most half of them; the others wait for their turn
    patience_s: float = 4.0  # for a handshake while others wait
    max_connections: int = 2048
    max_observers: int = 64  # connections of callers that anybody can be
    max_connections_per_caller: int = 8
    max_in_flight_per_caller: int = 32
    max_body_memory: int = 512 << 20  # request bodies held at one time, over all callers
    requests_per_s: float = 200.0  # per caller, sustained; more are read later, never dropped
    burst: int = 400
    max_clock_skew_s: float = 120.0
    upload: "UploadCap | None" = None  # one for all that the process sends

    def transfer_s(self, size: int) -> float:
        """How long a frame of `size` bytes may take."""
        return self.frame_s + size / self.bytes_per_s


class Budget:
    """An amount that may be held at one time; `take` waits until there is room. Waiters are served in their order."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.held = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int) -> None:
        """Reserve `size`; more than the whole budget is granted when nothing else is held."""
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, granted))
        self._grant()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self.give_back(size)  # granted and cancelled at the same moment
            else:
                self._grant()
            raise

    def give_back(self, size: int) -> None:
        """Return what was taken."""
        self.held -= size
        self._grant()

    @property
    def idle(self) -> bool:
        """Whether nothing is held and nobody waits."""
        return self.held == 0 and not self._waiting

    def _grant(self) -> None:
        while self._waiting:
            size, granted = self._waiting[0]
            if not granted.done():
                if self.held and self.held + size > self.size:
                    return
                self.held += size
                granted.set_result(None)
            self._waiting.popleft()


class RateLimiter:
    """A token bucket per caller. It delays the reading of the next request, so that a flood slows its sender down."""

    def __init__(self, per_s: float, burst: int, max_callers: int = 4096) -> None:
        self._per_s = per_s
        self._burst = burst
        self._max_callers = max_callers
        self._due: OrderedDict[str, float] = OrderedDict()  # when the caller's bucket will be full again

    def delay_s(self, caller: str, now: float | None = None) -> float:
        """Take one token, and say how many seconds to wait before the request may be read."""
        now = time.monotonic() if now is None else now
        due = max(self._due.pop(caller, now), now) + 1 / self._per_s
        self._due[caller] = due
        while len(self._due) > self._max_callers:
            self._due.popitem(last=False)
        return max(0.0, due - now - self._burst / self._per_s)
