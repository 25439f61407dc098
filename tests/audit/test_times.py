"""The first block after a time is found, however unevenly blocks come, and in a few reads where they come evenly."""

from __future__ import annotations

from itertools import accumulate
from random import Random
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commonweight.audit.times import BlockTimes
from commonweight.chain.client import Chain
from commonweight.chain.types import Block

pytestmark = pytest.mark.unit


class Clock:
    """A chain that has nothing but times, and counts what is read."""

    def __init__(self, times: list[int]) -> None:
        self.blocks = [Block(number, bytes([number % 256]) * 32, b"", time, 0, 0) for number, time in enumerate(times)]
        self.read: list[int] = []

    def block(self, number: int) -> Block:
        self.read.append(number)
        return self.blocks[number]

    def search(self, first: int, last: int) -> BlockTimes:
        return BlockTimes(cast(Chain, self), first, self.blocks[last])

    def first_after(self, time: int, last: int) -> Block | None:
        return next((block for block in self.blocks[: last + 1] if block.timestamp > time), None)


@given(
    st.lists(st.sampled_from([0, 0, 1, 1, 2, 12, 12, 12, 5000]), min_size=1, max_size=60),
    st.lists(st.integers(-3, 40_000), max_size=30),
    st.data(),
)
def test_whatever_is_asked_in_whatever_order_it_is_the_first_block_after_it(
    gaps: list[int], asked: list[int], data: st.DataObject
) -> None:
    clock = Clock(list(accumulate(gaps)))
    last = data.draw(st.integers(0, len(gaps) - 1))
    times = clock.search(data.draw(st.integers(0, len(gaps))), last)
    exact = [block.timestamp + more for block in clock.blocks for more in (-1, 0)]
    for time in (*asked, *exact):
        assert times.first_after(time) == clock.first_after(time, last)
    assert len(clock.read) == len(set(clock.read)), "no block is read twice"


@pytest.mark.parametrize(("missed", "most"), [(0.0, 2.0), (0.01, 3.0), (0.2, 4.0)])
def test_a_round_costs_a_few_reads(missed: float, most: float) -> None:
    random = Random(1)
    gaps = (12 + 12 * (random.random() < missed) for _ in range(100_000))
    clock = Clock(list(accumulate(gaps, initial=1_600_000_000)))
    times, rounds = clock.search(1000, 100_000), range(clock.blocks[1000].timestamp, clock.blocks[-1].timestamp, 1207)
    for time in rounds:
        found = times.first_after(time)
        assert found is not None
        assert clock.blocks[found.number - 1].timestamp <= time < found.timestamp
    assert len(clock.read) <= most * len(rounds)


def test_times_that_jump_cost_no_more_than_halving_does() -> None:
    clock = Clock([*range(1000), *range(10**9, 10**9 + 1000), 10**15])
    times = clock.search(0, 2000)
    assert times.first_after(998) == clock.blocks[999]
    assert len(clock.read) <= 3 * 11 + 1
