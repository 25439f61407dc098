"""Rates and sizes as people write them: 10Mbit, 500kbit, 8GB, 16GiB; sizes, times and amounts as they read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from commonweight.errors import UsageError

_NUMBER = re.compile(r"([0-9]+)(?:\.([0-9]{1,3}))?\s*([A-Za-z]+)")
_RATES = {"kbit": 10**3, "mbit": 10**6, "gbit": 10**9}
_SIZES = {
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}


def parse_rate(text: str) -> int:
    """Bytes a second out of bits a second. Raises UsageError."""
    return _parse(text, _RATES, "rate", "10Mbit or 500kbit") // 8


def parse_size(text: str) -> int:
    """Bytes. Raises UsageError."""
    return _parse(text, _SIZES, "size", "8GB or 16GiB")


def show_size(count: int) -> str:
    """Bytes in MiB, from 1 GiB on in GiB."""
    return f"{count / 2**20:.0f} MiB" if count < 2**30 else f"{count / 2**30:,.1f} GiB"


def when(timestamp_s: int) -> str:
    """A time in UTC; one beyond the calendar as it is."""
    try:
        return datetime.fromtimestamp(timestamp_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"Unix time {timestamp_s}"


def format_amount(value: int, symbol: str = "ETH", decimals: int = 18) -> str:
    """An amount of smallest units in whole units, exact, without trailing zeros."""
    digits = str(abs(value)).rjust(decimals + 1, "0")
    whole, part = digits[: len(digits) - decimals], digits[len(digits) - decimals :].rstrip("0")
    sign = "-" if value < 0 else ""
    return f"{sign}{whole}{'.' + part if part else ''} {symbol}"


def _parse(text: str, units: dict[str, int], kind: str, like: str) -> int:
    match = _NUMBER.fullmatch(text.strip())
    unit = units.get(match[3].lower()) if match else None
    value = 0
    if match is not None and unit is not None:
        thousandths = int(match[1]) * 1000 + int((match[2] or "").ljust(3, "0"))
        value = thousandths * unit // 1000
    if value <= 0:
        raise UsageError(f"{text!r} is not a {kind}.", f"A {kind} is like {like}", "Write it so.")
    return value
