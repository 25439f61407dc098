"""From what was earned to the credits list of a report: what was carried over, stakes, 10,000 places, the epoch's cap.

Pure integers. Verified work is never lost for want of room: what a stake does not cover yet, and what finds no place on
the list, is carried over to the next report. Only the cap of the epoch cuts off.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from commonweight.protocol.creditslist import MAX_ENTRIES

__all__ = ["Listing", "make_list", "share_cap"]


@dataclass(frozen=True)
class Listing:
    """A credits list and what waits for the next one, which begins at index `start`. Maps ascend, without zeros.

    `over_stake` is the part of `carried` that waits because the stake does not cover it.
    """

    credited: Mapping[int, int]
    carried: Mapping[int, int]
    over_stake: Mapping[int, int]
    start: int


def make_list(
    earned: Mapping[int, int], carried: Mapping[int, int], start: int, limit: Callable[[int], int | None], cap: int
) -> Listing:
    """The list of a report, out of credits `earned` in its rounds and those `carried` in.

    `limit` is how many credits a stake covers. Places go to indices in ascending order from `start` on and then from 0,
    so that every index has its turn; whoever finds none waits, and the next list begins with the first of them.
    """
    amounts = {i: earned.get(i, 0) + carried.get(i, 0) for i in sorted({*earned, *carried})}
    kept: dict[int, int] = {}
    waiting: dict[int, int] = {}
    over: dict[int, int] = {}
    following: int | None = None
    for index in sorted((i for i, amount in amounts.items() if amount > 0), key=lambda i: (i < start, i)):
        room = limit(index)
        amount = amounts[index] if room is None else min(amounts[index], room)
        rest = amounts[index] - amount
        if amount and len(kept) == MAX_ENTRIES:
            following = index if following is None else following
            waiting[index] = amounts[index]
            continue
        if amount:
            kept[index] = amount
        if rest:
            waiting[index] = over[index] = rest
    credited = share_cap(dict(sorted(kept.items())), cap)
    return Listing(credited, dict(sorted(waiting.items())), dict(sorted(over.items())), following or 0)


def share_cap(amounts: Mapping[int, int], cap: int) -> dict[int, int]:
    """What the epoch's cap leaves of the listed amounts.

    If their sum exceeds it, each gets amount * cap // sum, and the remainder goes one by one to those rounded down, by
    ascending index; what the cap cuts off is gone.
    """
    total = sum(amounts.values())
    if total <= cap:
        return dict(amounts)
    shared = {index: amount * cap // total for index, amount in amounts.items()}
    rest = cap - sum(shared.values())
    for index, amount in sorted(amounts.items()):
        if rest and amount * cap % total:
            shared[index] += 1
            rest -= 1
    return {index: amount for index, amount in shared.items() if amount}
