"""Disputes over credits as the events of the chain tell them (specification 4.5)."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from commonweight.chain.events import (
    ChainEvent,
    ChallengeAnswered,
    ChallengeClosed,
    Convicted,
    CreditsChallenged,
    VerdictGiven,
)
from commonweight.chain.run import Run

CHALLENGE_EVENTS: tuple[type[ChainEvent], ...] = (
    CreditsChallenged, ChallengeAnswered, VerdictGiven, Convicted, ChallengeClosed,
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One challenge of a provider's credits of an epoch. `until` is the last second in which it can be answered and
    judged; `answers` are SHA-256 digests; `conviction` is there once a conviction was carried out.
    """

    epoch: int
    index: int
    challenger: str
    evidence_sha256: bytes
    until: int
    block: int
    answers: tuple[bytes, ...] = ()
    verdict: VerdictGiven | None = None
    conviction: Convicted | None = None
    closed: bool = False

    @property
    def key(self) -> tuple[int, int]:
        """(epoch, index)."""
        return self.epoch, self.index

    @property
    def state(self) -> str:
        """open, convicted (not carried out yet), revoked, acquitted or returned (no verdict, or the epoch is void)."""
        if not self.closed:
            return "open" if self.verdict is None else "convicted"
        if self.conviction is not None:
            return "revoked"
        return "returned" if self.verdict is None or self.verdict.convicted else "acquitted"


def follow(cases: Iterable[Case], events: Iterable[ChainEvent]) -> tuple[Case, ...]:
    """The cases after more events, in the order in which they were opened; other events change nothing."""
    found = list(cases)
    place = {case.key: number for number, case in enumerate(found)}
    for event in events:
        if isinstance(event, CreditsChallenged):
            place[event.epoch, event.index] = len(found)
            found.append(
                Case(event.epoch, event.index, event.challenger, event.evidence_sha256, event.until, event.block)
            )
        elif isinstance(event, ChallengeAnswered | VerdictGiven | Convicted | ChallengeClosed):
            number = place[event.epoch, event.index]
            found[number] = _after(found[number], event)
    return tuple(found)


def _after(case: Case, event: ChallengeAnswered | VerdictGiven | Convicted | ChallengeClosed) -> Case:
    match event:
        case ChallengeAnswered():
            return replace(case, answers=(*case.answers, event.evidence_sha256))
        case VerdictGiven():
            return replace(case, verdict=event)
        case Convicted():
            return replace(case, conviction=event)
        case ChallengeClosed():
            return replace(case, closed=True)


def cases_of(run: Run, to_block: int | None = None) -> tuple[Case, ...]:
    """All challenges of a run up to a block. Raises ChainError."""
    return follow((), run.events(CHALLENGE_EVENTS, to_block=to_block))
