"""What one process may spend, whatever else the purse is used for meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from commonweight.errors import BudgetReached
from inference.purse import Book
from inference.receipts import Served


@dataclass
class Budget:
    """At most `limit` units, None for as much as channels hold; `shown` is how messages show an amount.

    A request counts with all that it can cost until its receipt says what it did cost: also one whose answer broke off.
    Safe in several threads.
    """

    limit: int | None = None
    shown: Callable[[int], str] = str
    spent: int = 0
    _open: dict[tuple[bytes, int], int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def pending(self) -> int:
        """What the requests can cost whose receipts are not known."""
        with self._lock:
            return sum(self._open.values())

    def promise(self, book: Book, channel: bytes, request_sha256: str, maximum: int) -> int:
        """The ceiling that the book gives for a request. Raises BudgetReached, and promises nothing, if that is too
        much.
        """
        with self._lock:
            gone = self.spent + sum(self._open.values())
            if self.limit is not None and gone + maximum > self.limit:
                raise BudgetReached(
                    "The budget is reached",
                    f"this request can cost {self.shown(maximum)}, and {self.shown(self.limit - gone)} is left of "
                    f"{self.shown(self.limit)}",
                    "ask for fewer tokens, or start again with another --budget",
                )
            ceiling = book.promise(channel, request_sha256, maximum)
            self._open[channel, ceiling] = maximum
            return ceiling

    def release(self, channel: bytes, ceiling: int) -> None:
        """Count a promise that the server refused no more, unless a receipt for it comes all the same."""
        with self._lock:
            self._open[channel, ceiling] = 0

    def count(self, served: Served) -> None:
        """Count a receipt if it is for a promise of this process."""
        with self._lock:
            if self._open.pop((served.channel, served.ceiling), None) is not None:
                self.spent += served.amount
