"""How a member's process is asked to end, and how its waiting hears of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import TypeVar

from commonweight.errors import CommonweightError

T = TypeVar("T")


@dataclass
class Stop:
    """How the process is asked to end: `soon` after this round, `now` at once; `why` when it is by an error.

    Read by the training thread too.
    """

    soon: asyncio.Event = field(default_factory=asyncio.Event)
    now: threading.Event = field(default_factory=threading.Event)
    why: CommonweightError | None = None


async def until_asked(work: Coroutine[None, None, T], stop: Stop, patience_s: float = 0.0) -> T | None:
    """The result of `work`; None, and `work` is given up, when the process is asked to end first.

    Even then `work` has `patience_s` from now on.
    """
    loop = asyncio.get_running_loop()
    until_s = loop.time() + patience_s
    working, asked = asyncio.create_task(work), asyncio.create_task(stop.soon.wait())
    try:
        await asyncio.wait({working, asked}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            await asyncio.wait({working}, timeout=max(0.0, until_s - loop.time()))
        return working.result() if working.done() else None
    finally:
        working.cancel()
        asked.cancel()
        await asyncio.gather(working, asked, return_exceptions=True)
