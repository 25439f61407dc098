"""What a signer does about a challenge: when it verifies again, when it may sign, and that nothing else convicts."""

from dataclasses import replace

import pytest

from commonweight.chain.challenges import Case, follow
from commonweight.chain.events import (
    ChainEvent,
    ChallengeAnswered,
    ChallengeClosed,
    Convicted,
    CreditsChallenged,
    VerdictGiven,
)
from commonweight.protocol.dispute_documents import JudgedRound, Judgement
from oracle.hearing import Hearing, Move, next_move

pytestmark = pytest.mark.unit

RUN = "0x" + "c0" * 20
PERIOD, OPENED = 1000, 5000
CASE = Case(7, 2, "0x" + "99" * 20, b"\x01" * 32, OPENED + PERIOD, 50)
EARLY, LATE, OVER = OPENED + 10, OPENED + 600, OPENED + PERIOD + 1
AT = {"address": RUN, "block": 60, "block_hash": bytes(32), "tx": bytes(32), "log_index": 0, "epoch": 7, "index": 2}


def hearing(outcome: str, *, answers: int = 0, late: bool = False, at: int = EARLY) -> Hearing:
    return Hearing(Judgement.of(RUN, 7, 2, 5, 5, (JudgedRound(1, outcome),)), answers, late, at)


def given(convicted: bool) -> VerdictGiven:
    return VerdictGiven(convicted=convicted, evidence_sha256=b"\x02" * 32, **AT)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("case", "final", "now", "found", "move"),
    [
        (CASE, True, EARLY, None, Move.RECHECK),
        (CASE, None, EARLY, None, Move.RECHECK),
        (CASE, True, EARLY, hearing("verified"), Move.GATHER),
        (CASE, True, EARLY, hearing("refuted"), Move.WAIT),  # the accused is heard first
        (CASE, True, LATE, hearing("refuted"), Move.RECHECK),
        (CASE, True, LATE, hearing("refuted", late=True, at=LATE), Move.GATHER),
        (replace(CASE, answers=(b"\x03" * 32,)), True, EARLY, hearing("refuted"), Move.RECHECK),
        (replace(CASE, answers=(b"\x03" * 32,)), True, EARLY, hearing("refuted", answers=1), Move.GATHER),
        (CASE, True, EARLY + 1, hearing("incomplete"), Move.WAIT),
        (CASE, True, EARLY + 50, hearing("incomplete"), Move.RECHECK),
        (CASE, True, LATE + 1, hearing("incomplete", late=True, at=LATE), Move.WAIT),
        (CASE, True, OVER, hearing("incomplete", late=True, at=LATE), Move.CLOSE),
        (CASE, True, OVER, hearing("refuted", late=True, at=LATE), Move.CLOSE),
        (CASE, False, EARLY, hearing("verified"), Move.CLOSE),
        (replace(CASE, verdict=given(True)), None, LATE, hearing("refuted", late=True), Move.WAIT),
        (replace(CASE, verdict=given(True)), True, OVER, None, Move.ENFORCE),
        (replace(CASE, verdict=given(True)), False, OVER, None, Move.CLOSE),
        (replace(CASE, closed=True), True, EARLY, None, Move.WAIT),
    ],
)
def test_the_next_move(case: Case, final: bool | None, now: int, found: Hearing | None, move: Move) -> None:
    assert next_move(case, final, now, PERIOD, found) == move


def test_a_decision_stands_whatever_comes_later() -> None:
    """A verdict that may have been signed is never verified into another one."""
    for found in (hearing("verified"), hearing("refuted", late=True), hearing("refuted", answers=1)):
        assert found.decided
        for now in (EARLY, LATE, CASE.until):
            answered = replace(CASE, answers=(b"\x03" * 32, b"\x04" * 32))
            assert next_move(answered, True, now, PERIOD, found) == Move.GATHER


def test_what_cannot_be_had_is_never_a_decision() -> None:
    assert not hearing("incomplete", answers=3, late=True).decided


def test_a_hearing_is_kept_as_it_is() -> None:
    found = hearing("refuted", answers=2, late=True)
    assert Hearing.from_text(found.to_text()) == found


def test_cases_follow_from_events_and_a_second_challenge_is_another_case() -> None:
    def opened(block: int) -> CreditsChallenged:
        return CreditsChallenged(
            challenger=CASE.challenger, evidence_sha256=b"\x01" * 32, until=CASE.until, **{**AT, "block": block}
        )  # type: ignore[arg-type]

    answered = ChallengeAnswered(evidence_sha256=b"\x03" * 32, **AT)  # type: ignore[arg-type]
    closed = ChallengeClosed(**AT)  # type: ignore[arg-type]
    convicted = Convicted(credits=5, debt=3, slashed=1, **AT)  # type: ignore[arg-type]
    events: list[ChainEvent] = [opened(50), answered, closed, opened(70), given(True), convicted, closed]
    states = [follow((), events[:count])[-1].state for count in range(1, len(events) + 1)]
    assert states == ["open", "open", "returned", "open", "convicted", "convicted", "revoked"]
    whole = follow((), events)
    assert [case.block for case in whole] == [50, 70]
    assert whole[0].answers == (b"\x03" * 32,)
    assert follow(follow((), events[:4]), events[4:]) == whole
    assert follow((), [opened(50), given(False), closed])[0].state == "acquitted"
