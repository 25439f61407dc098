"""The credits list of a report: packed `uint32 index, uint64 credits`, big-endian, 12 bytes an entry.

Strictly ascending by index, no zeros, at most 10,000 entries; its keccak-256 is `creditsHash` in the report.
"""

from collections.abc import Mapping

from commonweight.errors import FormatError
from commonweight.protocol.fields import U32, U64
from commonweight.protocol.typed import keccak256

__all__ = ["ENTRY_BYTES", "MAX_ENTRIES", "bad_position", "decode", "encode", "list_hash"]

ENTRY_BYTES = 12
MAX_ENTRIES = 10_000


def encode(amounts: Mapping[int, int]) -> bytes:
    """Packs credits by index; entries of zero are left out. FormatError beyond the ranges or 10,000 entries."""
    entries = sorted((index, amount) for index, amount in amounts.items() if amount)
    if len(entries) > MAX_ENTRIES:
        raise FormatError("A credits list is too long", f"{len(entries)} entries", "carry the rest over")
    for index, amount in entries:
        if not 0 <= index <= U32 or not 0 < amount <= U64:
            raise FormatError("A credits list entry is out of range", f"index {index}, credits {amount}")
    return b"".join(index.to_bytes(4, "big") + amount.to_bytes(8, "big") for index, amount in entries)


def decode(data: bytes) -> dict[int, int]:
    """Unpacks a list, in ascending order. FormatError where the contract refuses the list or counts it as fraud."""
    if len(data) % ENTRY_BYTES or len(data) > MAX_ENTRIES * ENTRY_BYTES:
        raise FormatError("A credits list has a wrong length", f"{len(data)} bytes")
    amounts: dict[int, int] = {}
    last = -1
    for start in range(0, len(data), ENTRY_BYTES):
        index = int.from_bytes(data[start : start + 4], "big")
        amount = int.from_bytes(data[start + 4 : start + 12], "big")
        if index <= last:
            raise FormatError("A credits list is not strictly ascending", f"index {index} follows {last}")
        if amount == 0:
            raise FormatError("A credits list holds a zero", f"index {index}")
        amounts[index] = amount
        last = index
    return amounts


def bad_position(data: bytes, provider_count: int) -> int | None:
    """The first entry that makes a list fraud by its position, as `Disputes.proveBadList` judges it; None if none does.

    Any position proves a wrong length. An entry is bad when its credits are zero, its index was not registered when
    the epoch was closed, or it is not above the one before it.
    """
    if len(data) % ENTRY_BYTES:
        return 0
    last = -1
    for start in range(0, len(data), ENTRY_BYTES):
        index = int.from_bytes(data[start : start + 4], "big")
        amount = int.from_bytes(data[start + 4 : start + ENTRY_BYTES], "big")
        if index <= last or amount == 0 or index >= provider_count:
            return start // ENTRY_BYTES
        last = index
    return None


def list_hash(data: bytes) -> bytes:
    """keccak-256 of the packed list."""
    return keccak256(data)
