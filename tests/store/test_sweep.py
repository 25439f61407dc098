"""Garbage collection of the folder store: what is pinned, named or young stays whole, and nothing else does."""

import os
import threading
from pathlib import Path

import pytest

from commonweight.errors import ContentUnavailable
from commonweight.store import Cid, FolderStore, folder
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


def test_what_is_pinned_or_put_in_again_while_others_are_deleted_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process pins a tree when the marks are made, and puts one in again: both were old and named by nobody."""
    store, other = FolderStore(tmp_path), FolderStore(tmp_path)
    pinned, gone = put(store), put(store)
    again = store.put(b"again")
    age(store)
    marked = store.pins

    def pins() -> list[Cid]:
        monkeypatch.setattr(store, "pins", marked)
        found = marked()
        other.pin(pinned)
        assert other.put(b"again") == again
        return found

    monkeypatch.setattr(store, "pins", pins)
    store.sweep([], 3600)
    assert store.get_file(pinned, "same") == b"shared"
    assert store.has(again)
    assert not store.has(gone)


def test_nobody_pins_while_blocks_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, other = FolderStore(tmp_path), FolderStore(tmp_path)
    tree = put(store)
    age(store)
    tried: list[threading.Thread] = []
    problems: list[Exception] = []

    def pin() -> None:
        try:
            other.pin(tree)
        except ContentUnavailable as problem:
            problems.append(problem)

    def drop(path: Path, before: float) -> int:
        if not tried:
            tried.append(threading.Thread(target=pin))
            tried[0].start()
            tried[0].join(0.2)
            assert tried[0].is_alive(), "it waits until what is condemned is gone"
        return drop_block(path, before)

    drop_block = folder._drop
    monkeypatch.setattr(folder, "_drop", drop)
    store.sweep([], 3600)
    tried[0].join()
    assert problems and other.pins() == [], "a tree with a hole is never marked as kept"


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
