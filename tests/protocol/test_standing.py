"""Replay rates, stakes and carried credits: pure integers, and what they promise to providers and against cheats."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commonweight.errors import FormatError
from commonweight.protocol import listing
from commonweight.protocol.listing import make_list
from commonweight.protocol.runconfig import Verification
from commonweight.protocol.standing import (
    Exposure,
    Final,
    Member,
    Outcome,
    Standing,
    advance,
    exposure,
    repeaters,
    replay_rate,
    stake_limit,
)

pytestmark = pytest.mark.unit

RULE = Verification(replay_rate_bps=8_000, replay_rate_min_bps=500)
AMOUNTS = st.dictionaries(st.integers(0, 30), st.integers(1, 10**6), max_size=12)
LIMITS = st.dictionaries(st.integers(0, 30), st.one_of(st.none(), st.integers(0, 10**6)), max_size=31)


@given(
    st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**12), st.integers(0, 2**80), st.integers(0, 10**9)
)
def test_a_rate_falls_with_honest_draws_and_never_below_what_could_be_lost(
    passed: int, more: int, at_risk: int, value: int, stake: int
) -> None:
    rate = replay_rate(RULE, passed, at_risk, value, stake)
    assert replay_rate(RULE, passed + more, at_risk, value, stake) <= rate
    assert replay_rate(RULE, passed, at_risk + more, value, stake) >= rate
    assert replay_rate(RULE, passed, at_risk, value, stake + more) <= rate
    assert RULE.replay_rate_min_bps <= rate <= 10_000
    covered = rate * (stake << 64) >= min(at_risk * value, stake << 64) * 10_000
    assert covered


def test_a_rate_halves_after_eight_draws_and_starts_at_the_runs_own() -> None:
    assert [replay_rate(RULE, passed, 0, 0, 1) for passed in (0, 8, 24, 10**6)] == [8_000, 4_000, 2_000, 500]
    assert replay_rate(Verification(replay_rate_bps=300), 50, 0, 0, 1) == 300
    assert replay_rate(RULE, 10**6, 3, 1 << 64, 10) == 3_000
    assert replay_rate(RULE, 10**6, 1, 1, 0) == 10_000


def test_what_can_be_revoked_has_the_value_of_the_last_dispute_period() -> None:
    closings = {0: (100, 5 << 64), 1: (200, 7 << 64), 2: (300, 7 << 64), 3: (400, 12 << 64)}
    finals = {0: Final({1: 10}, 99 << 64), 1: Final({1: 20, 4: 1}, 2 << 64), 2: Final({4: 30}, 3 << 64)}
    found = exposure(3, closings, finals, 150, 0)
    assert found.revocable == {1: 20, 4: 31}
    assert found.value == (3 + 12 - 7) << 64
    assert exposure(3, closings, finals, 10**6, 0).revocable == {1: 30, 4: 31}
    assert exposure(3, closings, finals, 0, 6) == Exposure(6 << 64, {})
    assert exposure(0, closings, {}, 150, 0) == Exposure(5 << 64, {})


@given(st.integers(0, 10**12), st.integers(1, 2**90), st.integers(0, 10**6))
def test_a_stake_covers_what_could_be_revoked_and_no_more(stake: int, value: int, revocable: int) -> None:
    limit = stake_limit(stake, Exposure(value, {3: revocable}), 3)
    assert limit is not None
    assert limit == 0 or (revocable + limit) * value <= stake << 64
    assert (revocable + limit + 1) * value > stake << 64
    assert stake_limit(stake, Exposure(0, {3: revocable}), 3) is None


@given(AMOUNTS, AMOUNTS, st.integers(0, 31), LIMITS)
def test_verified_work_is_listed_or_waits_and_never_lost(earned, carried, start, limits) -> None:
    made = make_list(earned, carried, start, limits.get, 10**12)
    total = {i: earned.get(i, 0) + carried.get(i, 0) for i in {*earned, *carried}}
    assert {i: made.credited.get(i, 0) + made.carried.get(i, 0) for i in total} == total
    assert set(made.credited) | set(made.carried) <= set(total)
    for index, amount in made.credited.items():
        room = limits.get(index)
        assert 0 < amount <= (total[index] if room is None else room)
    assert all(0 < amount <= made.carried[index] for index, amount in made.over_stake.items())
    assert list(made.credited) == sorted(made.credited)


@given(AMOUNTS, st.integers(0, 10**6))
def test_the_list_never_exceeds_the_cap(earned: dict[int, int], cap: int) -> None:
    assert sum(make_list(earned, {}, 0, lambda _: None, cap).credited.values()) == min(cap, sum(earned.values()))


def test_whoever_finds_no_place_is_first_on_the_next_list() -> None:
    earned = dict.fromkeys(range(25_000), 2)
    standing, listed = Standing(), dict.fromkeys(earned, 0)
    for epoch in range(3):
        made = make_list(earned if epoch < 2 else {}, standing.carried, standing.next, lambda _: None, 10**9)
        assert len(made.credited) == 10_000
        for index, amount in made.credited.items():
            listed[index] += amount
        standing = advance(standing, epoch, RULE, {}, made.carried, made.start, made.credited, Exposure(0, {}), {})
    assert set(listed.values()) == {2, 4}
    assert standing.next == 5_000
    assert sum(listed.values()) + sum(standing.carried.values()) == 2 * 50_000
    assert min(listed.values()) > 0


def test_a_place_is_not_wasted_on_a_stake_that_covers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_ENTRIES", 2)
    made = make_list({0: 5, 1: 5, 2: 5, 3: 5}, {}, 0, {0: 0, 1: 3, 2: 9, 3: 9}.get, 100)
    assert (made.credited, made.carried, made.over_stake) == ({1: 3, 2: 5}, {0: 5, 1: 2, 3: 5}, {0: 5, 1: 2})
    assert made.start == 3


def test_a_failed_draw_ends_the_history_and_a_repeat_is_told() -> None:
    honest = {0: Outcome(passed=24), 1: Outcome(passed=24)}
    before = advance(Standing(), 0, RULE, honest, {}, 0, {}, Exposure(0, {}), {})
    assert {i: m.rate_bps for i, m in before.members.items()} == {0: 2_000, 1: 2_000}
    said = {0: Outcome(passed=3, failed=1), 1: Outcome(passed=1, wrong=True)}
    after = advance(before, 1, RULE, said, {}, 0, {}, Exposure(0, {}), {})
    assert after.members == {0: Member(0, 1, 8_000), 1: Member(0, 0, 8_000)}
    assert repeaters(before, said) == ()
    assert repeaters(after, said) == (0,)
    assert repeaters(Standing(), {7: Outcome(failed=2)}) == (7,)
    quiet = advance(after, 2, RULE, {}, {}, 0, {}, Exposure(0, {}), {})
    assert quiet.members[0].failed == 1


def test_carried_credits_keep_the_epoch_of_the_oldest() -> None:
    first = advance(Standing(), 4, RULE, {}, {2: 7}, 2, {}, Exposure(0, {}), {})
    second = advance(first, 6, RULE, {}, {2: 9}, 2, {}, Exposure(0, {}), {})
    assert (second.members[2].carried, second.members[2].since) == (9, 4)
    third = advance(second, 7, RULE, {}, {}, 0, {2: 9}, Exposure(1 << 64, {}), {2: 18})
    assert (third.members[2].carried, third.members[2].since, third.members[2].rate_bps) == (0, -1, 8_000)


MEMBERS = st.builds(
    lambda p, f, r, c, s: Member(p, f, r, c, s if c else -1),
    st.integers(0, 99), st.integers(0, 9), st.integers(1, 10_000), st.integers(0, 2**64 - 1), st.integers(0, 99),
)  # fmt: skip


@given(st.integers(0, 99), st.integers(0, 9), st.dictionaries(st.integers(0, 2**32 - 1), MEMBERS, max_size=5))
def test_a_standing_survives_the_way_there_and_back(epoch: int, start: int, members: dict[int, Member]) -> None:
    standing = Standing(epoch, start, members)
    assert Standing.load(standing.to_bytes()) == standing


@pytest.mark.parametrize(
    "change", [('"since":null', '"since":3'), ('"rate_bps":9', '"rate_bps":0'), ('"index":1', '"index":0')]
)
def test_a_standing_that_contradicts_itself_is_refused(change: tuple[str, str]) -> None:
    text = Standing(1, 0, {0: Member(1, 0, 9), 1: Member(1, 0, 9)}).to_bytes().decode()
    assert change[0] in text
    with pytest.raises(FormatError):
        Standing.load(text.replace(*change).encode())
