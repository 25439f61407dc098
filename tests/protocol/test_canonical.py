"""Canonical JSON: one byte string for a value, and nothing else accepted."""

import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from commonweight.errors import CanonicalJsonError
from commonweight.protocol import canonical
from commonweight.protocol.canonical import MAX_INTEGER, dumps, loads, loads_object

pytestmark = pytest.mark.unit

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
SCALARS = st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | TEXT
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4))


@given(VALUES)
def test_bytes_equal_those_of_an_independent_rfc_8785_library(value) -> None:
    assert dumps(value) == rfc8785.dumps(value)


def test_keys_are_sorted_by_utf_16_units_not_by_code_points() -> None:
    assert dumps({"\ufb33": 1, "\U0001f600": 2}) == '{"\U0001f600":2,"\ufb33":1}'.encode()


@given(VALUES)
def test_a_value_survives_the_way_there_and_back(value) -> None:
    assert loads(dumps(value)) == value


@given(VALUES)
def test_other_spellings_are_refused_unless_strictness_is_waived(value) -> None:
    spaced = json.dumps(value, indent=1).encode()
    assert loads(spaced, strict=False) == value
    if spaced != dumps(value):
        with pytest.raises(CanonicalJsonError):
            loads(spaced)


@pytest.mark.parametrize(
    "text",
    ['{"a":1,"a":1}', "1.0", "1e2", "NaN", "Infinity", "-0", str(2**53), "1" * 5000, "", "[", "\ufeff1", '"\\ud800"'],
)
def test_ambiguous_or_lossy_text_is_refused(text: str) -> None:
    with pytest.raises(CanonicalJsonError):
        loads(text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("value", [1.0, float("nan"), 2**53, b"x", {1: 2}, "\ud800", {"\udfff": 1}, object()])
def test_values_without_a_canonical_form_are_refused(value) -> None:
    with pytest.raises(CanonicalJsonError):
        dumps(value)


@pytest.mark.parametrize("strict", [True, False])
def test_deep_nesting_and_length_are_bounded(strict: bool) -> None:
    with pytest.raises(CanonicalJsonError):
        loads(b"[" * 100_000 + b"]" * 100_000, strict=strict)
    with pytest.raises(CanonicalJsonError):
        loads(b"[" * 40 + b"]" * 40, strict=strict)
    with pytest.raises(CanonicalJsonError):
        loads(b'"' + b"x" * 100 + b'"', max_bytes=100)


def test_an_object_is_required_where_one_is_asked_for() -> None:
    assert loads_object(b"{}") == {}
    with pytest.raises(CanonicalJsonError):
        loads_object(b"[]")


ASCII = st.text(st.characters(min_codepoint=1, max_codepoint=127), max_size=8)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | ASCII,
    lambda inner: (
        st.lists(inner, max_size=4) | st.lists(st.integers(-3, 2**53), max_size=4)
        | st.dictionaries(ASCII, inner, max_size=4)
    ),
)  # fmt: skip


@given(PLAIN, st.data())
def test_the_short_way_for_ascii_takes_what_the_long_one_takes_and_nothing_else(value, data) -> None:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=data.draw(st.booleans()))
    if text and data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(text) - 1))
        put = data.draw(st.sampled_from(["", "0", "-", ".", "e", " ", "\\u0041", '"', ",", "[", "}", "9" * 20]))
        text = text[:at] + put + text[at + data.draw(st.integers(0, 1)) :]
    raw = text.encode()
    try:
        longer = canonical.loads(raw, strict=False)
        right = rfc8785.dumps(longer) == raw
    except CanonicalJsonError:
        right = False
    if right:
        assert canonical._read(raw) == loads(raw) == longer
    else:
        with pytest.raises(CanonicalJsonError):
            loads(raw)
        with pytest.raises(canonical._UnclearError):
            canonical._read(raw)


@pytest.mark.parametrize("inside", ["", "1", "1,2", '"a"', "{}", "[]"])
@pytest.mark.parametrize("depth", range(30, 36))
def test_both_ways_bound_the_depth_alike(depth: int, inside: str) -> None:
    raw = ("[" * depth + inside + "]" * depth).encode()
    try:
        dumps(json.loads(raw))
    except CanonicalJsonError:
        with pytest.raises(CanonicalJsonError):
            loads(raw)
    else:
        assert loads(raw) == json.loads(raw)
    with pytest.raises(CanonicalJsonError):
        loads(b"[" * 5000 + b"]" * 5000)


def test_numbers_of_any_length_are_refused() -> None:
    for text in ("9" * 20, "-" + "9" * 5000, f"[1,{2**53}]", f'{{"a":-{2**53}}}'):
        with pytest.raises(CanonicalJsonError):
            loads(text.encode())
    assert loads(b"[%d,%d]" % (MAX_INTEGER, -MAX_INTEGER)) == [MAX_INTEGER, -MAX_INTEGER]
