"""Handshakes in turn: all who come at once get a place, and nobody who floods keeps others from one."""

import asyncio

import pytest

from commonweight.net.door import Door, Guest
from tests.crowd.clock import VirtualLoop, simulate

pytestmark = pytest.mark.unit
PATIENCE_S = 4.0


class Visit:
    """A connection: when it got a place, and whether it was cut off."""

    def __init__(self, door: Door, origin: str, lasts_s: float, *, proven: bool = False) -> None:
        self.let_in_s: float | None = None
        self.cut = False
        self._door = door
        self._task = asyncio.ensure_future(self._stay(lasts_s, proven))
        self.guest = Guest(origin, self._cut)

    def _cut(self) -> None:
        self.cut = True
        self._task.cancel()

    async def _stay(self, lasts_s: float, proven: bool) -> None:
        try:
            await self._door.enter(self.guest)
            self.let_in_s = asyncio.get_running_loop().time()
            self.guest.proven = proven
            await asyncio.sleep(lasts_s)
        finally:
            self._door.leave(self.guest)


def test_all_who_come_at_once_get_their_turn() -> None:
    async def work(loop: VirtualLoop) -> None:
        door = Door(8, 200, PATIENCE_S)
        visits = [Visit(door, "one", 1.0) for _ in range(100)]
        await asyncio.sleep(20)
        assert not any(visit.cut for visit in visits)
        assert all(visit.let_in_s is not None for visit in visits)

    simulate(work)


def test_who_comes_late_waits_for_no_more_than_the_patience_with_others() -> None:
    async def work(loop: VirtualLoop) -> None:
        door = Door(8, 50, PATIENCE_S)
        flood = [Visit(door, "flood", 100.0) for _ in range(500)]
        await asyncio.sleep(0.1)
        began = loop.time()
        same, other = Visit(door, "flood", 1.0), Visit(door, "other", 1.0)
        await asyncio.sleep(PATIENCE_S + 2)
        for visit in (same, other):
            assert visit.let_in_s is not None
            assert visit.let_in_s - began <= PATIENCE_S
            assert not visit.cut
        assert sum(visit.cut for visit in flood) >= 442, "those for whom there is no room to wait, and two"

    simulate(work)


def test_a_flood_takes_nobody_elses_place() -> None:
    async def work(loop: VirtualLoop) -> None:
        door = Door(4, 50, PATIENCE_S)
        slow = Visit(door, "other", 30.0)
        await asyncio.sleep(0.1)
        flood = [Visit(door, "flood", 100.0) for _ in range(500)]
        await asyncio.sleep(40)
        assert not slow.cut
        assert flood[0].cut
        assert sum(not visit.cut for visit in flood) <= 54

    simulate(work)


def test_who_waits_for_us_keeps_its_place() -> None:
    async def work(loop: VirtualLoop) -> None:
        door = Door(2, 50, PATIENCE_S)
        proven = Visit(door, "one", 10.0, proven=True)
        await asyncio.sleep(0.1)
        others = [Visit(door, "one", 100.0) for _ in range(3)]
        await asyncio.sleep(15)
        assert not proven.cut
        assert any(visit.cut for visit in others)

    simulate(work)
