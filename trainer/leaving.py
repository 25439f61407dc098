"""Leaving: a member that goes shows the states of what it did last until the draws about it are over.

Signers draw segments of a round once a final block follows its anchor window, and ask for their states then. Of a
member that is not there any more they find nothing, and what it did in the epoch is refused.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from commonweight.errors import CommonweightError
from trainer.journal import RoundFolder

if TYPE_CHECKING:
    from trainer.member import Member

_log = logging.getLogger("commonweight.trainer")
_POLL_S = 1.0
_MARGIN_S = 5.0
"""Beyond what a signer waits for a state: how long a request may take to come, or the next one after it."""
_PATIENCE_S = 60.0
"""For a chain that does not answer: whether anything is still drawn cannot be known."""


async def until_drawn(member: Member) -> None:
    """Serve until no signer can be expected to ask for a state any more: the seed of the last round's draws is final,
    and for as long as a signer waits none has asked; or a final report has come to that round.
    """
    folder = await asyncio.to_thread(_last_anchored, member)
    if folder is None or member.config.private:
        return
    plan, loop = folder.body, asyncio.get_running_loop()
    quiet_s = member.config.verification.state_wait_ms / 1000 + _MARGIN_S
    _log.warning(
        "round %d: its draws are waited for, %.0f s or more; whoever goes before them earns nothing for this epoch",
        plan.round, max(0.0, plan.anchor_by_ms / 1000 - member.clock()) + quiet_s,
    )  # fmt: skip
    member.status.say("show", plan.round)
    heard_s, drawn_s = loop.time(), float("inf")
    while loop.time() < heard_s + _PATIENCE_S:
        try:
            attested = await asyncio.to_thread(member.chain.attested)
            if attested is not None and attested[0] >= plan.round:
                return
            if drawn_s == float("inf") and await asyncio.to_thread(member.chain.final_s) * 1000 > plan.anchor_by_ms:
                drawn_s = loop.time()
            heard_s = loop.time()
        except CommonweightError as problem:
            _log.info("whether round %d is drawn cannot be seen: %s", plan.round, problem)
        if loop.time() > max(drawn_s, member.server.state_asked_s) + quiet_s:
            return
        await asyncio.sleep(_POLL_S)


def _last_anchored(member: Member) -> RoundFolder | None:
    """The newest round of which a commitment of this member was seen anchored."""
    return max((f for f in member.journal.rounds() if f.released), key=lambda f: f.body.round, default=None)
