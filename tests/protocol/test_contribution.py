"""Contribution scores: the draw, the windows, and the outcome that follows from published integers alone."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commonweight.errors import FormatError
from commonweight.protocol.contribution import (
    FAR,
    PrivateScores,
    Scores,
    judge,
    own_offsets,
    random_key,
    score_draws,
    scores_of,
    tolerances,
)
from commonweight.protocol.runconfig import Verification
from tests.golden.golden_round import build

pytestmark = pytest.mark.unit

SEED = b"\x5e" * 32
RULE = Verification(contribution_margin_micro=10_000)
Figure = tuple[int, int]
HONEST = Scores(60_000, 5_000, 30_000, 5_000, 14_000, 5_000, 52_000, 4_500)


def test_honest_scores_pass_and_each_fault_has_its_reason() -> None:
    assert judge(HONEST, RULE) == ""
    nothing = Scores(*[0] * 8)
    assert judge(nothing, RULE) == "the payload does not lower the loss on its own batches"
    harmful = replace(HONEST, heldout_gain=-30_001)
    assert judge(harmful, RULE) == "the payload raises the loss on held-out text"
    noise = replace(HONEST, own_gain=1, surplus=-18_001)
    assert judge(noise, RULE) == "the payload does less than an eighth of its steps' share in the round's update"
    other = replace(HONEST, lead=-30_001)
    assert judge(other, RULE) == "the payload does less for its own batches than for random ones"


@pytest.mark.parametrize(
    "change", [{"own_gain": -19_999}, {"surplus": -18_000}, {"heldout_gain": -30_000}, {"lead": -30_000}]
)
def test_four_standard_errors_and_the_margin_are_in_the_members_favour(change: dict[str, int]) -> None:
    assert judge(replace(HONEST, **change), RULE) == ""


@given(*[st.tuples(st.integers(-FAR, FAR), st.integers(0, FAR))] * 4, st.integers(0, 10**6))
def test_more_is_never_worse(own: Figure, held: Figure, lead: Figure, over: Figure, more: int) -> None:
    scores = Scores(*own, *held, *lead, *over)
    better = replace(
        scores, own_gain=own[0] + more, heldout_gain=held[0] + more, lead=lead[0] + more, surplus=over[0] + more
    )
    if not judge(scores, RULE):
        assert not judge(better, RULE)
    assert Scores.of(scores.named()) == scores
    assert [name for name, _ in scores.named()] == list(Scores.names())


def test_another_machines_figures_may_differ_by_the_tolerance_and_a_thousandth_of_what_is_measured() -> None:
    ruined = Scores(-9_000_000, 4_000_000, 0, 70_000_000, -2, 5_000, 1_500, 700)
    assert dict(tolerances(ruined, Verification(loss_tolerance_micro=2_000))) == {
        "own_gain_micro": 11_000, "own_noise_micro": 6_000, "heldout_gain_micro": 72_000, "heldout_noise_micro": 72_000,
        "lead_micro": 2_005, "lead_noise_micro": 2_005, "surplus_micro": 2_001,
        "surplus_noise_micro": 2_000,
    }  # fmt: skip


def test_scores_with_other_names_or_negative_noise_are_refused() -> None:
    with pytest.raises(FormatError):
        Scores.of(HONEST.named()[1:])
    with pytest.raises(FormatError):
        Scores.of((("lead", 1), *HONEST.named()))
    with pytest.raises(FormatError):
        Scores.of(replace(HONEST, lead_noise=-1).named())


@given(st.binary(min_size=32, max_size=32), st.integers(1, 50), st.integers(1, 300))
def test_own_windows_are_distinct_and_the_members_own(seed: bytes, count: int, windows: int) -> None:
    drawn = own_offsets(seed, 7, 3, count, windows)
    assert len(set(drawn)) == len(drawn) == min(count, windows)
    assert all(0 <= offset < windows for offset in drawn)
    assert drawn == own_offsets(seed, 7, 3, count, windows)


def test_counted_members_are_scored_at_the_runs_rate_by_signers_in_turn() -> None:
    record = build().record_body
    counted = {entry.index for entry in record.counted}
    hits: dict[int, int] = dict.fromkeys(counted, 0)
    positions = set()
    for number in range(1, 801):
        for draw in score_draws(SEED, replace(record, round=number), Verification(contribution_rate_bps=2_500), 3):
            hits[draw.index] += 1
            positions.add(draw.position)
    assert all(abs(found - 200) < 60 for found in hits.values())
    assert positions == {0, 1, 2}
    assert score_draws(SEED, record, Verification(contribution_rate_bps=0), 3) == ()
    assert {d.index for d in score_draws(SEED, record, Verification(contribution_rate_bps=10_000), 3)} == counted
    assert len({random_key(SEED, 1, 0), random_key(SEED, 1, 1), random_key(SEED, 2, 0)}) == 3


def test_of_private_work_only_the_held_out_text_is_judged_and_it_must_gain() -> None:
    assert judge(PrivateScores(30_000, 5_000), RULE) == ""
    assert judge(PrivateScores(-15_000, 5_000), RULE) == "", "four standard errors are in its favour"
    for nothing in (PrivateScores(0, 0), PrivateScores(-20_000, 5_000), PrivateScores(-(10**12), 5_000)):
        assert judge(nothing, RULE) == "the payload does not lower the loss on held-out text"


def test_both_kinds_of_scores_are_told_apart_by_their_names() -> None:
    private = PrivateScores(30_000, 5_000)
    assert scores_of(private.named()) == private
    assert scores_of(HONEST.named()) == HONEST
    assert PrivateScores.names() == ("heldout_gain_micro", "heldout_noise_micro")
    for wrong in (HONEST.named()[1:3], (("heldout_gain_micro", 1), ("lead_micro", 1)), PrivateScores(0, -1).named()):
        with pytest.raises(FormatError):
            scores_of(wrong)
