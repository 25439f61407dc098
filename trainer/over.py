"""Whether training is over for a member: then it goes as if it had been asked to, and its process ends.

The chain's state says it by itself. Before that the coordinator does, in its answer to `join`; as a lie of it must not
end anybody's work, the chain has to say what goes with it: the last epoch's time is up, or a round of the last number
that run.json allows has its record there.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainer.member import Member

_LOOKED_BACK = 8
"""Rounds that were given up before the last one had no record; so many are looked past."""


async def training_over(member: Member) -> str:
    """Why this member will train no more, in words; "" while it may. Raises ChainError."""
    ended = await asyncio.to_thread(member.chain.ended)
    if ended:
        return ended
    me = await asyncio.to_thread(member.chain.provider, member.index)
    if me is not None and me.exited:
        return f"provider {member.index} has left the run"
    last = member.signers.last_round
    if last is None or not await asyncio.to_thread(_borne_out, member, last):
        return ""
    return f"training is over after round {last}; `commonweight provider claim` pays when the epoch is final"


def _borne_out(member: Member, last: int) -> bool:
    """Whether the chain agrees that no round can follow this one. Blocks."""
    if member.chain.time_s() >= member.chain.training_end_s():
        return True
    most = member.config.training.max_rounds
    if most is None or last < most:
        return False
    return any(member.chain.record_named(number) for number in range(last, max(most, last - _LOOKED_BACK) - 1, -1))
