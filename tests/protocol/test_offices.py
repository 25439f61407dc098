"""Who was a signer when: by the block in which each set took office."""

import pytest

from commonweight.protocol.offices import Offices

pytestmark = pytest.mark.unit

A, B, C, D = ("0x" + digit * 40 for digit in "abcd")
OFFICES = Offices(((5, (A, B)), (9, (B, C)), (9, (A, C)), (20, (C, D))))


def test_a_set_is_in_office_from_its_own_block_until_the_next_one() -> None:
    assert [OFFICES.at(block) for block in (4, 5, 8)] == [(), (A, B), (A, B)]
    assert [OFFICES.at(block) for block in (9, 19)] == [(A, C), (A, C)], "the last of a block"
    assert [OFFICES.at(block) for block in (20, 1000)] == [(C, D), (C, D)]


def test_a_vote_is_of_those_in_office_then_or_later() -> None:
    assert [OFFICES.since(block) for block in (0, 8, 9, 20)] == [{A, B, C, D}, {A, B, C, D}, {A, C, D}, {C, D}]
    assert OFFICES.ever == {A, B, C, D}
