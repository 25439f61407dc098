"""The embedded folder store: verified reads, durable and atomic writes, several processes at once."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from commonweight.errors import ContentMismatch, ContentUnavailable, DamagedBlock, StoreError, UsageError
from commonweight.store import FolderStore, cid_of, open_store
from commonweight.store.cid import DAG_PB, Cid
from commonweight.store.dagpb import Link, encode_file
from commonweight.store.fallback import FallbackStore

pytestmark = pytest.mark.unit

BIG = os.urandom(1 << 16) * 50  # a little over 3 MiB: four chunks


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def block_path(store: FolderStore, cid: str) -> Path:
    return store.folder / "blocks" / cid[-2:] / cid


@pytest.mark.parametrize("data", [b"", b"hello", BIG], ids=["empty", "small", "chunked"])
def test_bytes_come_back(store: FolderStore, data: bytes) -> None:
    cid = store.put(data)
    assert store.get(cid) == data
    assert store.put(data) == cid
    assert store.info(cid).size == len(data)
    assert not store.info(cid).is_directory
    assert store.has(cid)


def test_files_stream_in_and_out(store: FolderStore, tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(BIG)
    cid = store.put_file(source)
    assert cid == store.put(BIG)
    store.save(cid, target, len(BIG), "0x" + hashlib.sha256(BIG).hexdigest())
    assert target.read_bytes() == BIG
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out", "store"]


def test_a_file_over_the_limit_is_refused_before_it_is_read(store: FolderStore) -> None:
    cid = store.put(BIG)
    with pytest.raises(StoreError, match="too long"):
        store.read(cid, len(BIG) - 1)


def test_the_announced_sha256_counts(store: FolderStore, tmp_path: Path) -> None:
    cid = store.put(b"abc")
    assert store.get(cid, sha256="0x" + hashlib.sha256(b"abc").hexdigest()) == b"abc"
    with pytest.raises(ContentMismatch, match="announced"):
        store.get(cid, sha256="0x" + "00" * 32)
    with pytest.raises(ContentMismatch):
        store.save(cid, tmp_path / "out", 10, "0x" + "00" * 32)
    assert not (tmp_path / "out").exists()


def test_directories_nest_and_take_bytes_paths_and_cids(store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(b"from disk")
    inner = store.put_directory({"x": b"1"})
    cid = store.put_directory({"a": b"A", "sub/b": tmp_path / "disk", "sub/deep/c": store.put(BIG), "old": inner})
    assert [item.name for item in store.list(cid)] == ["a", "old", "sub"]
    assert store.get_file(cid, "sub/b") == b"from disk"
    assert store.get_file(cid, "sub/deep/c") == BIG
    assert store.get_file(cid, "old/x") == b"1"
    assert [item.name for item in store.walk(cid)] == ["a", "old/x", "sub/b", "sub/deep/c"]
    with pytest.raises(ContentUnavailable, match="sub/none"):
        store.get_file(cid, "sub/none")
    with pytest.raises(StoreError, match="directory"):
        store.get(cid)
    with pytest.raises(StoreError, match="file"):
        store.list(store.put(b"x"))


def test_a_folder_of_the_disk_gives_the_same_cid_as_its_files(store: FolderStore, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_bytes(b"A")
    (folder / "sub" / "b").write_bytes(b"B")
    assert store.put_folder(folder) == store.put_directory({"a": b"A", "sub/b": b"B"})
    (folder / "link").symlink_to("a")
    with pytest.raises(StoreError, match="symbolic link"):
        store.put_folder(folder)


def test_a_large_directory_is_sharded_and_read_like_any_other(store: FolderStore) -> None:
    files = {f"receipts/{number}-{'x' * 40}.json": number.to_bytes(4, "big") for number in range(4000)}
    cid = store.put_directory({**files, "index.json": b"{}"})
    assert len(store.list(store.resolve(cid, "receipts"))) == 4000
    assert {item.name: store.get(item.cid) for item in store.walk(cid) if item.name != "index.json"} == files
    assert store.get_file(cid, f"receipts/77-{'x' * 40}.json") == (77).to_bytes(4, "big")
    with pytest.raises(ContentUnavailable, match="none"):
        store.get_file(cid, "receipts/none")
    assert store.info(store.resolve(cid, "receipts")).is_directory
    assert store.has(cid)


@pytest.mark.parametrize("files", [{"a": b"", "a/b": b""}, {"a/b": b"", "a": b""}], ids=["file first", "folder first"])
def test_a_name_cannot_be_a_file_and_a_directory(store: FolderStore, files: dict[str, bytes]) -> None:
    with pytest.raises(StoreError, match="'a"):
        store.put_directory(files)


def test_missing_content_is_named_with_the_places_that_were_tried(store: FolderStore, tmp_path: Path) -> None:
    cid = cid_of(b"never stored")
    with pytest.raises(ContentUnavailable) as missing:
        store.get(cid)
    assert cid in missing.value.what
    assert str(store.folder) in missing.value.why
    both = open_store(f"{tmp_path / 'store'},{tmp_path / 'second'}")
    with pytest.raises(ContentUnavailable) as missing:
        both.get(cid)
    assert str(tmp_path / "second") in missing.value.why
    assert str(store.folder) in missing.value.why


def test_every_altered_block_is_found(store: FolderStore) -> None:
    cid = store.put_directory({"big": BIG, "small": b"s"})
    for block in list(store.blocks(cid)):
        path = block_path(store, block.cid)
        path.write_bytes(block.data[:-1] + bytes((block.data[-1] ^ 1,)))
        assert not store.has(cid)
        with pytest.raises(DamagedBlock, match=block.cid):
            for _ in store.blocks(cid):
                pass
        path.write_bytes(block.data + b"\x00" * (3 << 20))
        with pytest.raises(DamagedBlock):
            store.get_block(block.cid)
        path.write_bytes(block.data)
    assert store.has(cid)


def test_putting_content_in_again_repairs_it(store: FolderStore) -> None:
    cid = store.put(BIG)
    chunk = next(iter(store.blocks(cid)))
    block_path(store, chunk.cid).write_bytes(b"damaged")
    assert store.put(BIG) == cid
    assert store.get(cid) == BIG


def test_a_missing_chunk_is_named(store: FolderStore) -> None:
    cid = store.put(BIG)
    chunk = next(iter(store.blocks(cid)))
    block_path(store, chunk.cid).unlink()
    assert not store.has(cid)
    with pytest.raises(ContentUnavailable, match=chunk.cid):
        store.get(cid)
    with pytest.raises(ContentUnavailable):
        store.pin(cid)
    assert store.pins() == []


def test_a_tree_that_lies_about_its_sizes_is_refused(store: FolderStore) -> None:
    leaf = store.put(b"abc")
    lie = encode_file([Link(leaf, "", 3), Link(leaf, "", 3)], [3, 4])
    from commonweight.store.cid import Block

    with store.writing() as emit:
        emit(Block(cid_of(lie, DAG_PB), lie))
    with pytest.raises(ContentMismatch, match="malformed"):
        store.get(cid_of(lie, DAG_PB))


def test_pins_are_kept_until_they_are_removed(store: FolderStore) -> None:
    cid = store.put(b"keep")
    store.pin(cid)
    assert store.pins() == [cid]
    store.unpin(cid)
    store.unpin(cid)
    assert store.pins() == []


def test_fallbacks_serve_what_the_first_lacks_or_has_wrong(tmp_path: Path) -> None:
    first, second = FolderStore(tmp_path / "1"), FolderStore(tmp_path / "2")
    cid = second.put(BIG)
    both = open_store(f"{tmp_path / '1'}, {(tmp_path / '2').as_uri()}")
    assert both.get(cid) == BIG
    assert not first.has(cid)
    both.pin(cid)
    assert first.has(cid)
    assert first.pins() == [cid]
    chunk = next(iter(first.blocks(cid)))
    block_path(first, chunk.cid).write_bytes(b"bad")
    assert both.get(cid) == BIG
    block_path(second, chunk.cid).unlink()
    with pytest.raises(DamagedBlock, match="No place has a right copy") as damaged:
        both.get(cid)
    assert str(first.folder) in damaged.value.why and str(second.folder) in damaged.value.why
    assert first.has(both.put(b"new"))
    assert not second.has(cid_of(b"new"))


class Counting(FolderStore):
    """A place that hands out so many blocks, and then dies."""

    lives, served = 10**6, 0

    def load_block(self, cid: Cid) -> bytes:
        if self.served == self.lives:
            raise ContentUnavailable("the place is gone")
        self.served += 1
        return super().load_block(cid)


def test_a_copy_that_breaks_off_keeps_what_it_has(tmp_path: Path) -> None:
    first, second = FolderStore(tmp_path / "1"), Counting(tmp_path / "2")
    cid = second.put(os.urandom(5 << 20))
    second.lives = 4
    with pytest.raises(ContentUnavailable):
        FallbackStore(first, second).pin(cid)
    second.lives = 4 + 3  # the root again, and the two pieces that are missing
    FallbackStore(first, second).pin(cid)
    assert first.has(cid)


FETCHER = """
import sys, time
from commonweight.store import FolderStore
from commonweight.store.cid import parse_cid
from commonweight.store.fallback import FallbackStore

class Slow(FolderStore):
    served = 0
    def load_block(self, cid):
        data = super().load_block(cid)
        self.served += 1
        print(self.served, flush=True)
        if self.served == int(sys.argv[4]):
            time.sleep(600)
        return data

FallbackStore(FolderStore(sys.argv[1]), Slow(sys.argv[2])).pin(parse_cid(sys.argv[3]))
"""


def test_a_copy_that_is_killed_is_gone_on_with(tmp_path: Path) -> None:
    second = Counting(tmp_path / "2")
    cid = second.put(os.urandom(20 << 20))
    with subprocess.Popen(
        [sys.executable, "-c", FETCHER, str(tmp_path / "1"), str(tmp_path / "2"), cid, "20"], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == b"20\n":
                break
        process.kill()
    FallbackStore(FolderStore(tmp_path / "1"), second).pin(cid)
    assert second.served == 21 - 16, "the root, and what had come after the last 8 MiB that were kept"
    assert FolderStore(tmp_path / "1").has(cid)


@pytest.mark.parametrize("place", ["", " , ", "ftp://host/x", "ipfs://bafy"])
def test_other_addresses_are_refused(place: str) -> None:
    with pytest.raises(UsageError):
        open_store(place)


def test_a_store_that_cannot_be_made_is_an_error_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot be opened"):
        open_store(tmp_path / "file")


def test_who_only_reads_makes_no_folder(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    for place in (nowhere, nowhere.as_uri(), f"{tmp_path / 'kept'},{nowhere}"):
        with pytest.raises(UsageError, match="nowhere does not exist"):
            open_store(place, make=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ContentUnavailable):
        open_store(tmp_path / "empty", make=False).get(cid_of(b"never stored"))
    assert not list((tmp_path / "empty").iterdir())
    both = open_store(f"{tmp_path / 'first'},{tmp_path / 'empty'}", make=False)
    assert both.put(b"kept") == cid_of(b"kept"), "the first of several keeps what the others have"


WRITER = """
import sys
from commonweight.store import FolderStore
store = FolderStore(sys.argv[1])
for i in range(int(sys.argv[2])):
    print(store.put_directory({"a": i.to_bytes(4, "big") * 300_000, "b": b"same"}), flush=True)
"""


def test_several_processes_write_the_same_content_at_once(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), "6"], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    outputs = [writer.communicate(timeout=120)[0].split() for writer in writers]
    assert all(writer.returncode == 0 for writer in writers)
    assert len(outputs[0]) == 6
    assert all(output == outputs[0] for output in outputs)
    store = FolderStore(tmp_path)
    for cid in outputs[0]:
        assert store.has(store.info(cid).cid)
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.parametrize("blocks_seen", range(6))
def test_kill_in_the_middle_of_a_write_leaves_no_bad_block(tmp_path: Path, blocks_seen: int) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), "100000"], stdout=subprocess.DEVNULL)
    try:
        while len(list((tmp_path).glob("blocks/*/*"))) < blocks_seen + 2:
            assert writer.poll() is None
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    store = FolderStore(tmp_path)
    paths = list(tmp_path.glob("blocks/*/*"))
    assert paths
    for path in paths:
        store.get_block(store.info(path.name).cid)  # type: ignore[arg-type]
    assert store.get(store.put(BIG)) == BIG


def test_leftovers_of_dead_writers_are_swept(tmp_path: Path) -> None:
    FolderStore(tmp_path)
    old, young = tmp_path / "tmp" / "1-old", tmp_path / "tmp" / "2-young"
    old.write_bytes(b"half a block")
    young.write_bytes(b"being written")
    os.utime(old, (1, 1))
    FolderStore(tmp_path)
    assert not old.exists()
    assert young.exists()
