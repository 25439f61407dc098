"""Canonical JSON (RFC 8785) for documents that are hashed.

Our schemas hold objects, arrays, strings, booleans, null and integers of magnitude below 2^53; never floats. `dumps`
writes the one byte string of a value, `loads` reads it back and by default refuses anything that is not canonical.
"""

import hashlib
import json
from collections.abc import Collection, Sequence
from typing import NoReturn, TypeAlias

from commonweight.errors import CanonicalJsonError

__all__ = [
    "MAX_BYTES",
    "MAX_DEPTH",
    "MAX_INTEGER",
    "Json",
    "JsonObject",
    "dumps",
    "loads",
    "loads_object",
    "sha256_hex",
]

Json: TypeAlias = "bool | int | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = "dict[str, Json]"

MAX_INTEGER = 2**53 - 1
MAX_BYTES = 16 * 2**20
MAX_DEPTH = 32


def dumps(value: object) -> bytes:
    """Canonical UTF-8 bytes of a value made of dict, list or tuple, str, int, bool and None.

    Raises CanonicalJsonError for floats, integers beyond 2^53 - 1, lone surrogates, keys that are not strings and
    nesting beyond MAX_DEPTH.
    """
    text = json.dumps(_ordered(value, 0), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise CanonicalJsonError("A string holds a lone surrogate", "it has no UTF-8 form") from error


def loads(data: bytes, max_bytes: int = MAX_BYTES, *, strict: bool = True) -> Json:
    """The value of JSON text. With `strict` (the default) the text must be canonical to the byte.

    Always refuses, with CanonicalJsonError: more than max_bytes, duplicate keys, floats, NaN and infinities, integers
    beyond 2^53 - 1, nesting beyond MAX_DEPTH, text that is not UTF-8.
    """
    if len(data) > max_bytes:
        raise CanonicalJsonError("A JSON text is too long", f"it has {len(data)} bytes, allowed are {max_bytes}")
    if strict and data.isascii():
        try:
            return _read(data)
        except _UnclearError:
            pass  # what is wrong with it, if anything is, is found below
    try:
        value: Json = json.loads(
            data.decode(),
            object_pairs_hook=_unique,
            parse_int=_integer,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CanonicalJsonError("This is not JSON", str(error)) from error
    except RecursionError as error:
        raise CanonicalJsonError("A JSON text is nested too deeply", f"allowed are {MAX_DEPTH} levels") from error
    canonical = dumps(value)
    if strict and canonical != data:
        raise CanonicalJsonError("A JSON text is not canonical", "RFC 8785 gives the same value other bytes")
    return value


def loads_object(data: bytes, max_bytes: int = MAX_BYTES, *, strict: bool = True) -> JsonObject:
    """Like `loads`, for text whose value must be an object."""
    value = loads(data, max_bytes, strict=strict)
    if not isinstance(value, dict):
        raise CanonicalJsonError("A JSON text is not an object", f"it holds {type(value).__name__}")
    return value


def sha256_hex(data: bytes) -> str:
    """SHA-256 of bytes as our documents write it: 0x and 64 lower-case digits."""
    return "0x" + hashlib.sha256(data).hexdigest()


class _UnclearError(ValueError):
    """Not shown to be canonical by the short way."""


_ASCII = json.JSONEncoder(ensure_ascii=False, check_circular=False, sort_keys=True, separators=(",", ":"))


def _read(data: bytes) -> Json:
    """The value of canonical text without characters beyond ASCII, by which keys have one order only. A key that is
    named twice, an escape or a number that could be written otherwise do not come out as they went in. Raises
    _UnclearError.
    """
    try:
        value: Json = json.loads(data.decode("ascii"), parse_float=_other, parse_constant=_other)
    except (ValueError, RecursionError):
        raise _UnclearError from None
    _walk([value], 0)
    if _ASCII.encode(value).encode("utf-8", "surrogatepass") != data:
        raise _UnclearError
    return value


def _walk(items: Collection[Json], depth: int) -> None:
    """Refuse what is nested too deeply, and integers out of bounds."""
    if depth > MAX_DEPTH:
        raise _UnclearError
    for item in items:
        if isinstance(item, dict):
            _walk(item.values(), depth + 1)
        elif isinstance(item, list):
            if not _small_integers(item):
                _walk(item, depth + 1)
            elif depth == MAX_DEPTH:
                raise _UnclearError
        elif isinstance(item, int) and not -MAX_INTEGER <= item <= MAX_INTEGER:
            raise _UnclearError


def _small_integers(value: Sequence[object]) -> bool:
    """Whether a list holds nothing but integers that JSON can hold, as most long ones do."""
    whole = set(map(type, value)) == {int}
    return whole and min(value) >= -MAX_INTEGER and max(value) <= MAX_INTEGER  # type: ignore[operator, type-var]


def _other(_: str) -> NoReturn:
    raise _UnclearError


def _ordered(value: object, depth: int) -> object:
    if depth > MAX_DEPTH:
        raise CanonicalJsonError("A value is nested too deeply", f"allowed are {MAX_DEPTH} levels")
    if type(value) is str:  # most values are
        return value
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise CanonicalJsonError("An integer is too large for JSON", f"{value} exceeds 2^53 - 1", "write a string")
        return value
    if isinstance(value, list | tuple):
        if depth < MAX_DEPTH and _small_integers(value):
            return value
        return [_ordered(item, depth + 1) for item in value]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise CanonicalJsonError("An object key is not a string", f"it is {key!r}")
        plain = "".join(value).isascii()  # then every order of characters is the same
        keys = sorted(value, key=None if plain else lambda key: key.encode("utf-16-be", "surrogatepass"))
        return {key: _ordered(value[key], depth + 1) for key in keys}
    raise CanonicalJsonError("A value has no canonical form", f"{type(value).__name__} is not allowed in documents")


def _unique(pairs: list[tuple[str, Json]]) -> JsonObject:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise CanonicalJsonError("An object names a key twice", "which value counts would be ambiguous")
    return result


def _integer(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > MAX_INTEGER:
        raise CanonicalJsonError("An integer is too large for JSON", "it exceeds 2^53 - 1", "write a string")
    return int(text)


def _refuse_number(text: str) -> NoReturn:
    raise CanonicalJsonError("A JSON text holds a float", f"{text[:40]} is not an integer", "write a string")
