"""What may be copied is found by exact cosines of a drawn sample: perturbed, scaled, old, or a part to the byte."""

import hashlib
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commonweight.exact.arrays import F32
from commonweight.exact.copies import Copy, Shown, alike, coordinates, copies, memory_steps
from commonweight.protocol.records import Commitment
from commonweight.protocol.runconfig import RunConfig
from tests.golden.golden_round import build, config_json

pytestmark = pytest.mark.unit

CONFIG = RunConfig.parse(config_json())
UNSEEN = RunConfig.parse({**config_json(), "data": {**config_json()["data"], "private_credit_bps": 1000}})
MADE = build()
SIZE = 4000


def noise(seed: int) -> F32:
    return np.random.default_rng(seed).normal(size=SIZE).astype(np.float32)


def shown(index: int, sample: F32, first_ms: int, *, round_: int = 5, steps: int = 20, last: int = 100) -> Shown:
    body: Commitment = MADE.commitment_bodies[0]
    part = replace(body.parts[0], digest="0x" + hashlib.sha256(sample.tobytes()).hexdigest())
    trace = replace(body.trace, previous="0x" + "aa" * 32, last=replace(body.trace.last, step=last))
    body = replace(body, index=index, round=round_, steps=steps, parts=(part,), trace=trace)
    return Shown(body, f"0x{index:064x}", first_ms, sample)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2, 0.45])
@pytest.mark.parametrize("scale", [1.0, 0.01, 30.0])
def test_a_perturbed_or_scaled_copy_is_found_and_where_nobody_replays_it_is_the_later_one(
    share: float, scale: float
) -> None:
    original, other = shown(7, noise(1), 10), shown(3, noise(2), 5)
    copier = shown(1, (np.float32(scale) * (noise(1) + np.float32(share) * noise(3))).astype(np.float32), 11)
    early = replace(copier, first_ms=9)
    for new in ([copier, other, original], [original, other, copier], [original, other, early]):
        assert copies(new, [], CONFIG) == {1: Copy(7, 5), 7: Copy(1, 5)}, "who copies may commit first"
    assert copies([copier, other, original], [], UNSEEN) == {1: Copy(7, 5)}
    assert copies([original, other, copier], [], UNSEEN) == {1: Copy(7, 5)}
    assert copies([original, other, early], [], UNSEEN) == {7: Copy(1, 5)}


def test_a_part_that_is_anothers_to_the_byte_is_enough_unless_it_is_empty() -> None:
    first, second = shown(1, noise(1), 1), shown(2, noise(2), 2)
    for norm2, expected in ((1.0, {1: Copy(2, 5), 2: Copy(1, 5)}), (0.0, {})):
        part = replace(first.commitment.parts[0], norm2=norm2)
        one = replace(first, commitment=replace(first.commitment, parts=(part,)))
        two = replace(second, commitment=replace(second.commitment, parts=(*second.commitment.parts, part)))
        assert copies([one, two], [], CONFIG) == expected


def test_of_two_at_once_the_greater_digest_is_the_copy_where_nobody_replays() -> None:
    assert copies([shown(4, noise(1), 10), shown(2, noise(1), 10)], [], UNSEEN) == {4: Copy(2, 5)}


def test_honest_work_with_much_in_common_is_no_copy() -> None:
    common = noise(1)
    members = [shown(i, (common + np.float32(0.45) * noise(10 + i)), i) for i in range(4)]  # cosine 0.83
    assert copies(members, [], CONFIG) == {}
    assert copies([shown(0, common, 1), shown(1, -common, 2), shown(2, np.zeros_like(common), 3)], [], CONFIG) == {}


def test_few_steps_share_their_momentum_and_need_a_higher_cosine() -> None:
    near = noise(1) + np.float32(0.35) * noise(2)  # cosine 0.94
    for steps, expected in ((20, {0: Copy(1, 5), 1: Copy(0, 5)}), (19, {0: Copy(1, 5)})):
        assert copies([shown(0, noise(1), 1), shown(1, near, 2, steps=steps)], [], CONFIG) == expected
    nearer = noise(1) + np.float32(0.1) * noise(2)
    assert 1 in copies([shown(0, noise(1), 1), shown(1, nearer, 2, steps=1)], [], CONFIG)


def test_older_work_of_anyone_is_never_the_copy_and_ones_own_counts_after_the_momentum_is_gone() -> None:
    old = shown(1, noise(1), 99, round_=3, last=80)
    assert copies([shown(2, noise(1), 1)], [old], CONFIG) == {2: Copy(1, 3)}
    near = noise(1) + np.float32(0.1) * noise(2)
    assert copies([shown(1, near, 1, last=100)], [old], CONFIG) == {1: Copy(1, 3)}
    assert copies([shown(1, near, 1, steps=1, last=81)], [old], CONFIG) == {}
    assert copies([shown(1, noise(1), 1, steps=1, last=81)], [old], CONFIG) == {1: Copy(1, 3)}
    fresh = shown(1, near, 1, steps=1, last=81)
    fresh = replace(fresh, commitment=replace(fresh.commitment, trace=replace(fresh.commitment.trace, previous=None)))
    assert copies([fresh], [old], CONFIG) == {1: Copy(1, 3)}


def test_the_momentums_memory_follows_from_beta() -> None:
    assert [memory_steps(beta) for beta in ("0.9", "0.95", "0", "0.85", "1")] == [20, 40, 2, 14, 2**62]


@given(st.integers(1, 9_999), st.integers(-500, 500), st.integers(-500, 500))
def test_the_comparison_is_exact(bps: int, x: int, y: int) -> None:
    a, b = np.array([1, 0], np.float32), np.array([x, y], np.float32)
    right = x > 0 and x * x * 10**8 > (x * x + y * y) * bps * bps
    assert alike(a, b, bps) == alike(b, a, bps) == right


def test_a_cosine_that_equals_the_bound_is_allowed() -> None:
    a, b = np.array([1, 0], np.float32), np.array([4, 3], np.float32)
    assert [alike(a, b, bps) for bps in (7_999, 8_000, 8_001)] == [True, False, False]


def test_the_sample_follows_from_the_record_and_covers_the_vector() -> None:
    first, second = "0x" + "11" * 32, "0x" + "22" * 32
    assert coordinates(first, 1000).tolist() == list(range(1000))
    numel = 10**7 + 13
    at = coordinates(first, numel)
    assert at.size == len(set(at.tolist())) == 65_536
    assert 0 <= at.min() < at.max() < numel
    assert np.array_equal(at, coordinates(first, numel))
    assert len(set(at.tolist()) & set(coordinates(second, numel).tolist())) < 3_000
    assert math.isclose(float(at.mean()) / numel, 0.5, abs_tol=0.05)
