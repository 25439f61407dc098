"""Memory for bodies, shared by all callers of a server: whoever holds most gives way when there is not enough.

A body's memory is reserved when it is announced. A caller that announces much and sends nothing, or sends much that is
never done with, would else keep everybody out for as long as its frames may take; whoever asks for least is served
first, so that no request waits behind a greater one.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(eq=False)
class Hold:
    """What a caller holds for one body, in bytes. `cut` ends it early: the memory comes back by `Room.give_back`."""

    caller: str
    size: int
    cut: Callable[[], None]
    cutting: bool = field(default=False, init=False)


@dataclass(eq=False)
class _Wish:
    hold: Hold
    granted: "asyncio.Future[None]"


class Room:
    """`size` bytes for the bodies of all callers; for one event loop."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._holds: dict[Hold, None] = {}
        self._waiting: dict[_Wish, None] = {}  # in the order of their coming

    @property
    def held(self) -> int:
        """Bytes held now, of those that are being cut too."""
        return sum(hold.size for hold in self._holds)

    async def take(self, hold: Hold) -> None:
        """Wait until there is room, and hold it; more than all of it is granted when nothing else is held.

        The caller that holds most is cut off, request by request, while that is more than this caller would have.
        """
        wish = _Wish(hold, asyncio.get_running_loop().create_future())
        self._waiting[wish] = None
        self._grant()
        try:
            await wish.granted
        except asyncio.CancelledError:
            self._waiting.pop(wish, None)
            self.give_back(hold)  # granted and cancelled at the same moment, or never granted
            raise

    def give_back(self, hold: Hold) -> None:
        """Return what was taken; once is enough."""
        self._holds.pop(hold, None)
        self._grant()

    def _grant(self) -> None:
        while self._waiting:
            own = Counter[str]()
            for hold in self._holds:
                own[hold.caller] += hold.size
            wish = min(self._waiting, key=lambda waiting: own[waiting.hold.caller] + waiting.hold.size)
            if self._holds and self.held + wish.hold.size > self.size:
                if self._make_room(wish.hold, own[wish.hold.caller]):
                    continue  # what was cut may have come back at once
                return
            del self._waiting[wish]
            if not wish.granted.done():
                self._holds[wish.hold] = None
                wish.granted.set_result(None)

    def _make_room(self, wanted: Hold, own: int) -> bool:
        """Cut off one hold of the caller that has most, if it has more than the one who asks would; whether it did."""
        staying = [hold for hold in self._holds if not hold.cutting]
        kept = Counter[str]()
        for hold in staying:
            kept[hold.caller] += hold.size
        if not kept or kept.total() + wanted.size <= self.size:
            return False
        greedy, most = kept.most_common(1)[0]
        if greedy == wanted.caller or most <= own + wanted.size:
            return False
        victim = max((hold for hold in staying if hold.caller == greedy), key=lambda hold: hold.size)
        victim.cutting = True
        victim.cut()
        return True
