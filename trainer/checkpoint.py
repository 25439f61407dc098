"""Checkpoints at a member: made by its own outer step, or fetched block by block from peers and the content store.

Each checkpoint has a folder of its own with its blocks, and a manifest that is written last: without it the checkpoint
is not there. A fetch or save that was interrupted goes on with the blocks that it lacks. Everything is verified before
use: the manifest by its SHA-256, blocks by their CIDs, files by the manifest. What was made here is named and
written behind the round (`trainer.saving`). All calls block and run in a thread.
"""

from __future__ import annotations

import io
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from commonweight.errors import ContentMismatch, ContentUnavailable, StoreError
from commonweight.exact.checkpoint import OUTER_FILE, WEIGHTS_FILE, Checkpoint, genesis_checkpoint, make_manifest
from commonweight.exact.layout import Layout
from commonweight.protocol.fields import digest_bytes
from commonweight.protocol.records import Manifest
from commonweight.protocol.runconfig import RunConfig
from commonweight.store.base import ContentStore
from commonweight.store.cid import Block, Cid, cid_from_bytes
from commonweight.store.entries import Emit
from commonweight.store.fallback import FallbackStore
from commonweight.store.folder import FolderStore
from commonweight.store.unixfs import add_directory, add_file
from trainer.journal import write_whole
from trainer.saving import Saver

KEPT = 3
_MANIFEST = "manifest.json"
_RAW_SHA256 = bytes((1, 0x55, 0x12, 0x20))

FetchBlock = Callable[[Cid], bytes]
"""Asks the peers for a block; blocks, and raises ContentUnavailable when nobody has it. The bytes are not verified."""


class Base(Protocol):
    """What a round can start from: the values count, its name may still be computed."""

    @property
    def checkpoint(self) -> Checkpoint:
        """Weights and momentum."""


@dataclass(frozen=True)
class Held:
    """A checkpoint with its manifest and the CID of its directory in a content store."""

    manifest: Manifest
    checkpoint: Checkpoint
    cid: Cid

    @property
    def sha256(self) -> str:
        """Its name: the manifest's digest, 0x-hex."""
        return self.manifest.sha256


class PeerBlocks(ContentStore):
    """The other members as a place that has blocks. It can only be read."""

    def __init__(self, fetch: FetchBlock) -> None:
        self.where = "the other members"
        self._fetch = fetch

    def load_block(self, cid: Cid) -> bytes:
        """A block that a member has sent; verified by the caller."""
        return self._fetch(cid)

    def writing(self) -> AbstractContextManager[Emit]:
        """Refused: members serve their own content only."""
        raise StoreError("Nothing can be stored at other members", "they serve what they have made themselves")

    def pin(self, cid: Cid) -> None:
        """Refused, as `writing`."""
        raise StoreError(f"{cid} cannot be pinned at other members", "they keep what they have made themselves")

    def unpin(self, cid: Cid) -> None:
        """Nothing of ours is kept there."""

    def close(self) -> None:
        """Nothing is held open."""


class Checkpoints:
    """The newest checkpoints of a run in a folder; the last one also in memory."""

    def __init__(
        self, folder: Path, config: RunConfig, run: str, saver: Executor | None = None, namer: Executor | None = None
    ) -> None:
        """`saver` and `namer` are where checkpoints are written and hashed, a thread of its own each if left out."""
        self._folder = folder
        self._config = config
        self._run = run
        self._layout = Layout.from_model(config.model)
        self._last: Held | None = None
        self._lock = threading.RLock()
        self._saver = Saver(saver)
        self._namer = namer or ThreadPoolExecutor(1, "name")
        self._naming: Future[Held] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def genesis(self) -> Held:
        """The checkpoint of round 0, which the configuration's seed gives."""
        return self.make(0, None, None, genesis_checkpoint(self._config))

    def begin(self, round_: int, parent: str | None, plan: str | None, checkpoint: Checkpoint) -> Future[Held]:
        """Name a checkpoint that was computed here, and then save it, both in the background; `settle` waits for that.

        The same input gives the same manifest and CID. Waits for the save before.
        """

        def work() -> Held:
            self._saver.ready()
            held, blocks = self._name(round_, parent, plan, checkpoint)
            self._remember(held)
            if self._whole(held.sha256) is None:
                self._saver.start(partial(self._save, held.manifest, blocks))
            return held

        self._naming = self._namer.submit(work)
        return self._naming

    def make(self, round_: int, parent: str | None, plan: str | None, checkpoint: Checkpoint) -> Held:
        """As `begin`, but waits for the name."""
        return self.begin(round_, parent, plan, checkpoint).result()

    def _name(
        self, round_: int, parent: str | None, plan: str | None, checkpoint: Checkpoint
    ) -> tuple[Held, list[Block]]:
        """Everything of it is cut into blocks and hashed; nothing is written yet."""
        files, blocks = checkpoint.to_files(self._layout), list[Block]()
        entries = {name: add_file(io.BytesIO(data), blocks.append) for name, data in files.items()}
        cids = {name: entry.cid for name, entry in entries.items()}
        manifest = make_manifest(self._run, round_, parent, plan, self._config.sha256, files, cids)
        for name, data in self._small(manifest).items():
            entries[name] = add_file(io.BytesIO(data), blocks.append)
        return Held(manifest, checkpoint, add_directory(entries, blocks.append).cid), blocks

    def settle(self) -> None:
        """Wait until what was made is on disk. StoreError when it could not be written."""
        self._named()
        self._saver.settle()

    def close(self) -> None:
        """Wait until what was made is on disk, and make no more. StoreError when it could not be written."""
        self._namer.shutdown()
        self._saver.close()

    def _named(self) -> None:
        """Wait until nothing is being named, whatever became of it."""
        naming = self._naming
        if naming is not None:
            naming.exception()

    def _save(self, manifest: Manifest, blocks: Sequence[Block]) -> None:
        place = self._place(manifest.sha256)
        with FolderStore(place).writing() as emit:
            for block in blocks:
                emit(block)
        write_whole(place / _MANIFEST, manifest.to_bytes())
        self._tidy(manifest.round)

    def newest(self) -> Held | None:
        """The checkpoint of the highest round that is whole here."""
        manifests = [Manifest.load(path.read_bytes()) for path in self._folder.glob(f"*/{_MANIFEST}")]
        for manifest in sorted(manifests, key=lambda manifest: -manifest.round):
            try:
                return self.get(manifest.sha256)
            except StoreError:
                shutil.rmtree(self._place(manifest.sha256))
        return None

    def get(self, sha256: str, *sources: ContentStore) -> Held:
        """The checkpoint of this name: from memory, from disk, or fetched from `sources` in turn.

        Raises ContentUnavailable or ContentMismatch when it cannot be had as named.
        """
        with self._lock:
            if self._last is not None and self._last.sha256 == sha256:
                return self._last
            store = FallbackStore(FolderStore(self._place(sha256)), *sources)
            limit = 16 * self._layout.numel + 2**20
            cid = cid_from_bytes(_RAW_SHA256 + digest_bytes(sha256))
            store.pin(cid)
            manifest = Manifest.load(store.get(cid, sha256=sha256))
            if manifest.run != self._run or manifest.config != self._config.sha256:
                raise ContentMismatch(f"The checkpoint {sha256} is of another run", f"its manifest says {manifest.run}")
            files = {}
            for name, file in ((WEIGHTS_FILE, manifest.weights), (OUTER_FILE, manifest.outer)):
                store.pin(Cid(file.cid))
                files[name] = store.get(Cid(file.cid), max_bytes=limit, sha256=file.sha256)
            return self._finish(manifest, Checkpoint.from_files(self._layout, files))

    def drop(self, sha256: str) -> None:
        """Forget a checkpoint that turned out to be wrong."""
        self._named()
        self._saver.wait()
        with self._lock:
            if self._last is not None and self._last.sha256 == sha256:
                self._last = None
        shutil.rmtree(self._place(sha256), ignore_errors=True)

    def round_of(self, sha256: str) -> int | None:
        """The round of a checkpoint that was made or is whole here; None when it is not."""
        with self._lock:
            last = self._last
        manifest = last.manifest if last is not None and last.sha256 == sha256 else self._whole(sha256)
        return None if manifest is None else manifest.round

    def _whole(self, sha256: str) -> Manifest | None:
        """The manifest of a checkpoint that is whole on disk."""
        try:
            return Manifest.load((self._place(sha256) / _MANIFEST).read_bytes())
        except FileNotFoundError:
            return None

    def block(self, cid: Cid) -> bytes:
        """A block of any checkpoint that is kept; ContentUnavailable when there is none."""
        found = self._block(cid)
        if found is None:
            self._named()
            self._saver.wait()  # it may be among those that are being written
            found = self._block(cid)
        if found is None:
            raise ContentUnavailable(f"{cid} is of no checkpoint that is kept here", "", "ask another member")
        return found

    def _block(self, cid: Cid) -> bytes | None:
        for place in self._folder.iterdir():
            try:
                return FolderStore(place).load_block(cid)
            except ContentUnavailable:
                continue
        return None

    def _place(self, sha256: str) -> Path:
        return self._folder / digest_bytes(sha256).hex()

    def _small(self, manifest: Manifest) -> dict[str, bytes]:
        return {_MANIFEST: manifest.to_bytes(), "config.json": self._config.model.transformers_config()}

    def _finish(self, manifest: Manifest, checkpoint: Checkpoint) -> Held:
        """Complete a checkpoint whose files are all here."""
        place = self._place(manifest.sha256)
        names = {WEIGHTS_FILE: Cid(manifest.weights.cid), OUTER_FILE: Cid(manifest.outer.cid)}
        held = Held(manifest, checkpoint, FolderStore(place).put_directory({**self._small(manifest), **names}))
        write_whole(place / _MANIFEST, manifest.to_bytes())
        self._remember(held)
        self._tidy(manifest.round)
        return held

    def _remember(self, held: Held) -> None:
        with self._lock:
            self._last = held

    def _tidy(self, newest: int) -> None:
        """Drop all but the last few rounds' checkpoints."""
        for path in self._folder.glob(f"*/{_MANIFEST}"):
            manifest = Manifest.load(path.read_bytes())
            if manifest.round <= newest - KEPT:
                shutil.rmtree(path.parent)
