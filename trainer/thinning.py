"""Which states of a trace stay on disk, for a member that does not keep them all; trainer.recall gives the others.

A state of P parameters takes 12 P bytes, and signers may ask for any of an epoch's. The first state of a round and the
newest always stay, so a crash loses no more steps than when all are kept, and the next round begins from what is here.
"""

from __future__ import annotations

import logging

from commonweight.exact.trace import TraceBuilder
from commonweight.protocol.runconfig import RunConfig
from trainer.journal import Journal

_log = logging.getLogger("commonweight.trainer")
_NONE = 2**31
_SHARE_OF_WAIT = 4
"""A state that is computed again may take this part of the time that a signer waits: training goes on beside it."""


class Thinning:
    """Decides, state by state, which ones of a trace stay: the first, every n-th, and the newest."""

    def __init__(self, journal: Journal, every: int) -> None:
        self._journal = journal
        self._every = every

    def added(self, trace: TraceBuilder) -> None:
        """Drop the state before the newest one of a trace, unless it is one that stays."""
        before = len(trace.states) - 2
        if before > 0 and before % self._every:
            self._journal.drop_state(trace, before)


def affordable(config: RunConfig, step_s: float) -> int:
    """The greatest n for which a state is computed again well within the time that a signer waits, if every n-th stays.

    `step_s` are the seconds of an inner step here. On private shards no signer ever asks: none needs to stay.
    """
    if config.private:
        return _NONE
    segment_s = max(step_s, 1e-9) * config.training.trace_every
    return 1 + int(config.verification.state_wait_ms / 1000 / _SHARE_OF_WAIT / segment_s)


def kept_every(config: RunConfig, step_s: float, wanted: int) -> int:
    """Which trace states stay where the owner wants every `wanted`-th: more, if signers would wait too long; none that
    no signer will ask for.
    """
    allowed = affordable(config, step_s)
    if config.private:
        return allowed
    if allowed < wanted:
        _log.warning("states: every %d. is kept, not every %d.: signers would wait too long", allowed, wanted)
    return min(wanted, allowed)
