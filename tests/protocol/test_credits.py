"""The credit rule: against the plain implementation, and the facts that it promises."""

import dataclasses
import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonweight.errors import FormatError
from commonweight.protocol.contribution import Scores
from commonweight.protocol.credits import (
    RoundEvidence,
    bandwidth_score,
    credit,
    itemise,
    latency_score,
    link_medians,
    next_leaves,
    outcomes,
    total_by_index,
    wage_scaled,
)
from commonweight.protocol.listing import share_cap
from commonweight.protocol.records import Counted, LeftOut, MeasuredLink, Record, Segment, Verdict
from commonweight.protocol.runconfig import Verification
from commonweight.protocol.standing import Outcome
from commonweight.protocol.sumtree import Leaf
from tests.protocol import reference

pytestmark = pytest.mark.unit

D = "0x" + "ab" * 32
RULE = Verification(bandwidth_ref_bps=1000, latency_ref_us=1000)
P = 10**6
SCORE = st.integers(0, 100)


def record(number: int, tokens: dict[int, int], links: tuple[MeasuredLink, ...] = ()) -> Record:
    counted = tuple(Counted(i, D, 1, t, D, "") for i, t in sorted(tokens.items()))
    return Record(
        "0x" + "c0" * 20,
        number,
        0,
        D,
        D,
        counted,
        (LeftOut(90, D, "payload-mismatch", None),),
        (LeftOut(91, None, "no-commitment", None),),
        (D,),
        D,
        "",
        links,
    )


SCORES = Scores(50_000, 1_000, 40_000, 1_000, 10_000, 2_000, 44_000, 900)


def verdict(number: int, index: int, signer: int, outcome: str, check: str = "replay", segment: int = 0) -> Verdict:
    return Verdict(
        "0x" + "c0" * 20,
        0,
        number,
        index,
        D,
        f"0x{signer:040x}",
        check,
        Segment(segment, segment + 1) if check == "replay" else None,
        outcome,
        False,
        None,
        None,
        SCORES.named() if check == "contribution" else (),
        0,
        D,
        "",
    )


@given(st.integers(0, 2**40), st.integers(0, 2**40), SCORE, SCORE, st.integers(0, 10_000))
def test_a_credit_is_the_formula_rounded_down(
    parameters: int, tokens: int, bandwidth: int, latency: int, share: int
) -> None:
    whole = reference.credits_of(parameters, tokens, bandwidth, latency)
    assert credit(parameters, tokens, bandwidth, latency) == whole
    part = reference.credits_of(parameters, tokens, bandwidth, latency, Fraction(share, 10_000))
    assert credit(parameters, tokens, bandwidth, latency, share) == part <= whole


@given(st.integers(0, 2**40), st.integers(0, 2**40), st.integers(0, 2**20), SCORE, SCORE)
def test_more_work_never_earns_less(parameters: int, tokens: int, more: int, bandwidth: int, latency: int) -> None:
    assert credit(parameters, tokens + more, bandwidth, latency) >= credit(parameters, tokens, bandwidth, latency)
    assert credit(parameters, tokens, bandwidth, latency) <= credit(parameters, tokens, 100, 100)


@given(st.integers(0, 10**12), st.integers(1, 10**12))
def test_scores_lie_between_0_and_100(value: int, ref: int) -> None:
    assert 0 <= bandwidth_score(value, ref) <= 100
    assert 0 <= latency_score(value, ref) <= 100
    assert bandwidth_score(ref, ref) == latency_score(ref, ref) == 100


def test_scores_out_of_range_are_refused() -> None:
    for args in ((1, 1, 101, 0), (1, 1, 0, -1), (-1, 1, 0, 0)):
        with pytest.raises(FormatError):
            credit(*args)


def test_links_are_medians_of_what_others_measured_and_never_self_reports() -> None:
    links = (
        MeasuredLink(1, 0, 10, 1_000_000, 100),
        MeasuredLink(2, 0, 30, 1_000_000, 301),
        MeasuredLink(3, 0, 20, 1_000_000, 200),
        MeasuredLink(0, 0, 10**9, 1, 1),
    )
    assert link_medians(links, 0) == (160, 200)
    assert link_medians(links[:2], 0) == (160, 200)
    assert link_medians(links[3:], 0) is None


def test_a_line_tells_tokens_flops_scores_checks_and_credits() -> None:
    links = (MeasuredLink(1, 0, 1, 16_000, 2000),)
    lines = itemise(
        [RoundEvidence(record(1, {0: 10**9, 1: 10**9}, links), (verdict(1, 0, 7, "pass", segment=3),))], P, RULE
    )
    first = lines[0]
    assert (first.index, first.flops, first.bandwidth_bps, first.bandwidth, first.latency) == (
        0,
        6 * P * 10**9,
        500,
        50,
        50,
    )
    assert first.credits == credit(P, 10**9, 50, 50)
    assert [(c.check, c.segment, c.outcome) for c in first.checks] == [("replay", 3, "pass")]
    assert lines[1].credits == credit(P, 10**9, 0, 0)
    assert [(line.index, line.credits, line.refused) for line in lines[2:]] == [
        (90, 0, "refused: payload-mismatch"),
        (91, 0, "missing: no-commitment"),
    ]
    assert lines[0].to_json()["credits"] == str(first.credits)


@pytest.mark.parametrize(
    ("found", "here", "elsewhere"),
    [
        ([], True, True),
        (["pass"], True, True),
        (["fail"], False, False),
        (["unavailable"], False, False),
        (["pass", "fail"], False, True),
        (["pass", "pass", "fail"], True, True),
        (["pass", "fail", "unavailable"], False, False),
    ],
)
def test_replays_count_by_signers_and_a_failed_one_refuses_the_epoch(
    found: list[str], here: bool, elsewhere: bool
) -> None:
    verdicts = tuple(verdict(1, 0, signer, outcome) for signer, outcome in enumerate(found))
    lines = itemise(
        [RoundEvidence(record(1, {0: 10**9, 1: 10**9}), verdicts), RoundEvidence(record(2, {0: 10**9}))], P, RULE
    )
    assert [bool(line.credits) for line in lines if line.index == 0] == [here, elsewhere]
    assert all(line.credits for line in lines if line.index == 1)


def test_a_signer_has_one_vote_and_its_worst_finding_is_it() -> None:
    verdicts = (
        verdict(1, 0, 1, "pass", segment=0),
        verdict(1, 0, 1, "fail", segment=1),
        verdict(1, 0, 1, "pass", segment=2),
    )
    assert itemise([RoundEvidence(record(1, {0: 10**9}), verdicts)], P, RULE)[0].credits == 0


def test_other_checks_refuse_the_round_only() -> None:
    for check in ("structure", "contribution"):
        lines = itemise(
            [
                RoundEvidence(record(1, {0: 10**9}), (verdict(1, 0, 1, "fail", check),)),
                RoundEvidence(record(2, {0: 10**9})),
            ],
            P,
            RULE,
        )
        assert [bool(line.credits) for line in lines if line.index == 0] == [False, True]
        assert lines[0].refused == f"{check} not passed"


def test_work_that_was_committed_and_never_shown_costs_the_epoch_though_no_record_counts_it() -> None:
    hidden = RoundEvidence(record(1, {1: 10**9}), (verdict(1, 0, 1, "unavailable"),))
    lines = itemise([hidden, RoundEvidence(record(2, {0: 10**9}))], P, RULE)
    assert [(line.credits, line.refused) for line in lines if line.index == 0] == [(0, "replay failed in round 1")]


def test_outcomes_count_a_rounds_draws_once_and_tell_other_faults() -> None:
    rounds = [
        RoundEvidence(record(1, {0: 1, 1: 1}), (verdict(1, 0, 1, "pass"), verdict(1, 0, 2, "pass", segment=1))),
        RoundEvidence(record(2, {0: 1}), (verdict(2, 0, 1, "fail"), verdict(2, 1, 2, "fail", "contribution"))),
        RoundEvidence(record(3, {0: 1}), (verdict(3, 0, 1, "fail"), verdict(3, 0, 2, "pass")), frozenset({2})),
    ]
    expected = {0: Outcome(1, 1, False), 1: Outcome(0, 0, True), 2: Outcome(0, 0, True)}
    assert outcomes(rounds) == outcomes(reversed(rounds)) == expected


@pytest.mark.parametrize(
    ("leads", "wrong"),
    [([10] * 8, False), ([-5] * 8, True), ([-5] * 7, False), ([40, *[-5] * 8], True), ([41, *[-5] * 8], False)],
)
def test_scores_without_a_lead_over_an_epoch_end_the_history_and_refuse_nothing(leads: list[int], wrong: bool) -> None:
    rounds = [
        RoundEvidence(
            record(number, {0: 10**9}),
            (dataclasses.replace(
                verdict(number, 0, 1, "pass", "contribution"), scores=dataclasses.replace(SCORES, lead=lead).named()
            ),),
        )
        for number, lead in enumerate(leads, 1)
    ]  # fmt: skip
    assert outcomes(rounds)[0].wrong is wrong
    assert all(line.credits for line in itemise(rounds, P, RULE) if line.index == 0)


def test_a_proven_offence_refuses_the_whole_epoch() -> None:
    rounds = [RoundEvidence(record(1, {0: 10**9})), RoundEvidence(record(2, {0: 10**9}), (), frozenset({0}))]
    lines = [line for line in itemise(rounds, P, RULE) if line.index == 0]
    assert [(line.credits, line.refused) for line in lines] == [(0, "offence in round 2")] * 2


@given(st.permutations(range(4)), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_inputs_is_irrelevant(order, rng: random.Random) -> None:
    links = tuple(MeasuredLink(b, i, 5 + b, 1000, 500 * i + b + 1) for b in range(3) for i in range(3) if b != i)
    rounds = []
    for number in range(1, 5):
        verdicts = [
            verdict(number, i, s, "fail" if (number, i, s) == (2, 1, 1) else "pass", segment=s)
            for i in range(3)
            for s in range(3)
        ]
        rounds.append((record(number, {0: 10**8, 1: 10**9, 2: 7}, links), verdicts))
    expected = itemise([RoundEvidence(r, tuple(v)) for r, v in rounds], P, RULE)
    shuffled = []
    for at in order:
        rec, verdicts = rounds[at]
        mixed_links, mixed = list(rec.links), list(verdicts)
        rng.shuffle(mixed_links)
        rng.shuffle(mixed)
        shuffled.append(RoundEvidence(dataclasses.replace(rec, links=tuple(mixed_links)), tuple(mixed)))
    assert itemise(shuffled, P, RULE) == expected


def test_a_round_cannot_be_credited_twice() -> None:
    with pytest.raises(FormatError):
        itemise([RoundEvidence(record(1, {0: 1})), RoundEvidence(record(1, {0: 1}))], P, RULE)


@given(st.dictionaries(st.integers(0, 50), st.integers(1, 10**6), max_size=20), st.integers(0, 10**7))
def test_the_cap_holds_and_equals_the_plain_implementation(totals: dict[int, int], cap: int) -> None:
    credited = share_cap(totals, cap)
    assert credited == reference.capped(totals, cap)
    assert sum(credited.values()) == min(cap, sum(totals.values()))
    assert all(credited[i] <= totals[i] for i in credited)


def test_the_remainder_goes_to_those_rounded_down_only() -> None:
    assert share_cap({0: 2, 1: 1, 2: 1}, 2) == {0: 1, 1: 1}


@given(st.integers(0, 10**20), st.integers(0, 10**24), st.integers(0, 2000), st.integers(1, 2**63))
def test_wages_never_exceed_the_promise_nor_the_escrow(wage: int, escrow: int, fee: int, total: int) -> None:
    scaled = wage_scaled(wage, escrow, fee, total)
    assert scaled <= wage << 64
    paid = -(-total * scaled >> 64) if scaled else 0
    assert (total * scaled >> 64) * (10_000 + fee) <= escrow * 10_000 + 10_000 + fee
    assert paid * 10_000 <= escrow * 10_000
    assert wage_scaled(wage, escrow, fee, 0) == 0


def test_leaves_add_credits_debt_and_wages() -> None:
    old = Leaf(1, "0x" + "11" * 20, 10, 20, 30)
    new = next_leaves([old], {1: 5, 4: 7}, 3, 2, {4: "0x" + "44" * 20})
    assert new == (Leaf(1, old.provider, 15, 35, 40), Leaf(4, "0x" + "44" * 20, 7, 21, 14))
    for credited in ({9: 1}, {1: 0}):
        with pytest.raises(FormatError):
            next_leaves([old], credited, 3, 2, {})


def test_totals_leave_out_those_without_credits() -> None:
    lines = itemise([RoundEvidence(record(1, {0: 10**9, 1: 1}))], P, RULE)
    assert list(total_by_index(lines)) == [0]
