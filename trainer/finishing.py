"""How much of a round's time a member leaves for what comes after its last step: payload, signature, receipt."""

from __future__ import annotations

from dataclasses import dataclass

_LEAST_S = 0.5
_SHRINK = 4


@dataclass
class Finishing:
    """Twice what it took the last time. `skipped` counts the rounds in a row that there was no time for.

    A process that is frozen after its last step measures the time that it stood still. So that this does not keep it
    out for good, the margin shrinks from the second round on that it has cost.
    """

    margin_s: float = _LEAST_S
    skipped: int = 0

    def took(self, seconds: float) -> None:
        """From the last step to the signed commitment."""
        self.margin_s = max(_LEAST_S, 2 * seconds)

    def worth_beginning(self, left_s: float) -> bool:
        """Whether a round can be begun with so many seconds left to its deadline."""
        if left_s >= self.margin_s:
            self.skipped = 0
            return True
        self.skipped += 1
        if self.skipped > 1:
            self.margin_s = max(_LEAST_S, self.margin_s / _SHRINK)
        return False
