"""What is said in disputes over credits, and the rule by which credits are convicted."""

import hashlib

import pytest

from commonweight.errors import FormatError
from commonweight.protocol.canonical import dumps, loads_object
from commonweight.protocol.dispute_documents import Exhibit, JudgedRound, Judgement, Plea, judge
from commonweight.store import cid_of, raw_cid

pytestmark = pytest.mark.unit

RUN = "0x" + "c0" * 20
GOOD, BAD, OPEN = (JudgedRound(1, "verified"), JudgedRound(2, "refuted"), JudgedRound(3, "incomplete"))


@pytest.mark.parametrize(
    ("listed", "earned", "rounds", "convicted"),
    [
        (0, None, (BAD,), False),
        (5, 5, (GOOD,), False),
        (4, 5, (GOOD,), False),
        (6, 5, (GOOD,), True),
        (6, 0, (), True),
        (5, 5, (GOOD, BAD, OPEN), True),
        (5, 5, (GOOD, OPEN), None),
        (5, None, (), None),
        (5, None, (BAD,), None),
        (6, 5, (OPEN,), True),
    ],
)
def test_nobody_is_convicted_for_what_cannot_be_had(
    listed: int, earned: int | None, rounds: tuple[JudgedRound, ...], convicted: bool | None
) -> None:
    assert judge(listed, earned, rounds) is convicted
    made = Judgement.of(RUN, 7, 2, listed, earned, rounds)
    assert made.convicted is convicted
    assert Judgement.from_bytes(made.to_bytes()) == made


def test_signers_who_see_more_or_less_of_a_false_chain_write_the_same_judgement() -> None:
    """What comes after the first false round can be known on one machine and not on another."""
    later = JudgedRound(3, "refuted")
    one = Judgement.of(RUN, 7, 2, 5, 5, (GOOD, BAD, OPEN))
    assert one == Judgement.of(RUN, 7, 2, 5, 5, (later, BAD, GOOD))
    assert one.rounds == (BAD,)
    assert Judgement.of(RUN, 7, 2, 6, 5, (GOOD, BAD)) == Judgement.of(RUN, 7, 2, 6, 5, ())


def test_a_judgement_whose_conclusion_does_not_follow_is_refused() -> None:
    body = loads_object(Judgement.of(RUN, 7, 2, 5, 5, (GOOD,)).to_bytes(), 1 << 20)
    with pytest.raises(FormatError, match="does not follow"):
        Judgement.from_bytes(dumps({**body, "convicted": True}))
    with pytest.raises(FormatError):
        Judgement.from_bytes(dumps({**body, "rule": 2}))


@pytest.mark.parametrize("side", ["challenge", "answer"])
def test_a_plea_is_one_block_that_its_digest_finds(side: str) -> None:
    cid = cid_of(b"proof")
    file = Exhibit("a/b.bin", 5, "0x" + "11" * 32, str(cid))
    plea = Plea(side, RUN, 7, 2, "0x" + "ab" * 20, "Round 2 was never trained.", (file,))
    data = plea.to_bytes()
    assert Plea.from_bytes(data) == plea
    assert str(raw_cid(hashlib.sha256(data).digest())) == str(cid_of(data))
    with pytest.raises(FormatError, match="too long"):
        Plea(side, RUN, 7, 2, "0x" + "ab" * 20, "x" * (1 << 20), ()).to_bytes()
