"""Evidence as one body: its files after the index that names them."""

from collections.abc import Mapping

from commonweight.net.blobs import BODY_LIMIT, split_blobs
from commonweight.protocol.canonical import loads
from commonweight.protocol.evidence import INDEX, MAX_FILES
from commonweight.protocol.fields import Fields


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
