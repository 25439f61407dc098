"""Several named pieces of bytes as one body, with their sizes in the parameters: what an offence comes with."""

from collections.abc import Mapping

from commonweight.errors import FormatError
from commonweight.protocol.canonical import Json
from commonweight.protocol.fields import Fields

BODY_LIMIT = 256 << 20


def sizes_of(blobs: Mapping[str, bytes]) -> list[Json]:
    """The parameter `blobs`: {name, size} of each, in the order in which the body has them."""
    return [{"name": name, "size": len(data)} for name, data in blobs.items()]


def read_size(f: Fields) -> tuple[str, int]:
    """An entry {name, size} of a blob."""
    return f.text("name"), f.integer("size", 0, BODY_LIMIT)


def split_blobs(body: bytes, sizes: tuple[tuple[str, int], ...]) -> dict[str, bytes]:
    """The named pieces of a body. FormatError when the sizes do not add up."""
    if sum(size for _, size in sizes) != len(body) or len({name for name, _ in sizes}) != len(sizes):
        raise FormatError("The blobs do not add up to the body", f"{len(body)} bytes")
    found, start = {}, 0
    for name, size in sizes:
        found[name] = body[start : start + size]
        start += size
    return found
