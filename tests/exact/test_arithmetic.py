"""Norms, codecs, aggregation and the outer step against the plain implementation, bit for bit."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from commonweight.errors import PayloadError, TrainingError
from commonweight.exact.aggregate import Contribution, aggregate_part, coordinate_median
from commonweight.exact.arrays import as_f32, to_bytes
from commonweight.exact.codecs import decode, encode, encoded_size, requantise
from commonweight.exact.norms import DotsWithin, dot, norm2
from commonweight.exact.outer import outer_step
from commonweight.protocol.runconfig import CODECS, METHODS, Aggregation
from tests.exact import reference

pytestmark = pytest.mark.unit

ANY = st.floats(width=32, allow_nan=False, allow_infinity=False)
MODERATE = st.floats(-(2.0**100), 2.0**100, width=32)
TINY = reference.f32(1e-45)
NARROW = st.one_of(st.floats(-4, 4, width=32), st.sampled_from([0.0, -0.0, 0.5, 1.5, 2.5, TINY, -TINY]))


def vector(values: list[float]) -> np.ndarray:
    return np.array(values, np.float32)


def same(a: np.ndarray, b: list[float]) -> bool:
    return to_bytes(a) == reference.bits(b)


@given(st.lists(ANY, max_size=60))
@settings(max_examples=200, deadline=None)
def test_a_norm_is_the_exact_sum_rounded_once(values: list[float]) -> None:
    assert norm2(vector(values)) == reference.dot(values, values)


@given(st.lists(st.tuples(ANY, ANY), max_size=60))
@settings(max_examples=200, deadline=None)
def test_a_dot_product_is_the_exact_sum_rounded_once(pairs: list[tuple[float, float]]) -> None:
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    assert dot(vector(a), vector(b)) == reference.dot(a, b)


def ends_of(rows: list[np.ndarray], y: np.ndarray, piece: int) -> list[tuple[float, float]]:
    """The bounds of dot products, from pieces."""
    sums = DotsWithin([math.sqrt(norm2(row)) for row in rows])
    for start in range(0, y.size, piece):
        at = slice(start, start + piece)
        with np.errstate(over="ignore", invalid="ignore"):
            sums.add([row[at] for row in rows], y[at])
    return sums.ends()


@given(st.lists(st.tuples(ANY, ANY), max_size=60))
@settings(max_examples=200, deadline=None)
def test_a_dot_product_lies_within_its_bounds(pairs: list[tuple[float, float]]) -> None:
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    (low, high), (least, most) = ends_of([vector(a), vector(b)], vector(b), 7)
    assert low <= reference.dot(a, b) <= high
    assert least <= reference.dot(b, b) <= most


@pytest.mark.parametrize("piece", [1 << 10, 1 << 15])
def test_bounds_of_dot_products_are_narrow_beside_the_lengths(piece: int) -> None:
    random = np.random.default_rng(5)
    a, b = (random.standard_normal(100_000).astype(np.float32) for _ in range(2))
    ((low, high),) = ends_of([a], b, piece)
    exact, lengths = dot(a, b), math.sqrt(norm2(a) * norm2(b))
    assert low <= exact <= high
    assert high - low < 2.0**-21 * piece * lengths


def test_pieces_too_long_for_bounds_are_refused() -> None:
    ones = np.ones(1 << 21, np.float32)
    with pytest.raises(ValueError, match="too long"):
        ends_of([ones], ones, ones.size)


@pytest.mark.parametrize(("codec", "units"), [("int8", 190), ("int4", 10)])
def test_no_code_exceeds_the_top_where_scales_are_subnormal(codec: str, units: int) -> None:
    x = [units * 2.0**-149, -units * 2.0**-149, *[0.0] * 6]  # the scale, units / 127 or 7, rounds to one unit
    data = encode(vector(x), codec, 8)
    assert data == reference.encode(x, codec, 8)
    assert same(decode(data, 8, codec, 8), reference.decode(data, 8, codec, 8))


@pytest.mark.parametrize("size", [3, 40_000])
@pytest.mark.parametrize(
    ("smallest", "rounded"), [(0.0, 1.0), (2.0**-60, 1.0 + 2.0**-52), (-(2.0**-60), 1.0)], ids=["tie", "above", "below"]
)
def test_a_sum_next_to_where_rounding_turns_is_rounded_rightly(size: int, smallest: float, rounded: float) -> None:
    a, b = np.zeros(size, np.float32), np.zeros(size, np.float32)
    a[[0, 1, -1]] = [1.0, 2.0**-26, smallest]
    b[[0, 1, -1]] = [1.0, 2.0**-27, 2.0**-60]
    assert dot(a, b) == rounded


@given(st.lists(st.tuples(ANY, ANY), min_size=1, max_size=30))
@settings(max_examples=100, deadline=None)
def test_full_cancellation_is_zero_and_positive(pairs: list[tuple[float, float]]) -> None:
    a = vector([x for x, _ in pairs] * 2)
    b = vector([y for _, y in pairs] + [-y for _, y in pairs])
    assert math.copysign(1, dot(a, b)) == 1
    assert dot(a, b) == 0


@pytest.mark.parametrize("size", [32_767, 32_768, 32_769, 200_001])
def test_long_vectors_are_summed_exactly_across_chunks(size: int) -> None:
    rng = np.random.default_rng(size)
    a = (rng.standard_normal(size) * np.exp(8 * rng.standard_normal(size))).astype(np.float32)
    b = (rng.standard_normal(size) * np.exp(8 * rng.standard_normal(size))).astype(np.float32)
    assert dot(a, b) == math.fsum((a.astype(np.float64) * b.astype(np.float64)).tolist())
    shuffled = rng.permutation(size)
    assert dot(a[shuffled], b[shuffled]) == dot(a, b)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_chunk_full_of_the_largest_values_is_summed_exactly(sign: int) -> None:
    rng = np.random.default_rng(7)
    for _ in range(20):
        a = rng.uniform(0.95, 1.0, 32_768).astype(np.float32)
        b = np.float32(sign) * rng.uniform(0.95, 1.0, 32_768).astype(np.float32)
        assert dot(a, b) == math.fsum((a.astype(np.float64) * b.astype(np.float64)).tolist())


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 40_000])
def test_what_is_not_finite_has_no_norm(bad: float, place: int) -> None:
    x = np.ones(50_000, np.float32)
    x[place] = bad
    with pytest.raises(PayloadError):
        norm2(x)
    with pytest.raises(PayloadError):
        dot(np.zeros(50_000, np.float32), x)


def test_norms_take_flat_float32_of_one_length_only() -> None:
    for a, b in (
        (np.ones(2), np.ones(2)),
        (np.ones((2, 2), np.float32),) * 2,
        (np.ones(2, np.float32), np.ones(3, np.float32)),
    ):
        with pytest.raises(PayloadError):
            dot(a, b)
    with pytest.raises(PayloadError):
        as_f32(np.ones(2))


@pytest.mark.parametrize("codec", CODECS)
@given(st.lists(st.one_of(NARROW, MODERATE), min_size=1, max_size=70), st.sampled_from([8, 16, 264]))
@settings(max_examples=60, deadline=None)
def test_codecs_equal_the_plain_implementation(codec: str, values: list[float], block: int) -> None:
    data = encode(vector(values), codec, block)
    assert data == reference.encode(values, codec, block)
    assert len(data) == encoded_size(len(values), codec, block)
    assert same(decode(data, len(values), codec, block), reference.decode(data, len(values), codec, block))


@pytest.mark.parametrize(
    ("codec", "bound"),
    [
        *[("fp32", 0), ("fp16", 1 / 1024), ("int8", 0.51 / 127), ("int4", 0.51 / 7), ("int2", 0.44), ("int1", 1)],
        ("ternary", 0.9),
    ],
)
@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=70))
@settings(max_examples=40, deadline=None)
def test_decoded_values_are_as_close_as_the_codec_promises(codec: str, bound: float, values: list[float]) -> None:
    x = vector(values)
    back = decode(encode(x, codec, 8), x.size, codec, 8)
    for start in range(0, x.size, 8):
        piece = slice(start, start + 8)
        largest = float(np.max(np.abs(x[piece])))
        assert float(np.max(np.abs(back[piece] - x[piece]))) <= bound * largest + 1e-7


@pytest.mark.parametrize("codec", CODECS)
def test_a_block_too_small_for_a_scale_is_encoded_as_zeros(codec: str) -> None:
    for values in ([-TINY] * 9, [TINY, -TINY, 0.0]):
        assert encode(vector(values), codec, 8) == reference.encode(values, codec, 8)


def test_a_block_of_zeros_decodes_to_zeros() -> None:
    for codec in CODECS:
        assert not decode(encode(np.zeros(20, np.float32), codec, 8), 20, codec, 8).any()


@pytest.mark.parametrize("codec", CODECS)
def test_what_cannot_be_encoded_is_refused(codec: str) -> None:
    for bad in (math.nan, math.inf, 1e38):
        with pytest.raises(PayloadError):
            encode(vector([1.0, bad]), codec, 8)


def flipped(data: bytes, place: int, value: int) -> bytes:
    return data[:place] + bytes([value]) + data[place + 1 :]


@pytest.mark.parametrize("codec", CODECS)
def test_every_other_length_is_refused(codec: str) -> None:
    data = encode(vector([1.0] * 13), codec, 8)
    for wrong in (data[:-1], data + b"\0", b""):
        with pytest.raises(PayloadError):
            decode(wrong, 13, codec, 8)


def test_impossible_bytes_are_refused() -> None:
    x = vector([1.0] * 13)
    scale = {bad: np.array([bad], "<f4").tobytes() for bad in (math.inf, math.nan, -1.0, -0.0)}
    for codec in ("int8", "int4", "int2", "int1", "ternary", "topk2"):
        data = encode(x, codec, 8)
        for bad in scale.values():
            with pytest.raises(PayloadError):
                decode(bad + data[4:], 13, codec, 8)
    for codec, word in (("fp32", b"\0\0\x80\x7f"), ("fp16", b"\0\x7c")):
        data = encode(x, codec, 8)
        with pytest.raises(PayloadError):
            decode(word + data[len(word) :], 13, codec, 8)
    cases = [
        ("int8", flipped(encode(x, "int8", 8), 8, 0x80)),
        ("int4", flipped(encode(x, "int4", 8), 8, 0xF0)),
        ("int4", flipped(encode(x, "int4", 8), -1 + len(encode(x, "int4", 8)), 0x9F)),
        ("int2", flipped(encode(x, "int2", 8), -1 + len(encode(x, "int2", 8)), 0x03)),
        ("int1", flipped(encode(x, "int1", 8), -1 + len(encode(x, "int1", 8)), 0x1F)),
        ("ternary", flipped(encode(x, "ternary", 8), 8, 243)),
        ("ternary", flipped(encode(x, "ternary", 8), -1 + len(encode(x, "ternary", 8)), 0)),
        ("topk2", flipped(encode(x, "topk2", 8), 8, 8)),
        ("topk2", flipped(encode(x, "topk2", 8), 9, 5)),
    ]
    for codec, data in cases:
        with pytest.raises(PayloadError):
            decode(data, 13, codec, 8)
    with pytest.raises(PayloadError):
        decode(np.array([3e38], "<f4").tobytes() + b"\x7f" * 8, 8, "int8", 8)
    with pytest.raises(PayloadError):
        encoded_size(8, "int9", 8)


def test_kept_places_ascend_across_blocks() -> None:
    x = np.zeros(80, np.float32)
    x[[3, 7, 41]] = 1.0
    data = bytearray(encode(x, "topk2", 40))
    assert list(data[8:12]) == [3, 7, 0, 1]
    data[8], data[9] = data[9], data[8]
    with pytest.raises(PayloadError):
        decode(bytes(data), 80, "topk2", 40)


def test_a_place_beyond_its_block_is_refused_though_all_ascend() -> None:
    x = np.zeros(80, np.float32)
    x[[3, 7, 47, 49]] = 1.0
    data = bytearray(encode(x, "topk2", 40))
    assert list(data[8:12]) == [3, 7, 7, 9]
    data[9] = 45
    with pytest.raises(PayloadError):
        decode(bytes(data), 80, "topk2", 40)


@given(st.lists(NARROW, min_size=1, max_size=40), st.sampled_from(CODECS))
def test_requantising_gives_what_everyone_decodes(values: list[float], codec: str) -> None:
    data, x = requantise(vector(values), codec, 8)
    assert to_bytes(x) == to_bytes(decode(data, len(values), codec, 8))


@st.composite
def members(draw) -> tuple[list[list[float]], list[int]]:
    count, length = draw(st.integers(1, 15)), draw(st.integers(1, 6))
    value = draw(st.sampled_from([NARROW, MODERATE]))
    rows = [draw(st.lists(value, min_size=length, max_size=length)) for _ in range(count)]
    return rows, draw(st.lists(st.integers(1, 10**6), min_size=count, max_size=count))


@pytest.mark.parametrize("method", METHODS)
@given(members(), st.integers(0, 4999), st.sampled_from([0.5, 1, 3]))
@settings(max_examples=80, deadline=None)
def test_aggregation_equals_the_plain_implementation(method: str, given_members, trim_bps: int, share: float) -> None:
    rows, weights = given_members
    planned = max(1, int(sum(weights) * share))
    rule = Aggregation(method=method, trim_bps=trim_bps)
    contributions = [Contribution(2 * i, vector(row), weights[i]) for i, row in enumerate(rows)]
    expected, kept, clipped = reference.aggregate(rows, weights, method, trim_bps, planned)
    assume(all(math.isfinite(value) for value in expected))
    result = aggregate_part(contributions[::-1], rule, planned)
    assert [2 * i for i in kept] == list(result.kept)
    assert [2 * i for i in clipped] == list(result.clipped)
    assert same(result.x, expected)


@given(st.permutations(range(13)))
@settings(max_examples=20, deadline=None)
def test_few_and_many_members_are_sorted_alike(order: list[int]) -> None:
    rng = np.random.default_rng(3)
    rows = [rng.standard_normal(20).astype(np.float32) for _ in range(13)]
    rows[3][:5] = -0.0
    rows[4][:5] = 0.0
    many = coordinate_median([rows[i] for i in order])
    assert same(many, [reference.median([float(row[i]) for row in rows]) for i in range(20)])
    few = coordinate_median([rows[i] for i in order if i < 12])
    assert same(few, [reference.median([float(row[i]) for row in rows[:12]]) for i in range(20)])


def mean_of(rows: list[np.ndarray], weights: list[int], planned: int | None = None):
    return aggregate_part(
        [Contribution(i, row, w) for i, (row, w) in enumerate(zip(rows, weights, strict=True))], Aggregation(), planned
    )


def test_a_liar_is_clipped_or_left_out() -> None:
    rng = np.random.default_rng(5)
    trend = rng.standard_normal(500).astype(np.float32)
    honest = [trend + rng.standard_normal(500).astype(np.float32) for _ in range(3)]
    clean = mean_of(honest, [1, 1, 1]).x
    loud = mean_of([*honest, honest[0] * np.float32(100)], [1] * 4)
    assert 3 in loud.clipped
    assert np.linalg.norm(loud.x) < 2 * np.linalg.norm(clean)
    turned = mean_of([*honest, -honest[0]], [1] * 4)
    assert turned.kept == (0, 1, 2)


def test_noise_is_left_out_though_it_points_nowhere_but_short_honest_steps_are_kept() -> None:
    rng = np.random.default_rng(6)
    trend = rng.standard_normal(4000).astype(np.float32)
    rows = [trend + rng.standard_normal(4000).astype(np.float32) for _ in range(6)]
    rows[5] = rows[5] * np.float32(0.05)
    noise = [5 * rng.standard_normal(4000).astype(np.float32) for _ in range(2)]
    assert mean_of([*rows, *noise], [1] * 8).kept == (0, 1, 2, 3, 4, 5)
    assert mean_of([*rows, np.zeros(4000, np.float32)], [1] * 7).kept == (0, 1, 2, 3, 4, 5)
    assert mean_of([np.zeros(8, np.float32)] * 3, [1] * 3).kept == (0, 1, 2)


@pytest.mark.parametrize(("first", "kept"), [(5.0, (0, 1, 2)), (np.nextafter(np.float32(5.0), 0), (0, 1))])
def test_who_goes_half_the_usual_way_is_kept_to_the_last_bit(first: float, kept: tuple[int, ...]) -> None:
    along, aside = np.array([10.0, 0.0, 0.0, 0.0], np.float32), np.array([first, 5.0, 5.0, 5.0], np.float32)
    assert mean_of([along, along, aside], [1] * 3).kept == kept


def test_none_is_left_out_where_the_kept_would_hold_under_half_the_plan() -> None:
    rows = [np.array([1.0, 1.0], np.float32), np.array([1.0, 1.0], np.float32), np.array([-1.0, -1.0], np.float32)]
    assert mean_of(rows, [1, 1, 1]).kept == (0, 1)
    assert mean_of(rows, [1, 1, 1], planned=4).kept == (0, 1)
    assert mean_of(rows, [1, 1, 1], planned=5).kept == (0, 1, 2)
    assert mean_of(rows, [1, 1, 10]).kept == (0, 1, 2)


def test_a_single_member_is_its_own_mean() -> None:
    row = np.array([1.0, -2.0], np.float32)
    for method in METHODS:
        assert to_bytes(aggregate_part([Contribution(4, row, 7)], Aggregation(method=method)).x) == to_bytes(row)


def test_impossible_contributions_are_refused() -> None:
    one, two = np.ones(1, np.float32), np.ones(2, np.float32)
    for wrong in (
        [],
        [Contribution(0, one, 1), Contribution(0, one, 1)],
        [Contribution(0, one, 1), Contribution(1, two, 1)],
        [Contribution(0, one, 0)],
    ):
        with pytest.raises(PayloadError):
            aggregate_part(wrong, Aggregation())
    huge = np.full(2, 3e38, np.float32)
    with pytest.raises(PayloadError):
        aggregate_part([Contribution(i, huge, 1) for i in range(3)], Aggregation(method="trimmed-mean", trim_bps=0))


@given(
    st.lists(st.tuples(NARROW, NARROW, NARROW), min_size=1, max_size=20),
    st.sampled_from(["0.7", "1", "3e-3"]),
    st.sampled_from(["0", "0.9"]),
)
def test_the_outer_step_equals_the_plain_implementation(rows, lr: str, momentum: str) -> None:
    w, buf, g = ([float(value) for value in column] for column in zip(*rows, strict=True))
    expected = reference.outer(w, buf, g, lr, momentum)
    got = outer_step(vector(w), vector(buf), vector(g), lr, momentum)
    assert same(got[0], expected[0])
    assert same(got[1], expected[1])


def test_an_outer_step_that_overflows_is_an_error() -> None:
    huge = np.full(1, 3e38, np.float32)
    with pytest.raises(TrainingError):
        outer_step(huge, huge, -huge, "100", "0.9")
