"""What the importers pass on: written entries, and where blocks go."""

from collections.abc import Callable
from dataclasses import dataclass

from commonweight.store.cid import Block, Cid

Emit = Callable[[Block], None]


@dataclass(frozen=True)
class Entry:
    """What was written: CID, file bytes (0 for a directory), and cumulative size with all blocks under it."""

    cid: Cid
    size: int
    tsize: int
