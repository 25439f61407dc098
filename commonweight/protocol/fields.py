"""Checked reading of JSON objects: every field by name, type and bounds, and nothing that the schema does not name.

Also the text forms that documents use: 0x-hex digests and addresses (lower case), decimal strings for integers that may
pass 2^53, binary64 values as the 16 hex digits of their big-endian bits, and base64 (RFC 4648, section 4, padded) for
many entries of one length, of which documents have as many as members times members.
"""

import base64
import itertools
import re
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from commonweight.errors import FormatError
from commonweight.protocol.canonical import MAX_INTEGER, Json, JsonObject, sha256_hex

__all__ = [
    "U32",
    "U64",
    "Fields",
    "address_bytes",
    "digest_bytes",
    "digest_over",
    "f64_hex",
    "from_f64_hex",
    "hex32",
    "lower_address",
    "packed",
]

U32 = 2**32 - 1
U64 = 2**64 - 1
T = TypeVar("T")

_DIGEST = re.compile(r"0x[0-9a-f]{64}")
_ADDRESS = re.compile(r"0x[0-9a-f]{40}")
_DECIMAL = re.compile(r"0|[1-9][0-9]*")
_F64 = re.compile(r"[0-9a-f]{16}")
_CID = re.compile(r"[A-Za-z0-9]{8,128}")


def hex32(data: bytes) -> str:
    """32 bytes as 0x and 64 lower-case hex digits."""
    if len(data) != 32:
        raise FormatError("A digest must have 32 bytes", f"this one has {len(data)}")
    return "0x" + data.hex()


def digest_bytes(text: str) -> bytes:
    """The 32 bytes of a 0x-hex digest; FormatError when it is not one."""
    if not _DIGEST.fullmatch(text):
        raise FormatError("This is not a digest", f"{text[:80]!r} is not 0x and 64 lower-case hex digits")
    return bytes.fromhex(text[2:])


def digest_over(digests: Iterable[str]) -> str:
    """One digest for a list of them: SHA-256 of their bytes, one after the other."""
    return sha256_hex(b"".join(digest_bytes(digest) for digest in digests))


def packed(entries: Iterable[bytes]) -> str:
    """Entries of one length, one after the other, as base64."""
    return base64.b64encode(b"".join(entries)).decode()


def lower_address(text: str) -> str:
    """An address in the one form of documents, lower case; accepts any case, FormatError when it is none."""
    lowered = text.lower()
    if not _ADDRESS.fullmatch(lowered):
        raise FormatError("This is not an address", f"{text[:80]!r} is not 0x and 40 hex digits")
    return lowered


def address_bytes(text: str) -> bytes:
    """The 20 bytes of an address in any case."""
    return bytes.fromhex(lower_address(text)[2:])


def f64_hex(value: float) -> str:
    """A binary64 as the 16 lower-case hex digits of its big-endian bits."""
    return struct.pack(">d", value).hex()


def from_f64_hex(text: str) -> float:
    """The binary64 of 16 hex digits."""
    if not _F64.fullmatch(text):
        raise FormatError("This is not a binary64", f"{text[:40]!r} is not 16 lower-case hex digits")
    value: float = struct.unpack(">d", bytes.fromhex(text))[0]
    return value


class Fields:
    """Reads the fields of one object; `done()` refuses fields that were not read. Errors name the path of the field."""

    def __init__(self, value: Json, where: str) -> None:
        if not isinstance(value, dict):
            raise FormatError(f"{where} is not an object", f"it is {type(value).__name__}")
        self._rest: JsonObject = dict(value)
        self.where = where

    def take(self, name: str) -> Json:
        """The raw value of a field that must be there."""
        if name not in self._rest:
            raise FormatError(f"{self.where} has no field {name}")
        return self._rest.pop(name)

    def done(self) -> None:
        """Refuses fields that the schema does not know."""
        if self._rest:
            names = ", ".join(sorted(self._rest)[:5])
            raise FormatError(f"{self.where} has fields that its schema does not name", names[:200])

    def integer(self, name: str, low: int = 0, high: int = MAX_INTEGER) -> int:
        """An integer within low..high, both included."""
        value = self.take(name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.wrong(name, f"an integer from {low} to {high}", value)
        return value

    def decimal(self, name: str, high: int = 2**256 - 1) -> int:
        """A natural number up to `high`, written as a decimal string."""
        value = self.take(name)
        if not isinstance(value, str) or len(value) > 80 or not _DECIMAL.fullmatch(value) or int(value) > high:
            raise self.wrong(name, f"a decimal string from 0 to {high}", value)
        return int(value)

    def boolean(self, name: str) -> bool:
        """true or false."""
        value = self.take(name)
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false", value)
        return value

    def text(self, name: str, max_chars: int = 200) -> str:
        """A string of at most max_chars characters."""
        value = self.take(name)
        if not isinstance(value, str) or len(value) > max_chars:
            raise self.wrong(name, f"a string of at most {max_chars} characters", value)
        return value

    def choice(self, name: str, allowed: tuple[str, ...]) -> str:
        """One of the allowed strings."""
        value = self.take(name)
        if not isinstance(value, str) or value not in allowed:
            raise self.wrong(name, "one of " + ", ".join(allowed), value)
        return value

    def digest(self, name: str) -> str:
        """0x and 64 lower-case hex digits."""
        value = self.take(name)
        if not isinstance(value, str) or not _DIGEST.fullmatch(value):
            raise self.wrong(name, "0x and 64 lower-case hex digits", value)
        return value

    def optional_digest(self, name: str) -> str | None:
        """A digest or null."""
        return None if self._is_null(name) else self.digest(name)

    def address(self, name: str) -> str:
        """0x and 40 lower-case hex digits."""
        value = self.take(name)
        if not isinstance(value, str) or not _ADDRESS.fullmatch(value):
            raise self.wrong(name, "0x and 40 lower-case hex digits", value)
        return value

    def optional_address(self, name: str) -> str | None:
        """An address or null."""
        return None if self._is_null(name) else self.address(name)

    def optional_integer(self, name: str, low: int = 0, high: int = MAX_INTEGER) -> int | None:
        """An integer within low..high, or null."""
        return None if self._is_null(name) else self.integer(name, low, high)

    def cid(self, name: str) -> str:
        """A content identifier: 8 to 128 letters and digits, or the empty string for none."""
        value = self.take(name)
        if not isinstance(value, str) or (value and not _CID.fullmatch(value)):
            raise self.wrong(name, "a CID or the empty string", value)
        return value

    def f64(self, name: str) -> float:
        """A finite binary64, written as 16 hex digits."""
        value = self.take(name)
        if not isinstance(value, str) or not _F64.fullmatch(value) or value[:3] in ("7ff", "fff"):
            raise self.wrong(name, "16 hex digits of a finite binary64", value)
        return from_f64_hex(value)

    def optional_f64(self, name: str) -> float | None:
        """A finite binary64 or null."""
        return None if self._is_null(name) else self.f64(name)

    def items(self, name: str, low: int, high: int) -> list[Json]:
        """An array of low to high elements."""
        value = self.take(name)
        if not isinstance(value, list) or not low <= len(value) <= high:
            raise self.wrong(name, f"an array of {low} to {high} elements", value)
        return value

    def objects(self, name: str, read: "Callable[[Fields], T]", low: int, high: int) -> tuple[T, ...]:
        """An array of objects, each read by `read`, which need not call done()."""
        result = []
        for position, item in enumerate(self.items(name, low, high)):
            fields = Fields(item, f"{self.where}.{name}[{position}]")
            result.append(read(fields))
            fields.done()
        return tuple(result)

    def child(self, name: str, read: "Callable[[Fields], T]") -> T:
        """An object read by `read`, which need not call done()."""
        fields = Fields(self.take(name), f"{self.where}.{name}")
        result = read(fields)
        fields.done()
        return result

    def optional_child(self, name: str, read: "Callable[[Fields], T]") -> T | None:
        """An object read by `read`, or null."""
        return None if self._is_null(name) else self.child(name, read)

    def integers(self, name: str, low: int, high: int, at_least: int, at_most: int) -> tuple[int, ...]:
        """An array of at_least to at_most integers, each within low..high."""
        return self._whole(name, self.items(name, at_least, at_most), [(low, high)])

    def digests(self, name: str, at_least: int, at_most: int) -> tuple[str, ...]:
        """An array of at_least to at_most digests."""
        values = self.items(name, at_least, at_most)
        for value in values:
            if not isinstance(value, str) or not _DIGEST.fullmatch(value):
                raise self.wrong(name, "0x and 64 lower-case hex digits each", value)
        return tuple(str(value) for value in values)

    def packed(self, name: str, size: int, at_least: int, at_most: int) -> tuple[bytes, ...]:
        """What `packed` writes: at_least to at_most entries of `size` bytes each."""
        value = self.take(name)
        expected = f"base64 of {at_least} to {at_most} entries of {size} bytes"
        if not isinstance(value, str) or len(value) > 4 * (-(-at_most * size // 3)):
            raise self.wrong(name, expected, value)
        try:
            data = base64.b64decode(value, validate=True)
        except ValueError:
            raise self.wrong(name, expected, value) from None
        count, over = divmod(len(data), size)
        if over or not at_least <= count <= at_most or base64.b64encode(data).decode() != value:
            raise self.wrong(name, expected, value)
        return tuple(data[place : place + size] for place in range(0, len(data), size))

    def rows(self, name: str, bounds: Sequence[tuple[int, int]], at_most: int) -> tuple[tuple[int, ...], ...]:
        """An array of up to at_most arrays of integers, each with one for each of the bounds and within them."""
        rows = self.items(name, 0, at_most)
        for row in rows:
            if not isinstance(row, list) or len(row) != len(bounds):
                raise self.wrong(name, f"rows of {len(bounds)} integers", row)
        return tuple(self._whole(name, row, bounds) for row in rows if isinstance(row, list))

    def wrong(self, name: str, expected: str, value: object) -> FormatError:
        """The error for a field that is not as expected."""
        return FormatError(f"{self.where}.{name} is not {expected}", f"it is {str(value)[:80]!r}")

    def _whole(self, name: str, values: list[Json], bounds: Sequence[tuple[int, int]]) -> tuple[int, ...]:
        """Integers within their bounds, which are repeated as often as it takes."""
        for value, (low, high) in zip(values, itertools.cycle(bounds)):
            if type(value) is not int or not low <= value <= high:
                raise self.wrong(name, f"integers from {low} to {high}", value)
        return tuple(values)  # type: ignore[arg-type]

    def _is_null(self, name: str) -> bool:
        if self._rest.get(name, "") is not None:
            return False
        del self._rest[name]
        return True
