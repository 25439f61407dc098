"""The round machine: every phase follows from facts alone, in order, and a crash anywhere changes nothing."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commonweight.protocol.fields import hex32
from commonweight.protocol.merkle import anchor_root
from commonweight.protocol.records import Anchor, Plan, PlanMember
from oracle.phases import (
    SETTLE_MS,
    AnchorRecord,
    Bounds,
    Close,
    Decide,
    Facts,
    Finish,
    Open,
    SendAnchor,
    Wait,
    decide,
)

pytestmark = pytest.mark.unit
BOUNDS = Bounds(first_deadline_ms=100_000, last_deadline_ms=1_000_000, min_members=2, max_rounds=6, gather_ms=3000)
DIGEST = "0x" + "ab" * 32
PLAN = Plan(
    run="0x" + "11" * 20, round=3, epoch=0, base=DIGEST, base_cid="", config=DIGEST, data_seed=DIGEST,
    members=(PlanMember(0, 20, 0), PlanMember(1, 20, 160)), h=20, overlap=0, codec="int8",
    codec_version=1, block=128, parts=2, reducers=(0, 1), backups=(1, 0), min_members=2, commit_by_ms=210_000,
    anchor_by_ms=214_000, exchange_by_ms=217_000, record_by_ms=219_000, previous_record=None,
)  # fmt: skip
ANCHOR = Anchor(PLAN.run, 3, 210, (DIGEST,), hex32(anchor_root([bytes.fromhex("ab" * 32)])))
IDLE = Facts(
    now_ms=200_000, bounds=BOUNDS, ready=(0, 1), newest_join_ms=0, train_ms=8000, made=2, any_round=True,
    record_pending=False,
)  # fmt: skip
OPEN = replace(IDLE, plan=PLAN)


def test_a_round_opens_with_everybody_who_is_ready() -> None:
    assert decide(IDLE) == Open((0, 1))


def test_the_first_round_waits_until_joining_has_calmed_down() -> None:
    first = replace(IDLE, any_round=False, made=0, newest_join_ms=199_000)
    assert decide(first) == Wait(202_000, "waiting")
    assert decide(replace(first, now_ms=202_000)) == Open((0, 1))


def test_below_the_minimum_the_coordinator_waits_and_anchors_what_is_pending() -> None:
    assert isinstance(decide(replace(IDLE, ready=(0,))), Wait)
    assert decide(replace(IDLE, ready=(0,), record_pending=True)) == AnchorRecord()


def test_no_deadline_falls_before_the_first_epoch_or_after_the_last() -> None:
    early = replace(IDLE, now_ms=50_000)
    assert decide(early) == Wait(92_000, "waiting")
    assert decide(replace(IDLE, now_ms=992_001, record_pending=True)) == AnchorRecord()
    assert decide(replace(IDLE, now_ms=992_001)) == Finish()
    assert decide(replace(IDLE, now_ms=992_000)) == Open((0, 1))


def test_enough_rounds_end_the_training() -> None:
    assert decide(replace(IDLE, made=6)) == Finish()
    assert decide(replace(IDLE, made=6, record_pending=True)) == AnchorRecord()


def test_phases_of_an_open_round_in_order() -> None:
    steps = []
    facts = replace(OPEN, now_ms=205_000)
    steps.append(decide(facts))
    facts = replace(facts, receipted=True, now_ms=210_000 + SETTLE_MS)
    steps.append(decide(facts))
    facts = replace(facts, anchor=ANCHOR)
    steps.append(decide(facts))
    facts = replace(facts, anchored=True, now_ms=212_500)
    steps.append(decide(facts))
    facts = replace(facts, window_over=True, now_ms=214_100)
    steps.append(decide(facts))
    facts = replace(facts, complete=True, now_ms=215_000)
    steps.append(decide(facts))
    assert steps == [
        Wait(211_000, "training"), Decide(), SendAnchor(), Wait(214_000, "window"), Wait(217_000, "exchange"), Close(),
    ]  # fmt: skip


def test_an_incomplete_exchange_ends_at_its_deadline() -> None:
    facts = replace(OPEN, receipted=True, anchor=ANCHOR, anchored=True, window_over=True, now_ms=217_000)
    assert decide(facts) == Close()


def test_a_round_without_commitments_ends_with_its_window() -> None:
    """Not before: another signer may have receipted and anchor."""
    assert decide(replace(OPEN, now_ms=212_500)) == Wait(214_000, "window")
    assert decide(replace(OPEN, now_ms=214_100, window_over=True)) == Close()


def test_a_root_that_never_got_on_chain_ends_the_round_after_the_last_possible_block() -> None:
    lost = replace(OPEN, receipted=True, anchor=ANCHOR, window_over=True, now_ms=214_500)
    assert decide(lost) == Wait(217_000, "window")
    assert decide(replace(lost, now_ms=217_000)) == Close()


@given(
    st.integers(190_000, 230_000), st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip
def test_a_decision_never_stands_still_and_never_goes_back(
    now: int, receipted: bool, decided: bool, anchored: bool, over: bool, complete: bool
) -> None:
    """Whatever a crash left behind: the step waits for a later time, or does something that the facts lack."""
    facts = replace(
        OPEN, now_ms=now, receipted=receipted or decided, anchor=ANCHOR if decided else None, anchored=anchored,
        window_over=over and now >= PLAN.anchor_by_ms, complete=complete,
    )  # fmt: skip
    step = decide(facts)
    if isinstance(step, Wait):
        assert step.until_ms > now
    elif isinstance(step, Decide):
        assert facts.anchor is None
        assert facts.receipted
        assert not facts.window_over
    elif isinstance(step, SendAnchor):
        assert facts.anchor is not None
        assert not facts.anchored
        assert not facts.window_over
    else:
        assert isinstance(step, Close)
        assert now >= PLAN.commit_by_ms + SETTLE_MS
