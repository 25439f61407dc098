"""The real command line of a signer that is not well: `python -m tests.oracle.afflicted NAME oracle start ...`.

`clock+N` and `clock-N` shift its clock by N seconds; `corrupt` finds every honest replay false and signs that; `slow`
sleeps before each step of its cycle.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import replace
from typing import Any


def clock(shift_s: float) -> None:
    honest = time.time
    time.time = lambda: honest() + shift_s
    from oracle.seat import Seat

    Seat.__dataclass_fields__["clock"].default = time.time
    Seat.__init__.__defaults__ = (*(Seat.__init__.__defaults__ or ())[:-1], time.time)


def corrupt() -> None:
    from oracle.replaying import Replaying

    honest = Replaying._verdict

    def false(self: Replaying, *arguments: Any) -> Any:
        verdict = honest(self, *arguments)
        return replace(verdict, outcome="fail", reason="a lie") if verdict.outcome == "pass" else verdict

    Replaying._verdict = false  # type: ignore[method-assign]


def slow(pause_s: float = 3.0) -> None:
    from oracle.service import Service

    honest = Service.watch

    async def late(self: Service) -> None:
        await asyncio.sleep(pause_s)
        await honest(self)

    Service.watch = late  # type: ignore[method-assign]


def afflict(name: str) -> None:
    """From now on this process has it."""
    if name.startswith("clock"):
        clock(float(name.removeprefix("clock")))
    else:
        {"corrupt": corrupt, "slow": slow}[name]()


if __name__ == "__main__":
    afflict(sys.argv.pop(1))
    from commonweight.cli.main import app

    app()
