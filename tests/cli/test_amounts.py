"""Amounts are exact in both directions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commonweight.cli.amounts import format_amount, parse_amount
from commonweight.errors import UsageError

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "decimals", "value"),
    [
        ("1", 18, 10**18),
        ("1.5", 18, 15 * 10**17),
        ("0.000000000000000001", 18, 1),
        ("1500wei", 18, 1500),
        ("5 gwei", 18, 5 * 10**9),
        ("2eth", 6, 2 * 10**18),
        ("1.10", 1, 11),
        ("3", 0, 3),
    ],
)
def test_text_to_smallest_units(text: str, decimals: int, value: int) -> None:
    assert parse_amount(text, decimals) == value


@pytest.mark.parametrize(
    "text", ["", "-1", "1e3", ".5", "1.", "1,5", "abc", "1.0000000000000000001", "0.5wei", "9" * 80, "١"]
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_amount(text, 18)


@given(st.integers(0, 2**200), st.integers(0, 30))
def test_formatting_loses_nothing(value: int, decimals: int) -> None:
    assert parse_amount(format_amount(value, "", decimals).strip(), decimals) == value


def test_formatting_is_short() -> None:
    assert format_amount(15 * 10**17) == "1.5 ETH"
    assert format_amount(0) == "0 ETH"
    assert format_amount(-1, "T", 2) == "-0.01 T"
    assert format_amount(10**9, "gas", 0) == "1000000000 gas"
