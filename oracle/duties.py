"""What is due on chain: closing, settling and voiding epochs, by whoever's turn comes first. Pure.

Anyone may do these, and each is done once. The signers take turns: whose turn it is acts as soon as a thing is due, the
next waits `TURN_S` longer, and so on, so that a dead signer delays things and a race wastes no gas.
"""

from dataclasses import dataclass

from commonweight.chain.structs import EpochInfo, EpochState, RunParams

TURN_S = 4


@dataclass(frozen=True)
class Duty:
    """A transaction that is due: `name` is close, finalize or void."""

    name: str
    epoch: int

    @property
    def purpose(self) -> str:
        """What it is remembered by."""
        return f"{self.name}/{self.epoch}"


def due(
    params: RunParams, head_epoch: int, head: EpochInfo | None, now_s: int, position: int, signers: int
) -> Duty | None:
    """The one duty of the signer at `position` at block time `now_s`, or None.

    `head_epoch` is the last closed epoch (-1 for none) and `head` where it stands, at the latest block.
    """
    found = _next(params, head_epoch, head)
    if found is None or position < 0:
        return None
    duty, due_s = found
    turn = (position - duty.epoch) % max(1, signers)
    return duty if now_s >= due_s + turn * TURN_S else None


def _next(params: RunParams, head_epoch: int, head: EpochInfo | None) -> tuple[Duty, int] | None:
    """The next duty and the time from which it is due."""
    if head is not None and head.state == EpochState.REPORTED:
        return Duty("finalize", head_epoch), head.open_until
    if head is not None and head.state == EpochState.CLOSED:
        return Duty("void", head_epoch), head.closed_at + params.report_span
    following = head_epoch + 1
    if following > params.last_epoch + params.tail_epochs:
        return None
    return Duty("close", following), params.epoch_end(following)


def proposer(epoch: int, attempt: int, signers: int) -> int:
    """The position of the signer that builds the evidence and the report of an attempt."""
    return (epoch + attempt) % signers


def attempt_at(params: RunParams, info: EpochInfo, now_s: int) -> int | None:
    """The attempt that a report must carry at block time `now_s`; None when reports are no longer accepted."""
    age = now_s - info.closed_at
    return age // params.attempt_length if 0 <= age < params.report_span else None
