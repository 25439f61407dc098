"""How a member's process is asked to end or to rest, and how its waiting hears of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import TypeVar

from commonweight.errors import Dismissed

T = TypeVar("T")


@dataclass
class Stop:
    """How the process is asked to end: `soon` after this round, `now` at once; `why` when the registry asks, `over` in
    words when training is over.

    `resting` is set while a pause holds, `awake` when it has ended; `speaking` is held by who tells the signers that
    this member is there or not, so that the last word is the true one. Read by the training thread too.
    """

    soon: asyncio.Event = field(default_factory=asyncio.Event)
    resting: asyncio.Event = field(default_factory=asyncio.Event)
    awake: asyncio.Event = field(default_factory=asyncio.Event)
    speaking: asyncio.Lock = field(default_factory=asyncio.Lock)
    now: threading.Event = field(default_factory=threading.Event)
    why: Dismissed | None = None
    over: str = ""

    @property
    def leaving(self) -> bool:
        """Whether no new work is to be begun."""
        return self.soon.is_set() or self.resting.is_set()

    def rest(self, paused: bool) -> None:
        """Begin or end a pause."""
        begin, end = (self.resting, self.awake) if paused else (self.awake, self.resting)
        begin.set()
        end.clear()


async def until_asked(
    work: Coroutine[None, None, T], stop: Stop, patience_s: float = 0.0, *, or_to_rest: bool = False
) -> T | None:
    """The result of `work`; None, and `work` is given up, when the process is asked to end first.

    Even then `work` has `patience_s` from now on. With `or_to_rest` a pause gives it up too.
    """
    loop = asyncio.get_running_loop()
    until_s = loop.time() + patience_s
    working, asked = asyncio.create_task(work), {asyncio.create_task(stop.soon.wait())}
    if or_to_rest:
        asked.add(asyncio.create_task(stop.resting.wait()))
    try:
        await asyncio.wait({working, *asked}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            await asyncio.wait({working}, timeout=max(0.0, until_s - loop.time()))
        return working.result() if working.done() else None
    finally:
        for task in (working, *asked):
            task.cancel()
        await asyncio.gather(working, *asked, return_exceptions=True)
