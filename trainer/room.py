"""Room on the disk: what a round takes, which states may go for it, and what is said when there is none.

A member without room takes part in no round, as in a pause, and comes back by itself when there is some. Before that it
gives up trace states that it can compute again in good time (`trainer.recall`): the oldest rounds' first, never the
newest round's.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from commonweight import estimate
from commonweight.protocol.runconfig import RunConfig
from commonweight.quantities import show_size
from trainer.journal import Journal
from trainer.thinning import affordable

FULL = (errno.ENOSPC, errno.EDQUOT)
"""The errors of a disk, or a share of one, on which there is no room."""
_CHECKPOINTS = 2
_SPARE_BYTES = 16 << 20  # status lines, documents, and what else grows beside a round


def round_bytes(config: RunConfig, keep_states: int = 1) -> int:
    """What a round leaves on a member's disk at most, with what else grows beside it; every `keep_states`-th trace
    state stays.
    """
    training, numel = config.training, config.model.parameters()
    arrays = estimate.round_bytes(numel, training.h, training.trace_every, training.codec, training.block, keep_states)
    return arrays + _SPARE_BYTES


def disk_bytes(config: RunConfig, rounds: int, keep_states: int = 1) -> int:
    """What a member's folder grows to over so many rounds, with the checkpoints that are kept."""
    kept = estimate.checkpoint_bytes(config.model.parameters())
    return _CHECKPOINTS * kept + rounds * (round_bytes(config, keep_states) - kept)


class Room:
    """Room for a member's rounds in its data directory; `cap` is the most bytes that its files may take there.

    `short` says why no round is begun, "" when there is room. `recalls` is whether states can be computed again here,
    and `step_s` gives the seconds of an inner step. Thread-safe.
    """

    def __init__(
        self, folder: Path, journal: Journal, config: RunConfig, *, keep_states: int = 1, cap: int | None = None,
        recalls: bool = True, step_s: Callable[[], float] = lambda: 0.0,
    ) -> None:  # fmt: skip
        self._folder = folder
        self._journal = journal
        self._config = config
        self.cap = cap
        self._recalls = recalls
        self._step_s = step_s
        self._needed = round_bytes(config, keep_states)
        self._lock = threading.Lock()
        self.short = ""

    def make(self) -> bool:
        """Whether there is room for a round now, after states were given up for it where that helps."""
        with self._lock:
            if self._lacking():
                self._give_up()
            self.short = self._lacking()
            return not self.short

    def _give_up(self) -> None:
        every = affordable(self._config, self._step_s()) if self._recalls else 1
        self._journal.thin(every, lambda: not self._lacking())

    def _lacking(self) -> str:
        """Why there is no room; "" when there is."""
        free = shutil.disk_usage(self._folder).free
        if free < self._needed:
            return f"a round takes {show_size(self._needed)}, and {show_size(free)} are free at {self._folder}"
        if self.cap is None:
            return ""
        used = sum(_sizes(self._folder))
        if used + self._needed <= self.cap:
            return ""
        return (
            f"a round takes {show_size(self._needed)}, and {show_size(used)} of the {show_size(self.cap)} of "
            f"--max-disk are taken in {self._folder}"
        )


def _sizes(folder: Path) -> Iterator[int]:
    """The bytes of all files below a folder; those that go meanwhile do not count."""
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                yield Path(place, name).lstat().st_size
            except FileNotFoundError:
                continue
