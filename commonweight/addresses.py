"""Addresses as people write them: 0x and 40 hex digits, whose letters' case is a checksum when it is mixed (EIP-55)."""

from __future__ import annotations

import re

from commonweight.errors import UsageError

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


def parse_address(text: str) -> str:
    """The address as it is written. Raises UsageError for what is none, and for mixed case that is not its checksum."""
    if not _ADDRESS.fullmatch(text):
        raise UsageError(f"{text!r} is not an address.", "An address is 0x and 40 hex digits.", "Correct it.")
    if any(c.islower() for c in text[2:]) and any(c.isupper() for c in text[2:]):
        from eth_utils.address import to_checksum_address

        if to_checksum_address(text) != text:
            raise UsageError(
                f"{text!r} is not an address.",
                "The case of its letters is a checksum, and does not fit: a digit is wrong or missing.",
                "Copy it again from where it comes.",
            )
    return text
