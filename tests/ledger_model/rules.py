"""How the model refuses: it gathers every rule that a call breaks, and the chain must name one of them.

The order in which a contract checks is its own affair, so a call that breaks two rules may be refused by either name;
one that breaks a single rule must be refused by exactly that name with exactly those figures.
"""

from __future__ import annotations

from dataclasses import dataclass

SCALE = 2**64
BPS = 10_000
ZERO = "0x" + "00" * 20
ZERO_HASH = bytes(32)


@dataclass(frozen=True)
class Broken:
    """One broken rule: the custom error and its arguments; None for arguments that no rule fixes."""

    error: str
    args: tuple[object, ...] | None = ()


class Refused(Exception):
    """The call breaks these rules and changes nothing."""

    def __init__(self, broken: list[Broken]) -> None:
        super().__init__(", ".join(f"{b.error}{'' if b.args is None else b.args}" for b in broken))
        self.broken = broken


class Rules:
    """Gathers broken rules; `hold()` refuses if there are any."""

    def __init__(self) -> None:
        self.broken: list[Broken] = []

    def need(self, holds: bool, error: str, *args: object) -> bool:
        """Note the error unless the rule holds. Returns whether it does."""
        if not holds:
            self.broken.append(Broken(error, args))
        return holds

    def hold(self) -> None:
        """Refuse if any rule is broken."""
        if self.broken:
            raise Refused(self.broken)


def refuse(error: str, *args: object) -> Refused:
    """A refusal by one rule."""
    return Refused([Broken(error, args)])


def need(holds: bool, error: str, *args: object) -> None:
    """Refuse at once unless the rule holds: what follows would mean nothing."""
    if not holds:
        raise refuse(error, *args)
