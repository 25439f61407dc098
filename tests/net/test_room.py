"""Room for bodies: never more than there is, and whoever needs no more than an equal share gets it."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commonweight.net.room import Hold, Room

pytestmark = pytest.mark.unit
SIZE, CALLERS = 120, 4


def nothing() -> None:
    pass


async def soon() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


Wish = tuple[int, int, bool]
WISHES = st.lists(st.tuples(st.integers(0, CALLERS - 1), st.integers(1, 2 * SIZE), st.booleans()), max_size=24)


@given(WISHES)
def test_there_is_never_more_than_there_is_and_an_equal_share_is_for_everybody(wishes: list[Wish]) -> None:
    async def play() -> None:
        room, asked = Room(SIZE), list[tuple[Hold, asyncio.Task[None]]]()

        def ask(caller: int, size: int) -> tuple[Hold, asyncio.Task[None]]:
            hold = Hold(str(caller), size, nothing)
            hold.cut = lambda: asyncio.get_running_loop().call_soon(room.give_back, hold) and None
            task = asyncio.create_task(room.take(hold))
            asked.append((hold, task))
            return hold, task

        def had(caller: str) -> int:
            return sum(hold.size for hold in room._holds if hold.caller == caller)

        for caller, size, done in wishes:
            hold, task = ask(caller, size)
            await soon()
            assert room.held <= SIZE or len(room._holds) == 1
            if done and task.done():
                room.give_back(hold)
        for caller in map(str, range(CALLERS)):
            share = SIZE // CALLERS - had(caller)
            waits = any(hold.caller == caller and not task.done() for hold, task in asked)
            if share > 0 and not waits:
                _, task = ask(int(caller), share)
                await soon()
                assert task.done(), "whatever the others hold or wait for"
        for _, task in asked:
            task.cancel()
        await asyncio.gather(*(task for _, task in asked), return_exceptions=True)

    asyncio.run(play())


async def test_who_asks_for_little_waits_behind_nobody_and_who_is_greedy_is_cut_off_once() -> None:
    room, cut = Room(10), list[str]()

    def hold(caller: str, size: int) -> Hold:
        return Hold(caller, size, lambda: cut.append(caller))

    small, greedy = hold("a", 3), hold("b", 6)
    await room.take(small)
    await room.take(greedy)
    large = asyncio.create_task(room.take(hold("c", 9)))
    await soon()
    assert not large.done()
    assert cut == [], "it asks for more than anybody has"
    await room.take(hold("d", 1))
    wanted = asyncio.create_task(room.take(hold("e", 4)))
    await soon()
    assert cut == ["b"]
    more = asyncio.create_task(room.take(hold("f", 5)))
    await soon()
    assert cut == ["b"], "what comes back of the first is not asked for twice"
    room.give_back(greedy)
    await wanted
    for task in (large, more):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    room.give_back(greedy)
    assert room.held == 8


async def test_one_that_is_too_large_is_served_when_nobody_else_is() -> None:
    room, first, large = Room(10), Hold("a", 1, nothing), Hold("b", 100, nothing)
    await room.take(first)
    waiting = asyncio.create_task(room.take(large))
    await soon()
    assert not waiting.done()
    room.give_back(first)
    await waiting
    assert room.held == 100
