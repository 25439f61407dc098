"""The embedded content store: one file per block in a folder, with the CIDs that a Kubo node gives to the same bytes.

Blocks lie in `blocks/<last two characters of the CID>/<CID>`. A block is written to a file of its own in `tmp/`,
synced, and renamed into place, so that a crash leaves either the whole block or none, and several processes can use
one folder at once. A block that is already there is compared with the new bytes, so putting content in again repairs
a damaged block. Whoever marks blocks as kept or put in again shares a lock with others; whoever deletes has it alone.
"""

import fcntl
import itertools
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from commonweight.errors import FormatError, StoreError, UsageError
from commonweight.store.base import MAX_BLOCK_BYTES, ContentStore, sync_file, unavailable
from commonweight.store.cid import DAG_PB, Block, Cid, codec_of, parse_cid
from commonweight.store.dagpb import decode
from commonweight.store.entries import Emit

_STALE_S = 3600
_BATCH_BLOCKS = 1024
_BATCH_BYTES = 64 << 20
_SYNC_THREADS = 16


class FolderStore(ContentStore):
    """A content store in a folder, which is made when it is not there."""

    def __init__(self, folder: Path | str, *, make: bool = True) -> None:
        """Open the folder; leftovers of writers that died over an hour ago are swept out. Raises StoreError, and
        without `make`, for whoever only reads, UsageError when the folder is not there.
        """
        self.folder = Path(folder).expanduser().absolute()
        self.where = str(self.folder)
        self._serial = itertools.count()
        if not make:
            if not self.folder.exists():
                fix = "name by --store the folder that has the content, or an IPFS node's address"
                raise UsageError(f"The content store {self.folder} does not exist", "nothing is made to read from", fix)
            return
        try:
            for name in ("blocks", "pins", "tmp"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            self._sweep()
        except OSError as problem:
            raise StoreError(
                f"The content store {self.folder} cannot be opened", str(problem), "name a folder that can be written"
            ) from problem

    def close(self) -> None:
        """Nothing is held open between calls."""

    def load_block(self, cid: Cid) -> bytes:
        """The stored bytes of a block; at most one byte over the allowed size is read."""
        try:
            with self._path(parse_cid(cid)).open("rb") as stream:
                return stream.read(MAX_BLOCK_BYTES + 1)
        except FileNotFoundError:
            raise unavailable(cid, [self.where]) from None
        except OSError as problem:
            raise unavailable(cid, [self.where], f"{problem}; check the disk") from problem

    @contextmanager
    def writing(self) -> Iterator[Emit]:
        """Blocks become visible in batches, each block whole and synced, children not after their parents."""
        batch = _Batch()
        try:
            yield lambda block: self._write(block, batch)
            batch.commit()
            _sync_folder(self.folder / "blocks")
        except OSError as problem:
            raise StoreError(
                f"The content store {self.where} could not be written",
                str(problem),
                "check that its disk has room and can be written",
            ) from problem
        finally:
            batch.drop()

    def pin(self, cid: Cid) -> None:
        """Check that everything under the CID is here, and mark it as kept."""
        with self._locked(fcntl.LOCK_SH):
            for _ in self.blocks(parse_cid(cid)):
                pass
            (self.folder / "pins" / cid).touch()
            _sync_folder(self.folder / "pins")

    def unpin(self, cid: Cid) -> None:
        """Remove the mark."""
        (self.folder / "pins" / parse_cid(cid)).unlink(missing_ok=True)

    def pins(self) -> list[Cid]:
        """The CIDs that are marked as kept, sorted."""
        return sorted(parse_cid(path.name) for path in (self.folder / "pins").iterdir())

    def sweep(self, keep: Iterable[Cid], younger_s: float) -> int:
        """Delete the blocks under neither a pin nor one of `keep` that were put in over `younger_s` seconds ago.

        What is put in again counts as new. A tree of which a block is missing keeps what is there. Returns the bytes.
        """
        kept: set[Cid] = set()
        pinned = set(self.pins())
        for cid in (*pinned, *keep):
            self._mark(cid, kept)
        before = time.time() - younger_s
        freed, unnamed = 0, [path for path in (self.folder / "blocks").glob("*/*") if path.name not in kept]
        for start in range(0, len(unnamed), _BATCH_BLOCKS):
            with self._locked(fcntl.LOCK_EX):
                for name in {path.name for path in (self.folder / "pins").iterdir()} - pinned:
                    pinned.add(parse_cid(name))  # since the last look
                    self._mark(parse_cid(name), kept)
                some = unnamed[start : start + _BATCH_BLOCKS]
                freed += sum(_drop(path, before) for path in some if path.name not in kept)
        return freed

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        with (self.folder / "lock").open("ab") as lock:
            fcntl.flock(lock, how)
            yield

    def _mark(self, root: Cid, kept: set[Cid]) -> None:
        """Add a CID and all that is under it; files' leaves are not read."""
        waiting = [root]
        while waiting:
            cid = waiting.pop()
            if cid in kept:
                continue
            kept.add(cid)
            if codec_of(cid) == DAG_PB:
                try:
                    waiting += [link.cid for link in decode(self.get_block(cid)).links]
                except (StoreError, FormatError):
                    continue

    def _path(self, cid: Cid) -> Path:
        return self.folder / "blocks" / cid[-2:] / cid

    def _write(self, block: Block, batch: "_Batch") -> None:
        path = self._path(block.cid)
        try:
            with self._locked(fcntl.LOCK_SH), path.open("rb") as present:
                if present.read(len(block.data) + 1) == block.data:
                    os.utime(present.fileno())
                    return
        except FileNotFoundError:
            path.parent.mkdir(exist_ok=True)
        name = f"{os.getpid()}-{id(self):x}-{next(self._serial)}-{os.urandom(4).hex()}"
        batch.add(self.folder / "tmp" / name, path, block.data)

    def _sweep(self) -> None:
        for path in (self.folder / "tmp").iterdir():
            try:
                if path.stat().st_mtime < time.time() - _STALE_S:
                    path.unlink()
            except FileNotFoundError:
                continue  # another process swept it at the same moment


class _Batch:
    """Blocks on their way: written to files of their own, synced many at a time, then renamed into place in order."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Path, Path]] = []
        self._bytes = 0

    def add(self, temporary: Path, path: Path, data: bytes) -> None:
        """Write a block to its temporary file; a full batch is committed first."""
        if len(self._waiting) >= _BATCH_BLOCKS or self._bytes >= _BATCH_BYTES:
            self.commit()
        self._waiting.append((temporary, path))
        self._bytes += len(data)
        with temporary.open("xb") as stream:
            stream.write(data)

    def commit(self) -> None:
        """Sync all files, give them their names, and sync the folders."""
        folders = {path.parent for _, path in self._waiting}
        with ThreadPoolExecutor(min(_SYNC_THREADS, max(1, len(self._waiting)))) as pool:
            list(
                pool.map(_sync_path, (temporary for temporary, _ in self._waiting))
            )  # a disk syncs many as fast as one
            for temporary, path in self._waiting:
                temporary.replace(path)
            list(pool.map(_sync_folder, folders))
        self._waiting, self._bytes = [], 0

    def drop(self) -> None:
        """Remove what was not committed."""
        for temporary, _ in self._waiting:
            temporary.unlink(missing_ok=True)


def _drop(path: Path, before: float) -> int:
    """Delete a block that was put in before that time. Returns the bytes, 0 for one that stays or is gone."""
    try:
        found = path.stat()
        if found.st_mtime >= before:
            return 0
        path.unlink()
    except FileNotFoundError:
        return 0  # another process swept it at the same moment
    return found.st_size


def _sync_path(path: Path) -> None:
    with path.open("rb+") as stream:
        sync_file(stream)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
