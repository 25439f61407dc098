"""What happens to members: kills, freezes, partitions, slow links and leaving, at random moments of every round.

It also keeps the books: when each member was well, so that a test can say what it was owed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field

from tests.crowd.crowd import Crowd, One

FAULTS = ("kill", "freeze", "partition", "island", "slow-link", "leave")
_NOTICED_S = 4.0  # a heartbeat and the way


@dataclass
class Health:
    """Since when a member is well (None: it is not), and for how long it has been well before."""

    since: float | None = 0.0
    spans: list[tuple[float, float]] = field(default_factory=list)


class Weather:
    """Faults for a share of the members in every round. Cheats are left alone: they have faults of their own."""

    def __init__(self, crowd: Crowd, share: float, longest_s: float = 12.0) -> None:
        self.crowd, self.share, self.longest_s = crowd, share, longest_s
        self.random = crowd.random
        self.health = {one.index: Health() for one in crowd.members}
        self.happened: Counter[str] = Counter()
        self._running: set[asyncio.Task[None]] = set()

    async def blow(self, rounds: int) -> None:
        """Round after round: some members have an accident, within the time that the plan gives."""
        for number in range(1, rounds + 1):
            plan = await self.crowd.until(f"plan {number}", lambda n=number: self.crowd.plan(n), 300)
            left_s = plan.body.record_by_ms / 1000 - self.crowd.loop.unix()
            for one in self.crowd.members:
                if one.honest and self.random.random() < self.share and self.health[one.index].since is not None:
                    self._start(one, self.random.uniform(0.0, max(0.1, left_s)))
            await self.crowd.recorded(number)

    def _start(self, one: One, after_s: float) -> None:
        fault, lasts_s = self.random.choice(FAULTS), self.random.uniform(0.5, self.longest_s)
        task = asyncio.ensure_future(self.strike(one, fault, after_s, lasts_s))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def strike(self, one: One, fault: str, after_s: float, lasts: float | Awaitable[object]) -> None:
        """One fault of one member, and its end: after some seconds, or when something has come to pass."""
        crowd, health = self.crowd, self.health[one.index]
        await asyncio.sleep(after_s)
        if health.since is None or one.process is None or one.stop is None:
            return
        health.spans.append((health.since, crowd.loop.time()))
        health.since = None
        self.happened[fault] += 1
        others = [party for party in crowd.links.parties if party != one.name]
        match fault:
            case "kill":
                crowd.kill(one)
                await _pass(lasts)
                crowd.begin(one)
            case "freeze":
                one.process.freeze()
                await _pass(lasts)
                one.process.thaw()
            case "partition" | "island":
                cut_off = others if fault == "partition" else [name for name in others if name.startswith("member")]
                crowd.links.cut(one.name, *cut_off)
                await _pass(lasts)
                crowd.links.mend(one.name)
            case "slow-link":
                latency_s, bytes_per_s = one.line.latency_s, one.line.bytes_per_s
                one.line.change(crowd.loop.time(), 0.6, 20_000.0)
                await _pass(lasts)
                one.line.change(crowd.loop.time(), latency_s, bytes_per_s)
            case "leave":
                one.ended = None
                one.stop.soon.set()
                await crowd.until(f"{one.name} leaves", lambda: one.ended)
                await _pass(lasts)
                crowd.begin(one)
        health.since = crowd.loop.time()

    def well(self, index: int, start: float, stop: float) -> bool:
        """Whether a member was well from a heartbeat before `start` until `stop`."""
        health = self.health[index]
        spans = [*health.spans, *([] if health.since is None else [(health.since, float("inf"))])]
        return any((a == 0.0 or a + _NOTICED_S <= start) and stop <= b for a, b in spans)


async def _pass(lasts: float | Awaitable[object]) -> None:
    if isinstance(lasts, float):
        await asyncio.sleep(lasts)
    else:
        await lasts
