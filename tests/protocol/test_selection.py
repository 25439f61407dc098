"""Data selection, parts and draws: integer rules against the plain implementation, and the facts they promise."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonweight.errors import DataError, FormatError
from commonweight.protocol.data import DataManifest, Shard, Split, Tokenizer, locate, sample_windows, window_at, windows
from commonweight.protocol.draws import doubted_segment, draw_round
from commonweight.protocol.parts import part_range, part_ranges
from tests.protocol import reference

pytestmark = pytest.mark.unit

SEED = b"s" * 32
SHARDS = st.lists(st.integers(0, 200), min_size=1, max_size=6)


def split_of(sizes: list[int]) -> Split:
    return Split(tuple(Shard(f"s{i}.bin", size, "0x" + "00" * 32, "") for i, size in enumerate(sizes)))


@given(st.integers(1, 400))
@settings(max_examples=40, deadline=None)
def test_every_window_comes_once_in_each_pass(total: int) -> None:
    for turn in (0, 3):
        assert sorted(window_at(SEED, turn * total + place, total) for place in range(total)) == list(range(total))


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**40), st.integers(1, 10**7))
@settings(max_examples=60, deadline=None)
def test_windows_equal_the_plain_implementation(seed: bytes, position: int, total: int) -> None:
    assert window_at(seed, position, total) == reference.window(seed, position, total)


def test_disjoint_positions_give_disjoint_windows_until_the_data_is_used_up() -> None:
    total = 480
    taken = [w for member in range(4) for step in range(15) for w in sample_windows(SEED, member * 120, step, 8, total)]
    assert len(set(taken)) == len(taken) == total


@given(
    st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=5), min_size=1, max_size=5),
    st.integers(1, 6),
    st.integers(0, 3),
    st.integers(1, 300),
)
@settings(max_examples=60, deadline=None)
def test_no_window_repeats_between_members_and_rounds_before_all_were_used(
    rounds: list[list[int]], batch: int, gap: int, total: int
) -> None:
    """Ranges as plans give them: one after the other, of members with different steps, with gaps or without."""
    start, taken = 0, []
    for steps_of_members in rounds:
        for steps in steps_of_members:
            taken += [w for step in range(steps) for w in sample_windows(SEED, start, step, batch, total)]
            start += steps * batch + gap
    first_pass = [w for w, position in zip(taken, _positions(rounds, batch, gap), strict=True) if position < total]
    assert len(set(first_pass)) == len(first_pass)
    assert max(Counter(taken).values()) <= -(-start // total)


def _positions(rounds: list[list[int]], batch: int, gap: int) -> list[int]:
    start, found = 0, []
    for steps in (steps for members in rounds for steps in members):
        found += range(start, start + steps * batch)
        start += steps * batch + gap
    return found


@given(SHARDS, st.integers(1, 20))
def test_windows_lie_within_one_shard_and_never_overlap(sizes: list[int], seq_len: int) -> None:
    split = split_of(sizes)
    predicted = set()
    for number in range(windows(split, seq_len)):
        place = locate(split, seq_len, number)
        assert place.offset + seq_len + 1 <= sizes[place.shard]
        tokens = {(place.shard, place.offset + 1 + i) for i in range(seq_len)}
        assert not tokens & predicted
        predicted |= tokens
    assert len(predicted) >= sum(max(0, size - seq_len) for size in sizes)
    with pytest.raises(DataError):
        locate(split, seq_len, windows(split, seq_len))


def test_no_data_is_an_error_by_name() -> None:
    with pytest.raises(DataError):
        window_at(SEED, 0, 0)


@given(st.integers(1, 5000), st.sampled_from([8, 16, 128]), st.integers(1, 40))
def test_parts_cover_the_vector_in_order_at_block_boundaries(numel: int, block: int, parts: int) -> None:
    blocks = -(-numel // block)
    if parts > blocks:
        with pytest.raises(FormatError):
            part_ranges(numel, block, parts)
        return
    spans = part_ranges(numel, block, parts)
    assert [span.start for span in spans] == [0, *(span.stop for span in spans[:-1])]
    assert spans[-1].stop == numel
    assert all(span.start % block == 0 and span.size > 0 for span in spans)
    assert max(span.size for span in spans) - min(span.size for span in spans) <= 2 * block
    with pytest.raises(FormatError):
        part_range(numel, block, parts, parts)


@given(
    st.binary(min_size=32, max_size=32),
    st.integers(0, 2**40),
    st.dictionaries(st.integers(0, 2**32 - 1), st.integers(1, 99), max_size=9),
    st.sampled_from([1, 2_500, 10_000]),
    st.integers(1, 7),
)
@settings(max_examples=80, deadline=None)
def test_draws_equal_the_plain_implementation(seed, number, segments, rate, signers) -> None:
    drawn = [(d.index, d.segment, d.position) for d in draw_round(seed, number, segments, rate, signers)]
    assert drawn == reference.draws(seed, number, segments, rate, signers)
    for index, count in segments.items():
        assert doubted_segment(seed, number, index, count) == reference.doubted(seed, number, index, count)


@given(st.binary(min_size=32, max_size=32), st.integers(1, 12), st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_at_the_full_rate_every_member_and_every_signer_has_work(seed: bytes, members: int, signers: int) -> None:
    drawn = draw_round(seed, 5, dict.fromkeys(range(members), 4), 10_000, signers)
    assert {d.index for d in drawn} == set(range(members))
    assert {d.position for d in drawn} == set(range(signers))
    loads = [sum(d.position == p for d in drawn) for p in range(signers)]
    assert max(loads) - min(loads) <= 1
    assert len({(d.index, d.position) for d in drawn}) == len(drawn)


def test_members_are_drawn_about_as_often_as_their_rate_says() -> None:
    rates = {0: 2_500, 1: 10_000, 2: 0}
    hits = [
        sum(d.index == i for number in range(2000) for d in draw_round(SEED, number, dict.fromkeys(rates, 4), rates, 1))
        for i in rates
    ]
    assert abs(hits[0] - 500) < 80
    assert hits[1:] == [2000, 0]


def test_nothing_is_drawn_from_nothing() -> None:
    assert draw_round(SEED, 1, {}, 10_000, 3) == ()
    for segments, signers in (({0: 0}, 1), ({0: 1}, 0)):
        with pytest.raises(FormatError):
            draw_round(SEED, 1, segments, 10_000, signers)


def test_a_data_manifest_survives_the_way_there_and_back_and_refuses_contradictions() -> None:
    manifest = DataManifest(
        Tokenizer("tokenizers", "tokenizer.json", "0x" + "0a" * 32, "bafkreiabc"),
        8192,
        2,
        split_of([10, 20]),
        Split((Shard("held.bin", 5, "0x" + "00" * 32, ""),)),
    )
    assert DataManifest.load(manifest.to_bytes()) == manifest
    for old, new in (
        (b'"tokens":30', b'"tokens":31'),
        (b'"token_bytes":2', b'"token_bytes":3'),
        (b'"token_bytes":2', b'"token_bytes":1'),
        (b'"held.bin"', b'"s0.bin"'),
        (b'"held.bin"', b'"../s.bin"'),
        (b'"held.bin"', b'".hidden"'),
    ):
        assert old in manifest.to_bytes()
        with pytest.raises(FormatError):
            DataManifest.load(manifest.to_bytes().replace(old, new, 1))
