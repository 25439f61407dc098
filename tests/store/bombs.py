"""Trees of few blocks that link each other again and again."""

from __future__ import annotations

from collections.abc import Callable

from commonweight.store import FolderStore
from commonweight.store.cid import DAG_PB, RAW, Block, Cid, cid_of
from commonweight.store.dagpb import Link, encode_directory, encode_file, encode_shard


def put(store: FolderStore, data: bytes, codec: int = DAG_PB) -> Cid:
    block = Block(cid_of(data, codec), data)
    with store.writing() as emit:
        emit(block)
    return block.cid


def levels(store: FolderStore, cid: Cid, count: int, over: Callable[[Cid], bytes]) -> Cid:
    """`count` levels of nodes, each of which has the one below many times."""
    for _ in range(count):
        cid = put(store, over(cid))
    return cid


def directories(store: FolderStore) -> Cid:
    many = lambda cid: encode_directory([Link(cid, f"{i:x}", 0) for i in range(1000)])  # noqa: E731
    return levels(store, put(store, encode_directory([])), 30, many)


def shards(store: FolderStore, entries: list[Link]) -> Cid:
    def many(cid: Cid) -> bytes:
        return encode_shard([Link(cid, f"{i:02X}", 0) for i in range(256)], bytes([255]) * 32, 256)

    return levels(store, put(store, encode_shard(entries, b"\x01", 256)), 7, many)


def empty_files(store: FolderStore) -> Cid:
    return levels(store, put(store, b"", RAW), 6, lambda cid: encode_file([Link(cid, "", 0)] * 1024, [0] * 1024))


def file_of(store: FolderStore, chunk: int, links: int, count: int) -> Cid:
    """A file of `links ** count` chunks, all the same."""
    size, cid = chunk, put(store, bytes(chunk), RAW)
    for _ in range(count):
        cid = put(store, encode_file([Link(cid, "", size)] * links, [size] * links))
        size *= links
    return cid
