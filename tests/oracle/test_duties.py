"""What is due on chain, and whose turn it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commonweight.chain.structs import EpochInfo, EpochState
from oracle.duties import TURN_S, Duty, attempt_at, due, proposer
from tests.chain.scenario import make_params
from tests.oracle.office import START_S

pytestmark = pytest.mark.unit
PARAMS = make_params(START_S - 4000)


def epoch(state: EpochState, *, closed_at: int = 0, open_until: int = 0) -> EpochInfo:
    return EpochInfo(state, closed_at, open_until, 0, 4, 0, 0, 0, 0, 0, 0, 0, bytes(32))


def test_closing_is_due_at_the_epochs_end_and_in_turns() -> None:
    end = PARAMS.epoch_end(0)
    assert due(PARAMS, -1, None, end - 1, 0, 3) is None
    assert due(PARAMS, -1, None, end, 0, 3) == Duty("close", 0)
    assert due(PARAMS, -1, None, end, 1, 3) is None
    assert due(PARAMS, -1, None, end + TURN_S, 1, 3) == Duty("close", 0)
    assert due(PARAMS, -1, None, end + 2 * TURN_S, 2, 3) == Duty("close", 0)
    assert due(PARAMS, -1, None, end + 99, -1, 3) is None


def test_the_run_ends_after_its_tail() -> None:
    last = PARAMS.last_epoch + PARAMS.tail_epochs
    assert due(PARAMS, last, epoch(EpochState.FINAL), PARAMS.epoch_end(last + 5), 0, 3) is None


def test_settling_and_voiding_are_due_when_the_contract_allows_them() -> None:
    reported, open_ = epoch(EpochState.REPORTED, open_until=500), epoch(EpochState.CLOSED, closed_at=100)
    assert due(PARAMS, 0, reported, 499, 0, 3) is None
    assert due(PARAMS, 0, reported, 500, 0, 3) == Duty("finalize", 0)
    assert due(PARAMS, 0, open_, 100 + PARAMS.report_span, 0, 3) == Duty("void", 0)
    assert due(PARAMS, 1, epoch(EpochState.VOID), PARAMS.epoch_end(2), 2, 3) == Duty("close", 2)


@given(st.integers(0, 50), st.integers(0, 20), st.integers(1, 9))
def test_every_signer_gets_its_turn_to_propose(number: int, attempt: int, signers: int) -> None:
    turns = {proposer(number, attempt + k, signers) for k in range(signers)}
    assert turns == set(range(signers))


def test_attempts_follow_the_contract() -> None:
    info = epoch(EpochState.CLOSED, closed_at=1000)
    assert attempt_at(PARAMS, info, 1000) == 0
    assert attempt_at(PARAMS, info, 1000 + PARAMS.attempt_length) == 1
    assert attempt_at(PARAMS, info, 1000 + PARAMS.report_span) is None
