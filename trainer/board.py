"""Curves for TensorBoard, of one member, out of its status lines; the extra `tensorboard` writes the files.

The step axis counts thousandths of a round, since members and rounds differ in their inner steps: step 1000 r is the
end of round r. After a restart a new file goes on where the one before stopped.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from commonweight.errors import UsageError
from commonweight.protocol.canonical import Json
from trainer.earnings import Earned
from trainer.history import History

_FLUSH_S = 15
_ROUND = 1000


class Board:
    """Writes into a folder. `hear` takes a status line, `earned` the credits. Raises UsageError when it cannot."""

    def __init__(self, folder: Path) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise UsageError(
                "There is nothing here that writes for TensorBoard", "tensorboardX is not installed",
                "install the extra: pip install 'commonweight[tensorboard]'",
            ) from None  # fmt: skip
        try:
            # the library names its file by the second, and one of the same name is overwritten
            self._writer = SummaryWriter(str(folder), flush_secs=_FLUSH_S, filename_suffix=f".{time.time_ns()}")
        except OSError as problem:
            raise UsageError(
                f"Nothing can be written into {folder}", str(problem), "name another folder by --tensorboard"
            ) from None
        self._history = History(keep=2)
        self._round = 0

    def hear(self, line: Mapping[str, Json]) -> None:
        """Take in a status line."""
        self._history.take(line)
        number, steps = _integer(line, "round"), _integer(line, "steps")
        self._round = max(self._round, number)
        if line["phase"] == "train" and steps:
            at = (number - 1) * _ROUND + _ROUND * _integer(line, "step") // steps
            if isinstance(loss := line.get("loss_micro"), int):
                self._add("train/loss_nats", loss / 1e6, at)
            if isinstance(speed := line.get("tokens_per_s"), int):
                self._add("train/tokens_per_second", speed, at)
        known = self._history.rounds.get(number)
        if "counted" in line and known is not None:
            at = number * _ROUND
            self._add("round/counted", 1 if line["counted"] is True else 0, at)
            self._add("round/tokens", known.tokens, at)
            self._add("round/sent_bytes", known.bytes_sent, at)
            self._add("round/received_bytes", known.bytes_received, at)
            self._add("round/seconds", (known.ended_ms - known.began_ms) / 1000, at)

    def earned(self, earned: Earned) -> None:
        """Take in what the chain says."""
        self._add("credits/final", earned.final, self._round * _ROUND)
        self._add("credits/pending", earned.pending, self._round * _ROUND)

    def close(self) -> None:
        """Write what is still in memory."""
        self._writer.close()

    def _add(self, name: str, value: float, step: int) -> None:
        self._writer.add_scalar(name, value, step, time.time())


def _integer(line: Mapping[str, Json], name: str) -> int:
    value = line.get(name)
    return value if isinstance(value, int) else 0
