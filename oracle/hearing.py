"""What a signer has to do about a challenge of credits. Pure: from the chain and what was found so far.

The accused is heard first: nobody is convicted before it has answered or half of the time is over, and then only by
work that was verified again after that. Work that is right acquits at once. What cannot be had convicts nobody; it is
looked for again until the time is over.
"""

import enum
from dataclasses import dataclass

from commonweight.chain.challenges import Case
from commonweight.protocol.canonical import dumps, loads
from commonweight.protocol.dispute_documents import MAX_BYTES, Judgement
from commonweight.protocol.fields import Fields


class Move(enum.Enum):
    """The next thing to do about a case."""

    WAIT = "wait"
    RECHECK = "recheck"
    GATHER = "gather"
    ENFORCE = "enforce"
    CLOSE = "close"


@dataclass(frozen=True)
class Hearing:
    """The last time that this signer verified the work again: what came out, how many answers of the accused were on
    chain then, whether its time to answer first was over, and when it was (Unix time, seconds).
    """

    judgement: Judgement
    answers: int
    late: bool
    at_s: int

    @property
    def decided(self) -> bool:
        """Whether a verdict may be signed from it."""
        convicted = self.judgement.convicted
        return convicted is False or (convicted is True and (self.late or self.answers > 0))

    def to_text(self) -> str:
        """As it is kept."""
        return dumps({
            "judgement": self.judgement.to_json(), "answers": self.answers, "late": self.late, "at": self.at_s
        }).decode()  # fmt: skip

    @classmethod
    def from_text(cls, text: str) -> "Hearing":
        """Reads what `to_text` writes."""
        f = Fields(loads(text.encode(), 2 * MAX_BYTES), "hearing")
        found = cls(Judgement.from_json(f.take("judgement")), f.integer("answers"), f.boolean("late"), f.integer("at"))
        f.done()
        return found


def retry_s(period_s: int) -> int:
    """After how long what could not be had is looked for again: twenty times in a dispute period."""
    return max(1, period_s // 20)


def heard(case: Case, now_s: int, period_s: int) -> bool:
    """Whether half of the dispute period is over, in which the accused can answer before anybody convicts it."""
    return now_s >= case.until - period_s // 2


def next_move(case: Case, final: bool | None, now_s: int, period_s: int, hearing: Hearing | None) -> Move:
    """What is due at block time `now_s`. `final` says whether the case's epoch is final or void (False); None: open."""
    if case.closed:
        return Move.WAIT
    if final is False:
        return Move.CLOSE
    if case.verdict is not None:
        return Move.ENFORCE if case.verdict.convicted and final else Move.WAIT
    if now_s > case.until:
        return Move.CLOSE
    if hearing is None or _outdated(case, now_s, period_s, hearing):
        return Move.RECHECK
    return Move.GATHER if hearing.decided else Move.WAIT


def _outdated(case: Case, now_s: int, period_s: int, hearing: Hearing) -> bool:
    """Whether verifying again can bring more; a decision stands."""
    if hearing.decided:
        return False
    if len(case.answers) > hearing.answers or (heard(case, now_s, period_s) and not hearing.late):
        return True
    return hearing.judgement.convicted is None and now_s >= hearing.at_s + retry_s(period_s)
