"""Directories that are too large for one block: sharded by the hash of their entries' names, as IPFS does it.

A shard is a node with up to 256 places. An entry goes to the place that the next byte of its name's hash says; where
several entries meet, a shard of the next level takes them. A link's name is the place in two upper-case hex digits,
followed by the entry's name if it is an entry. The hash is the first half of MurmurHash3 x64 128, big-endian. Format:
HAMTShard of https://github.com/ipfs/specs/blob/main/UNIXFS.md.
"""

from collections.abc import Callable, Iterator, Mapping

from commonweight.errors import ContentMismatch, StoreError
from commonweight.store.cid import DAG_PB, Block, Cid, cid_of
from commonweight.store.dagpb import Link, Node, encode_shard
from commonweight.store.entries import Emit, Entry

FANOUT = 256
MAX_LEVELS = 8
_MASK = (1 << 64) - 1
_C1, _C2 = 0x87C37B91114253D5, 0x4CF5AD432745937F

Read = Callable[[Cid], Node]


def add_shards(entries: Mapping[str, Entry], emit: Emit) -> Entry:
    """Write a sharded directory over entries that were already written."""
    return _shard([(murmur3(name.encode()), name, entry) for name, entry in entries.items()], 0, emit)


def entries_of(node: Node, read: Read, level: int = 0) -> Iterator[Link]:
    """The links of all entries under a shard, with the entries' own names; `read` fetches a deeper shard."""
    if level >= MAX_LEVELS:
        raise ContentMismatch("A sharded directory nests too deeply")
    if level and not node.links:
        raise ContentMismatch("A sharded directory is malformed", "a shard of it has no entries")
    for link in node.links:
        if len(link.name) > 2:
            yield Link(link.cid, link.name[2:], link.tsize)
        else:
            yield from entries_of(read(link.cid), read, level + 1)


def find(node: Node, name: str, read: Read) -> Cid | None:
    """The CID of one entry, reading only the shards on its way."""
    digest = murmur3(name.encode())
    for level in range(MAX_LEVELS):
        place = f"{digest[level]:02X}"
        for link in node.links:
            if link.name == place + name:
                return link.cid
        deeper = [link.cid for link in node.links if link.name == place]
        if not deeper:
            return None
        node = read(deeper[0])
    return None


def _shard(entries: list[tuple[bytes, str, Entry]], level: int, emit: Emit) -> Entry:
    if level >= MAX_LEVELS:
        raise StoreError("Names of files in a directory have the same hash", "", "rename one of them")
    places: dict[int, list[tuple[bytes, str, Entry]]] = {}
    for item in entries:
        places.setdefault(item[0][level], []).append(item)
    links, bits = [], 0
    for place, items in sorted(places.items()):
        bits |= 1 << place
        if len(items) == 1:
            _, name, entry = items[0]
            links.append(Link(entry.cid, f"{place:02X}{name}", entry.tsize))
        else:
            below = _shard(items, level + 1, emit)
            links.append(Link(below.cid, f"{place:02X}", below.tsize))
    data = encode_shard(links, bits.to_bytes((bits.bit_length() + 7) // 8, "big"), FANOUT)
    block = Block(cid_of(data, DAG_PB), data)
    emit(block)
    return Entry(block.cid, 0, len(data) + sum(link.tsize for link in links))


def murmur3(data: bytes) -> bytes:
    """The first 64 bits of MurmurHash3 x64 128 with seed 0, big-endian."""
    h1 = h2 = 0
    whole = len(data) // 16 * 16
    for start in range(0, whole, 16):
        k1 = int.from_bytes(data[start : start + 8], "little")
        k2 = int.from_bytes(data[start + 8 : start + 16], "little")
        h1 ^= _mix1(k1)
        h1 = ((_rotate(h1, 27) + h2) * 5 + 0x52DCE729) & _MASK
        h2 ^= _mix2(k2)
        h2 = ((_rotate(h2, 31) + h1) * 5 + 0x38495AB5) & _MASK
    tail = data[whole:]
    if len(tail) > 8:
        h2 ^= _mix2(int.from_bytes(tail[8:], "little"))
    if tail:
        h1 ^= _mix1(int.from_bytes(tail[:8], "little"))
    h1 ^= len(data)
    h2 ^= len(data)
    h1 = (h1 + h2) & _MASK
    h2 = (h2 + h1) & _MASK
    return ((_finish(h1) + _finish(h2)) & _MASK).to_bytes(8, "big")


def _mix1(k: int) -> int:
    return _rotate(k * _C1 & _MASK, 31) * _C2 & _MASK


def _mix2(k: int) -> int:
    return _rotate(k * _C2 & _MASK, 33) * _C1 & _MASK


def _rotate(value: int, by: int) -> int:
    return (value << by | value >> (64 - by)) & _MASK


def _finish(k: int) -> int:
    k = (k ^ k >> 33) * 0xFF51AFD7ED558CCD & _MASK
    k = (k ^ k >> 33) * 0xC4CEB9FE1A85EC53 & _MASK
    return k ^ k >> 33
