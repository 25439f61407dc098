"""What the contracts allow of a run's parameters (docs/specification.md, section 4.7), by the names of the run's file:
so that a person is not asked about a run that the factory would refuse.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from commonweight.chain.structs import RunParams

Bound = tuple[str, bool, str]
_BPS = 10_000
_U64 = 2**64
_MONEY = 2**127
_LAST_S = 2**40  # storage keeps times in 40 bits
_GAME_MOVES = 8
_MOST_SIGNERS = 31
_MOST_MILESTONES = 16
_TIMES = (
    *("epoch_length", "report_span", "attempt_length", "challenge_window", "answer_time", "dispute_period"),
    *("anchor_window", "rotation_delay", "withdrawal_delay", "evidence_retention"),
)


def bounds(p: RunParams) -> Iterator[Bound]:
    """Each bound: the name in the run's file that it is on, whether it is kept, and what the value must be."""
    yield from _money(p)
    for name in _TIMES:
        yield f"time.{name}", getattr(p, name) < _U64, "below 2^64 seconds"
    for name in ("last_epoch", "tail_epochs", "max_credits_per_epoch"):
        yield f"epochs.{name}", getattr(p, name) < _U64, "below 2^64"
    yield from _times(p)
    yield from _signers(p)
    yield from _milestones(p)


def _money(p: RunParams) -> Iterator[Bound]:
    yield "money.goal", p.goal > 0, "above zero"
    yield "money.goal", p.goal <= p.cap, "at most money.cap"
    yield "money.cap", p.cap < _MONEY, "below 2^127 smallest units"
    for name in ("capital_bps", "oracle_bps", "server_bps"):
        yield f"money.{name}", getattr(p, name) <= _BPS, "at most 10000, which is all"
    yield "money.wage_per_credit", p.wage_per_credit < 2**80, "below 2^80 smallest units"
    for name in ("provider_stake", "signer_bond", "challenge_bond", "dispute_bond"):
        yield f"money.{name}", getattr(p, name) < _MONEY, "below 2^127 smallest units"


def _times(p: RunParams) -> Iterator[Bound]:
    yield "epochs.tail_epochs", p.tail_epochs >= 2, "2 at least"
    for name in ("challenge_window", "answer_time", "dispute_period", "anchor_window", "attempt_length"):
        yield f"time.{name}", getattr(p, name) > 0, "above zero"
    yield "time.attempt_length", p.attempt_length <= p.report_span, "at most time.report_span"
    longest = p.report_span + p.challenge_window + _GAME_MOVES * p.answer_time
    told = f"report_span + challenge_window + 8 * answer_time at least, which are {longest} s"
    yield "time.epoch_length", p.epoch_length >= longest, told
    yield "time.deposits", p.deposit_deadline < _LAST_S, "an end of deposits before Unix second 2^40"
    yield "time.start_delay", p.epoch_start < _LAST_S, "a first epoch before Unix second 2^40"
    after = p.dispute_period + p.rotation_delay + p.withdrawal_delay
    most = (_LAST_S - 1 - after - p.epoch_start) // p.epoch_length - p.tail_epochs - 2
    told = f"at most {most}" if most >= 0 else "lower, and epochs and the times after them shorter"
    yield "epochs.last_epoch", p.last_epoch <= most, f"{told}, for the run to be over before Unix second 2^40"
    yield "epochs.max_credits_per_epoch", p.max_credits_per_epoch > 0, "above zero"


def _signers(p: RunParams) -> Iterator[Bound]:
    count = len(p.signers)
    yield "signers.members", 1 <= count <= _MOST_SIGNERS, f"a list of 1 to {_MOST_SIGNERS} signers"
    yield "signers.members", len({int(s, 16) for s in p.signers}) == count, "a list that names each signer once"
    nobody = any(int(address, 16) == 0 for address in (*p.signers, *p.transmitters))
    yield "signers.members", not nobody, "a list without the zero address, which is nobody's"
    least = count // 2 + 1
    told = f"more than half of the {count} members, and no more than all: {least} to {count}"
    yield "signers.quorum", least <= p.quorum <= count, told if count > 1 else "1, as there is one member"


def _milestones(p: RunParams) -> Iterator[Bound]:
    yield "milestones", len(p.milestones) <= _MOST_MILESTONES, f"a list of {_MOST_MILESTONES} at most"
    last = p.last_epoch + p.tail_epochs
    for m in p.milestones:
        numbers = (m.deadline_epoch, m.min_credits, m.max_loss_micro, m.tranche_bps)
        yield "milestones", all(0 <= number < _U64 for number in numbers), "a list of numbers from zero up, below 2^64"
        yield "milestones", m.deadline_epoch <= last, f"a list of deadline_epoch up to {last}, the last"
    total = sum(m.tranche_bps for m in p.milestones)
    yield "milestones", total == _BPS, f"a list whose tranche_bps sum to 10000; these sum to {total}"
