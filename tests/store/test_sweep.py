"""Garbage collection of the folder store: what is pinned, named or young stays whole, and nothing else does."""

import os
from pathlib import Path

import pytest

from commonweight.errors import ContentUnavailable
from commonweight.store import Cid, FolderStore
from commonweight.store.fallback import FallbackStore

pytestmark = pytest.mark.unit

MIB = 1 << 20


def age(store: FolderStore, seconds: float = 10_000) -> None:
    for path in (store.folder / "blocks").glob("*/*"):
        found = path.stat()
        os.utime(path, (found.st_atime, found.st_mtime - seconds))


def put(store: FolderStore) -> Cid:
    return store.put_directory({"large": os.urandom(3 * MIB // 2), "d/e": os.urandom(9), "same": b"shared"})


def test_what_is_pinned_or_named_stays_and_the_rest_goes(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    pinned, named, gone = put(store), put(store), put(store)
    store.pin(pinned)
    age(store)
    freed = store.sweep([named], 3600)
    assert store.has(pinned)
    assert store.has(named)
    assert not store.has(gone)
    assert freed > 3 * MIB // 2
    assert store.get_file(pinned, "same") == b"shared"
    assert store.sweep([named], 3600) == 0
    store.unpin(pinned)
    store.sweep([], 3600)
    assert list((tmp_path / "blocks").glob("*/*")) == []


def test_what_is_young_stays_also_when_it_was_there_before(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    old = store.put(b"old")
    age(store)
    again, new = store.put(b"old"), store.put(b"new")
    assert store.sweep([], 3600) == 0
    assert old == again
    assert store.has(old)
    assert store.has(new)


def test_a_tree_with_a_hole_keeps_what_is_there(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    tree = store.put_directory({"a/file": b"1", "b/file": b"2"})
    lost = store.resolve(tree, "a")
    (tmp_path / "blocks" / lost[-2:] / lost).unlink()
    age(store)
    FallbackStore(store).sweep([tree], 3600)
    assert store.get_file(tree, "b/file") == b"2"
    with pytest.raises(ContentUnavailable):
        store.get_file(tree, "a/file")
