"""Few blocks that make a tree without end: every reading of them ends, soon, with an error by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from commonweight.errors import ContentMismatch, StoreError
from commonweight.store import FolderStore
from commonweight.store.cid import DAG_PB, RAW, cid_of
from commonweight.store.dagpb import Link, encode_directory, encode_file
from tests.store.bombs import directories, empty_files, file_of, put, shards

pytestmark = pytest.mark.unit
KIB = 1 << 10


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path)


def test_directories_without_end_are_refused(store: FolderStore) -> None:
    with pytest.raises(StoreError, match="too large"):
        list(store.walk(directories(store)))


@pytest.mark.parametrize("entries", [[], [Link(cid_of(b""), "00name", 0)]], ids=["empty", "one entry"])
def test_shards_without_end_are_refused(store: FolderStore, entries: list[Link]) -> None:
    cid = shards(store, entries)
    for reading in (store.list, lambda cid: list(store.walk(cid))):
        with pytest.raises(StoreError, match="too large" if entries else "no entries"):
            reading(cid)


@pytest.mark.parametrize("kind", [RAW, DAG_PB])
def test_a_file_has_no_children_without_bytes(store: FolderStore, kind: int) -> None:
    empty = put(store, b"" if kind == RAW else encode_file([], []), kind)
    assert store.get(empty) == b""
    child = put(store, b"x", RAW)
    with pytest.raises(ContentMismatch, match="malformed"):
        store.get(put(store, encode_file([Link(child, "", 1), Link(empty, "", 0)], [1, 0])))
    with pytest.raises(StoreError, match="too large"):
        store.get(empty_files(store))


def test_a_file_in_pieces_of_a_byte_is_refused(store: FolderStore) -> None:
    with pytest.raises(StoreError, match="too large"):
        store.get(file_of(store, 1, 1024, 2))


@pytest.mark.parametrize(
    ("chunk", "links", "count"),
    [(4 * KIB, 174, 2), (4 * KIB, 16, 3), (16 * KIB, 2, 6), (256 * KIB, 174, 1), (50, 9, 2)],
)
def test_files_that_others_have_cut_are_read(store: FolderStore, chunk: int, links: int, count: int) -> None:
    size = chunk * links**count
    assert sum(len(piece) for piece in store.read(file_of(store, chunk, links, count), size)) == size


def test_a_directory_of_as_many_files_as_evidence_can_have_is_read(store: FolderStore) -> None:
    file = put(store, b"x", RAW)
    folders = [
        put(store, encode_directory([Link(file, f"{first + n:064x}.json", 1) for n in range(1000)]))
        for first in range(0, 100_000, 1000)
    ]
    rounds = encode_directory([Link(folder, f"{i:02}", 0) for i, folder in enumerate(folders)])
    assert sum(1 for _ in store.walk(put(store, rounds))) == 100_000
