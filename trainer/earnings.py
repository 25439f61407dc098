"""A member's credits as the chain tells them, read rarely and beside the rounds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from commonweight.chain.ledger_view import LedgerView
from commonweight.chain.run import Run
from commonweight.errors import CommonweightError
from trainer.settings import ProviderSettings

_log = logging.getLogger("commonweight.trainer")
_EVERY_S = 60.0


@dataclass(frozen=True)
class Earned:
    """Credits in final epochs, and in the report that is open to challenge."""

    final: int
    pending: int


def credits_in(view: LedgerView, index: int) -> Earned:
    """What a ledger says of a provider."""
    leaf, pending = view.leaf(index), view.pending()
    listed = pending.credits if pending is not None and pending.credits else {}
    return Earned(0 if leaf is None else leaf.C, listed.get(index, 0))


async def follow_credits(
    settings: ProviderSettings, index: int, tell: Callable[[Earned], None], every_s: float = _EVERY_S
) -> None:
    """Read the ledger once a minute, each time only its new blocks, with a connection and a thread of its own."""
    view: LedgerView | None = None

    def look(known: LedgerView | None) -> tuple[LedgerView, Earned]:
        if known is None:
            known = LedgerView(Run.at(settings.connect(), settings.campaign))
        known.advance()
        return known, credits_in(known, index)

    while True:
        try:
            view, earned = await asyncio.to_thread(look, view)
            tell(earned)
        except CommonweightError as problem:
            _log.info("the credits cannot be read now: %s", problem)
        await asyncio.sleep(every_s)
