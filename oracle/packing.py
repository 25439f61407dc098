"""Several pieces as one body: evidence after its index, the blobs of an offence after their sizes."""

from collections.abc import Mapping

from commonweight.errors import FormatError
from commonweight.protocol.canonical import loads
from commonweight.protocol.evidence import INDEX, MAX_FILES
from commonweight.protocol.fields import Fields

BODY_LIMIT = 256 << 20


def split_blobs(body: bytes, sizes: tuple[tuple[str, int], ...]) -> dict[str, bytes]:
    """The named pieces of a body. FormatError when the sizes do not add up."""
    if sum(size for _, size in sizes) != len(body) or len({name for name, _ in sizes}) != len(sizes):
        raise FormatError("The blobs do not add up to the body", f"{len(body)} bytes")
    found, start = {}, 0
    for name, size in sizes:
        found[name] = body[start : start + size]
        start += size
    return found


def pack(files: Mapping[str, bytes]) -> tuple[int, bytes]:
    """Evidence files as one body: index.json, whose size comes back too, and the others in its order."""
    index = files[INDEX]
    return len(index), b"".join([index, *(files[path] for path in sorted(files) if path != INDEX)])


def unpack(body: bytes, index_size: int) -> dict[str, bytes]:
    """What `pack` packed. FormatError when the index does not fit the body; digests are checked by `Evidence.load`."""
    fields = Fields(loads(body[:index_size], BODY_LIMIT), INDEX)
    sizes = tuple(_entry(Fields(item, INDEX)) for item in fields.items("files", 0, MAX_FILES))
    return {INDEX: body[:index_size], **split_blobs(body[index_size:], sizes)}


def _entry(f: Fields) -> tuple[str, int]:
    return f.text("path"), f.integer("size", 0, BODY_LIMIT)


def read_size(f: Fields) -> tuple[str, int]:
    """An entry {name, size} of a blob."""
    return f.text("name"), f.integer("size", 0, BODY_LIMIT)
