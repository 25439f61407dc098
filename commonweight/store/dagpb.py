"""The binary form of dag-pb nodes and of the UnixFS records inside them, as far as files and directories need it.

A node is a protocol-buffers message whose links (field 2) come before its data (field 1); a link has the target's CID
(1), a name (2) and the cumulative size of what lies under it (3). The data of a file node is a UnixFS message with
type (1), file size (3) and the sizes of its children (4). Sources: https://ipld.io/specs/codecs/dag-pb/spec/ and
https://github.com/ipfs/specs/blob/main/UNIXFS.md. The decoder accepts what the encoder writes and what other
implementations may add (inline data, unpacked or packed sizes), and refuses everything else.
"""

from dataclasses import dataclass

from commonweight.errors import FormatError
from commonweight.store.cid import Cid, cid_bytes, cid_from_bytes

TYPE_RAW, TYPE_DIRECTORY, TYPE_FILE, TYPE_SHARD = 0, 1, 2, 5
MURMUR3, FANOUT = 0x22, 256
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class Link:
    """A link to a child: `tsize` is the child's block plus everything under it, in bytes."""

    cid: Cid
    name: str
    tsize: int


@dataclass(frozen=True)
class Node:
    """A decoded dag-pb node: its links, and of its UnixFS record type, inline data, file size and children's sizes."""

    links: tuple[Link, ...]
    kind: int
    data: bytes
    filesize: int
    blocksizes: tuple[int, ...]

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory, in one block or sharded."""
        return self.kind in (TYPE_DIRECTORY, TYPE_SHARD)


def encode_file(links: list[Link], sizes: list[int]) -> bytes:
    """A file node over its children; `sizes` are the children's numbers of file bytes."""
    record = _uint(1, TYPE_FILE) + _uint(3, sum(sizes)) + b"".join(_uint(4, size) for size in sizes)
    return _links(links) + _field(1, record)


def encode_directory(links: list[Link]) -> bytes:
    """A directory node; its links are sorted by the bytes of their names."""
    ordered = sorted(links, key=lambda link: link.name.encode())
    return _links(ordered) + _field(1, _uint(1, TYPE_DIRECTORY))


def encode_shard(links: list[Link], bits: bytes, fanout: int) -> bytes:
    """A shard of a large directory: `bits` says, big-endian, which of its places are taken."""
    record = _uint(1, TYPE_SHARD) + _field(2, bits) + _uint(5, MURMUR3) + _uint(6, fanout)
    return _links(links) + _field(1, record)


def decode(data: bytes) -> Node:
    """A node from its block's bytes; raises FormatError for anything that is not a file or a directory."""
    try:
        links, record = [], b""
        for number, value in _fields(data):
            if number == 2 and isinstance(value, bytes):
                links.append(_decode_link(value))
            elif number == 1 and isinstance(value, bytes):
                record = value
            else:
                raise ValueError(f"field {number}")
        return _decode_unixfs(record, tuple(links))
    except (ValueError, IndexError) as problem:
        raise FormatError(
            "A block of the content store is not a file or directory node",
            f"its dag-pb or UnixFS form is refused ({problem})",
            "check that the CID names a file or a directory",
        ) from None


def _decode_link(value: bytes) -> Link:
    cid, name, tsize = b"", "", 0
    for number, item in _fields(value):
        if number == 1 and isinstance(item, bytes):
            cid = item
        elif number == 2 and isinstance(item, bytes):
            name = item.decode()
        elif number == 3 and isinstance(item, int):
            tsize = item
        else:
            raise ValueError(f"link field {number}")
    try:
        return Link(cid_from_bytes(cid), name, tsize)
    except FormatError as problem:
        raise ValueError(problem.why) from None


def _decode_unixfs(record: bytes, links: tuple[Link, ...]) -> Node:
    numbers: dict[int, int] = {1: -1, 3: 0, 5: MURMUR3, 6: FANOUT}
    inline = b""
    sizes: list[int] = []
    for number, value in _fields(record):
        if number == 4:
            sizes += [value] if isinstance(value, int) else _packed(value)
        elif isinstance(value, int):
            numbers[number] = value
        elif number == 2:
            inline = value
    kind, filesize, hashing, fanout = numbers[1], numbers[3], numbers[5], numbers[6]
    if kind not in (TYPE_RAW, TYPE_DIRECTORY, TYPE_FILE, TYPE_SHARD) or (hashing, fanout) != (MURMUR3, FANOUT):
        raise ValueError(f"UnixFS type {kind}")
    if kind == TYPE_SHARD and any(len(link.name.encode()) < 2 for link in links):
        raise ValueError("a shard's link has no place")
    if kind in (TYPE_RAW, TYPE_FILE) and (len(sizes) != len(links) or sum(sizes) + len(inline) != filesize):
        raise ValueError("the sizes of the children do not add up")
    return Node(links, kind, inline, filesize, tuple(sizes))


def _packed(value: bytes) -> list[int]:
    numbers, position = [], 0
    while position < len(value):
        number, position = _read_varint(value, position)
        numbers.append(number)
    return numbers


def _links(links: list[Link]) -> bytes:
    return b"".join(
        _field(2, _field(1, cid_bytes(link.cid)) + _field(2, link.name.encode()) + _uint(3, link.tsize))
        for link in links
    )


def varint(value: int) -> bytes:
    """An unsigned LEB128 varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _uint(number: int, value: int) -> bytes:
    return varint(number << 3 | _VARINT) + varint(value)


def _field(number: int, value: bytes) -> bytes:
    return varint(number << 3 | _BYTES) + varint(len(value)) + value


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("varint too long")


def _fields(data: bytes) -> list[tuple[int, int | bytes]]:
    fields: list[tuple[int, int | bytes]] = []
    position = 0
    while position < len(data):
        key, position = _read_varint(data, position)
        if key & 7 == _VARINT:
            number, position = _read_varint(data, position)
            fields.append((key >> 3, number))
        elif key & 7 in (_BYTES, _FIXED64, _FIXED32):
            if key & 7 == _BYTES:
                length, position = _read_varint(data, position)
            else:
                length = 8 if key & 7 == _FIXED64 else 4
            if position + length > len(data):
                raise ValueError("a field runs over the end")
            fields.append((key >> 3, data[position : position + length]))
            position += length
        else:
            raise ValueError(f"wire type {key & 7}")
    return fields
