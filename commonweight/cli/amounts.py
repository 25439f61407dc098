"""Amounts between people and chain: decimal text of whole units on one side, integers of the smallest unit on the
other.

"1.5" is one and a half ether (or token), "1500wei" and "5gwei" are what they say. No floating point anywhere.
"""

from __future__ import annotations

import re

from commonweight.errors import UsageError
from commonweight.quantities import format_amount

__all__ = ["format_amount", "parse_amount"]

_AMOUNT = re.compile(r"([0-9]+)(?:\.([0-9]+))?\s*(wei|gwei|ether|eth)?", re.IGNORECASE)
_SUFFIXES = {"wei": 0, "gwei": 9, "ether": 18, "eth": 18}
_MAX = 2**256


def parse_amount(text: str, decimals: int = 18) -> int:
    """Smallest units from text. Raises UsageError for what is no amount or finer than the smallest unit."""
    match = _AMOUNT.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is not an amount.", "An amount is like 1.5, 5gwei or 1500wei.", "Write it so.")
    whole, part, suffix = match[1], match[2] or "", (match[3] or "").lower()
    places = _SUFFIXES[suffix] if suffix else decimals
    if len(part.rstrip("0")) > places:
        raise UsageError(
            f"{text!r} is finer than the smallest unit.", f"There are {places} decimal places.", "Round it."
        )
    value = int(whole + part.rstrip("0").ljust(places, "0"))
    if value >= _MAX:
        raise UsageError(f"{text!r} is not an amount.", "It does not fit 256 bits.", "Give a smaller one.")
    return value
