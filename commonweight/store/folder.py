"""The embedded content store: one file per block in a folder, with the CIDs that a Kubo node gives to the same bytes.

Blocks lie in `blocks/<last two characters of the CID>/<CID>`. A block is written to a file of its own in `tmp/`,
synced, and renamed into place, so that a crash leaves either the whole block or none, and several processes can use
one folder at once. A block that is already there is compared with the new bytes, so putting content in again repairs
a damaged block.
"""

import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from commonweight.errors import StoreError
from commonweight.store.base import MAX_BLOCK_BYTES, ContentStore, sync_file, unavailable
from commonweight.store.cid import Block, Cid, parse_cid
from commonweight.store.unixfs import Emit

_STALE_S = 3600


class FolderStore(ContentStore):
    """A content store in a folder, which is made when it is not there."""

    def __init__(self, folder: Path | str) -> None:
        """Open the folder; leftovers of writers that died over an hour ago are swept out. Raises StoreError."""
        self.folder = Path(folder).expanduser().absolute()
        self.where = str(self.folder)
        self._serial = itertools.count()
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
            raise StoreError(f"{cid} cannot be read from {self.where}", str(problem), "check the disk") from problem

    @contextmanager
    def writing(self) -> Iterator[Emit]:
        """Blocks are durable one by one, and their folders' entries when the context is left."""
        touched: set[Path] = set()

        def emit(block: Block) -> None:
            if self._write(block):
                touched.add(self._path(block.cid).parent)

        try:
            yield emit
            for folder in (*touched, self.folder / "blocks"):
                _sync_folder(folder)
        except OSError as problem:
            raise StoreError(
                f"The content store {self.where} could not be written",
                str(problem),
                "check that its disk has room and can be written",
            ) from problem

    def pin(self, cid: Cid) -> None:
        """Check that everything under the CID is here, and mark it as kept."""
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

    def _path(self, cid: Cid) -> Path:
        return self.folder / "blocks" / cid[-2:] / cid

    def _write(self, block: Block) -> bool:
        path = self._path(block.cid)
        try:
            with path.open("rb") as present:
                if present.read(len(block.data) + 1) == block.data:
                    return False
        except FileNotFoundError:
            path.parent.mkdir(exist_ok=True)
        temporary = self.folder / "tmp" / f"{os.getpid()}-{id(self):x}-{next(self._serial)}-{os.urandom(4).hex()}"
        try:
            with temporary.open("xb") as stream:
                stream.write(block.data)
                sync_file(stream)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return True

    def _sweep(self) -> None:
        for path in (self.folder / "tmp").iterdir():
            try:
                if path.stat().st_mtime < time.time() - _STALE_S:
                    path.unlink()
            except FileNotFoundError:
                continue  # another process swept it at the same moment


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
