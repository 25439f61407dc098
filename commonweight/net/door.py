"""Who may shake hands: so many at one time, and the others wait for their turn.

A handshake takes memory for TLS; whoever waits takes only an open file. So all members may come at once, and no
handshake is cut off while it gets on. When others wait, one that leaves this side waiting for longer than it has to
gives way to them. The next turn goes to the origin that has fewest, its newest first: who floods waits behind others,
and what has given up by now is not served before what has just come. When too many wait, the oldest of the origin that
has most of them goes.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(eq=False)
class Guest:
    """A connection that is not known yet; `cut` ends it. `proven`: it waits for us, and keeps its place."""

    origin: str
    cut: Callable[[], object]
    proven: bool = False
    hurried: bool = field(default=False, init=False)  # others have waited for its place
    since_s: float = field(default=0.0, init=False)


class Door:
    """`places` handshakes at one time, and `waiting` others; after `patience_s` one gives way. For one event loop."""

    def __init__(self, places: int, waiting: int, patience_s: float) -> None:
        self._places = places
        self._most_waiting = waiting
        self._patience_s = patience_s
        self._inside: dict[Guest, None] = {}  # both in the order of their coming
        self._waiting: dict[Guest, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def enter(self, guest: Guest) -> None:
        """Wait for a place; whoever gets one, or gives up, has to `leave`."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[guest] = turn
        self._let_in()
        if len(self._waiting) > self._most_waiting:
            crowded = Counter(waiting.origin for waiting in self._waiting).most_common(1)[0][0]
            oldest = next(waiting for waiting in self._waiting if waiting.origin == crowded)
            del self._waiting[oldest]
            oldest.cut()
        await turn

    def leave(self, guest: Guest) -> None:
        """It is known now, or gone; once is enough."""
        self._waiting.pop(guest, None)
        self._inside.pop(guest, None)
        self._let_in()

    def _let_in(self) -> None:
        """Give the places that are free to those who wait, and when there are none see to it that there will be."""
        self._end_slow()
        while self._waiting:
            held = Counter(guest.origin for guest in self._inside)
            following = min(reversed(self._waiting), key=lambda guest: held[guest.origin])
            if len(self._inside) < self._places:
                following.since_s = asyncio.get_running_loop().time()
                self._inside[following] = None
                turn = self._waiting.pop(following)
                if not turn.done():
                    turn.set_result(None)
                continue
            for guest in self._inside:
                if guest.origin == following.origin or held[guest.origin] > held[following.origin]:
                    guest.hurried = True
            if not self._end_slow():
                return

    def _end_slow(self) -> bool:
        """End the handshakes that others have waited for, and that have had their time; whether there were any."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop, ended = asyncio.get_running_loop(), False
        for guest in [guest for guest in self._inside if guest.hurried and not guest.proven]:
            if loop.time() < guest.since_s + self._patience_s:
                self._timer = loop.call_at(guest.since_s + self._patience_s, self._let_in)
                break
            del self._inside[guest]
            guest.cut()
            ended = True
        return ended
