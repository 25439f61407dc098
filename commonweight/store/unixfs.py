"""Files and directories as blocks, by the profile `unixfs-v1-2025`: CIDv1, raw leaves, chunks of 1 MiB, 1024 links a
node.

A file of at most one chunk is one raw block. A longer one is a balanced tree: full nodes of 1024 children, level over
level, until one node is left. A directory is one dag-pb block, or sharded when that would exceed 256 KiB. The same
bytes give the same CIDs as a Kubo node with that profile, so content moves between the embedded folder and IPFS
unchanged. Profile: https://specs.ipfs.tech/ipips/ipip-0499/.
"""

from collections.abc import Iterator, Mapping
from typing import BinaryIO

from commonweight.errors import StoreError
from commonweight.store.cid import CID_BYTES, DAG_PB, RAW, Block, Cid, cid_bytes, cid_of
from commonweight.store.dagpb import Link, encode_directory, encode_file, varint
from commonweight.store.entries import Emit, Entry
from commonweight.store.hamt import add_shards

CHUNK_BYTES = 1 << 20
LINKS_PER_NODE = 1024
MAX_DIRECTORY_BYTES = 256 * 1024


def add_file(stream: BinaryIO, emit: Emit) -> Entry:
    """Cut a stream into blocks and hand each to `emit`, children before parents; memory stays at one chunk."""
    return _Levels(emit).run(_chunks(stream))


def add_directory(entries: Mapping[str, Entry], emit: Emit) -> Entry:
    """A directory over entries that were already written, sharded when it is large; StoreError for bad names."""
    for name in entries:
        if not name or name in (".", "..") or "/" in name or "\x00" in name:
            raise StoreError(f"{name!r} cannot be the name of a file in a directory", "", "give the file a plain name")
    links = [Link(entry.cid, name, entry.tsize) for name, entry in entries.items()]
    data = encode_directory(links)
    if len(data) > MAX_DIRECTORY_BYTES:
        return add_shards(entries, emit)
    block = Block(cid_of(data, DAG_PB), data)
    emit(block)
    return Entry(block.cid, 0, len(data) + sum(link.tsize for link in links))


def car_header(root: Cid) -> bytes:
    """The header of a CARv1 file with one root: always 59 bytes long for our CIDs, so that it can be written last."""
    # DAG-CBOR of {"roots": [root], "version": 1}; a CID is tag 42 over a byte string that starts with 0
    cid = bytes((0,)) + cid_bytes(root)
    body = b"\xa2\x65roots\x81\xd8\x2a\x58" + bytes((len(cid),)) + cid + b"\x67version\x01"
    return varint(len(body)) + body


def car_section(block: Block) -> bytes:
    """One block as a section of a CARv1 file (https://ipld.io/specs/transport/car/carv1/)."""
    return varint(CID_BYTES + len(block.data)) + cid_bytes(block.cid) + block.data


class _Levels:
    """A balanced tree that is built while chunks arrive: one list of open links per level."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._levels: list[list[Entry]] = [[]]

    def run(self, chunks: Iterator[bytes]) -> Entry:
        for chunk in chunks:
            block = Block(cid_of(chunk, RAW), chunk)
            self._emit(block)
            self._push(0, Entry(block.cid, len(chunk), len(chunk)))
        return self._close()

    def _push(self, level: int, entry: Entry) -> None:
        if level == len(self._levels):
            self._levels.append([])
        if len(self._levels[level]) == LINKS_PER_NODE:
            full, self._levels[level] = self._levels[level], []
            self._push(level + 1, self._node(full))
        self._levels[level].append(entry)

    def _close(self) -> Entry:
        level = 0
        while level + 1 < len(self._levels) or len(self._levels[level]) > 1:
            self._push(level + 1, self._node(self._levels[level]))
            level += 1
        return self._levels[level][0]

    def _node(self, children: list[Entry]) -> Entry:
        links = [Link(child.cid, "", child.tsize) for child in children]
        data = encode_file(links, [child.size for child in children])
        block = Block(cid_of(data, DAG_PB), data)
        self._emit(block)
        return Entry(block.cid, sum(c.size for c in children), len(data) + sum(c.tsize for c in children))


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    first = True
    while True:
        parts, wanted = [], CHUNK_BYTES
        while wanted and (piece := stream.read(wanted)):
            parts.append(piece)
            wanted -= len(piece)
        if parts or first:
            yield b"".join(parts)
        first = False
        if wanted:
            return
