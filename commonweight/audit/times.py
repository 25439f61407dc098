"""The first block after a time, for one time after another: the blocks that draw the checks of rounds.

Each search begins between the blocks that are known already and goes where the time would be if blocks came evenly,
which they nearly do: a few reads for each, instead of one for each halving of the chain.
"""

from bisect import bisect, insort

from commonweight.chain.client import Chain
from commonweight.chain.types import Block

_HALVED = 3  # every so many reads the distance is halved, however unevenly blocks come


class BlockTimes:
    """The blocks of a chain up to `last` by their times, which never fall from one to the next.

    Most times that are asked for are those of block `first` or later.
    """

    def __init__(self, chain: Chain, first: int, last: Block) -> None:
        self._chain = chain
        self._first = min(first, last.number)
        self._known = [last]  # ascending

    def first_after(self, timestamp_s: int) -> Block | None:
        """The first block with a time greater than `timestamp_s`, None if the last one's is not. Raises ChainError."""
        place = bisect(self._known, timestamp_s, key=_time)
        for number in (self._first, 0):
            if place == 0 and number < self._known[0].number:
                place = bisect([self._read(number)], timestamp_s, key=_time)
        if place == 0:
            return self._known[0]  # of all blocks the first
        if place == len(self._known):
            return None
        return self._between(self._known[place - 1], self._known[place], timestamp_s)

    def _between(self, below: Block, found: Block, timestamp_s: int) -> Block:
        """The first block after a time, given one that is not and one that is."""
        reads = 0
        while (span := found.number - below.number) > 1:
            reads += 1
            ahead = span // 2
            if reads % _HALVED:
                ahead = (timestamp_s - below.timestamp) * span // (found.timestamp - below.timestamp)
            middle = self._read(below.number + min(max(ahead, 1), span - 1))
            below, found = (below, middle) if middle.timestamp > timestamp_s else (middle, found)
        return found

    def _read(self, number: int) -> Block:
        block = self._chain.block(number)
        insort(self._known, block, key=_number)
        return block


def _time(block: Block) -> int:
    return block.timestamp


def _number(block: Block) -> int:
    return block.number
