"""What a report attests follows from its rounds, and never goes back."""

from dataclasses import replace

import pytest

from commonweight.protocol.attested import Attested, attests
from commonweight.protocol.records import Record
from tests.golden import golden_round as g

pytestmark = pytest.mark.unit


def record(made: g.GoldenRound, number: int, counted: bool = True) -> Record:
    body = replace(made.record_body, round=number, checkpoint=f"0x{number:064x}", checkpoint_cid=f"cid {number}")
    return body if counted else replace(body, counted=())


def checkpoint(number: int) -> Attested:
    return Attested(number, f"0x{number:064x}", f"cid {number}")


def test_the_last_round_that_counted_anybody_is_attested(made: g.GoldenRound) -> None:
    rounds = [record(made, 3), record(made, 5), record(made, 4), record(made, 6, counted=False)]
    assert attests(rounds, None) == attests(rounds, checkpoint(2)) == checkpoint(5)


def test_without_a_newer_one_the_last_is_attested_again(made: g.GoldenRound) -> None:
    for rounds in ([], [record(made, 8, counted=False)], [record(made, 6)], [record(made, 7)]):
        assert attests(rounds, checkpoint(7)) == checkpoint(7)


def test_genesis_is_attested_while_there_is_nothing_else(made: g.GoldenRound) -> None:
    assert attests([], None) is attests([record(made, 1, counted=False)], None) is None
