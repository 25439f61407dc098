"""Serving newer checkpoints while a server runs: each is loaded beside the one that is served and takes its place
between two requests. Whatever goes wrong with it, the old one goes on being served.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

import structlog

from commonweight.errors import DeviceLost
from commonweight.exact.arrays import F32
from commonweight.protocol.fields import hex32
from inference.api import Metrics
from inference.checkpoint import Attested
from inference.serving import ServedModel, Serving

T = TypeVar("T")
_LONGEST_PAUSE_S = 3600.0
_log = structlog.get_logger("server")


class Newer(Protocol):
    """Where newer checkpoints come from. Whatever a method raises keeps the old one in its place."""

    def find(self, than: Attested) -> Attested | None:
        """A newer checkpoint that is final, if there is one."""

    def require_room(self) -> None:
        """Look whether there is room for two."""

    def fetch(self, attested: Attested) -> F32:
        """Its weights, verified."""

    def build(self, attested: Attested, weights: F32) -> ServedModel:
        """What answers from them."""


class Follower:
    """Looks for newer checkpoints every `every_s` and has `serving` serve them; `tell` is called with each. One that
    cannot be served is named in the log once, and tried again after twice the time, and twice that.
    """

    def __init__(
        self,
        newer: Newer,
        serving: Serving,
        metrics: Metrics,
        tell: Callable[[Attested], None],
        every_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._newer = newer
        self._serving = serving
        self._metrics = metrics
        self._tell = tell
        self._every_s = every_s
        self._clock = clock
        self._trouble = ""
        self._failed = b""
        self._pause_s = every_s
        self._again_at = 0.0

    async def follow(self) -> None:
        """Go on until cancelled. What is being fetched then is left alone: the process's end does not wait for it."""
        while True:
            await asyncio.sleep(self._every_s)
            await self.look()

    async def look(self) -> None:
        """Look once, and serve what is newer."""
        try:
            found = await _aside(lambda: self._newer.find(self._serving.model.checkpoint))
        except Exception as error:  # noqa: BLE001 - whatever a node answers, what is served is served
            if self._trouble != (trouble := str(error) or repr(error)):
                _log.warning("newer checkpoints cannot be looked for; the old one is served", why=trouble)
            self._trouble = trouble
            return
        self._trouble = ""
        if found is None:
            return
        self._metrics.attested_epoch.set(found.epoch)
        if found.manifest_sha256 == self._failed and self._clock() < self._again_at:
            return
        try:
            await asyncio.to_thread(self._newer.require_room)
            weights = await _aside(lambda: self._newer.fetch(found))
            self._serving.model = await asyncio.to_thread(self._newer.build, found, weights)
        except DeviceLost as lost:
            self._serving.lose(lost)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the new one, the old one is served
            self._give_up(found, error)
        else:
            self._metrics.checkpoints.labels("served").inc()
            _log.info("a newer checkpoint is served", checkpoint=hex32(found.manifest_sha256), epoch=found.epoch)
            await asyncio.to_thread(self._tell, found)

    def _give_up(self, found: Attested, error: Exception) -> None:
        self._metrics.checkpoints.labels("failed").inc()
        if found.manifest_sha256 == self._failed:
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        else:
            self._failed, self._pause_s = found.manifest_sha256, self._every_s
            _log.warning(
                "a newer checkpoint cannot be served and will be tried again; the old one is served until then",
                checkpoint=hex32(found.manifest_sha256), epoch=found.epoch, why=str(error) or repr(error),
            )  # fmt: skip
        self._again_at = self._clock() + self._pause_s


async def _aside(work: Callable[[], T]) -> T:
    """What `work` returns or raises, in a thread that the process's end does not wait for."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def end(result: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # nobody is there any more
            loop.call_soon_threadsafe(lambda: None if done.done() else result())

    def run() -> None:
        try:
            value = work()
        except Exception as error:  # noqa: BLE001 - whoever waits gets it
            failure = error
            end(lambda: done.set_exception(failure))
        else:
            end(lambda: done.set_result(value))

    threading.Thread(target=run, name="newer checkpoint", daemon=True).start()
    return await done
