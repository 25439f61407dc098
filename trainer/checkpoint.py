"""Checkpoints at a member: made by its own outer step, or fetched block by block from peers and the content store.

Each checkpoint has a folder of its own with its blocks, and a manifest that is written last: without it the checkpoint
is not there. A fetch or save that was interrupted goes on with the blocks that it lacks, unless a later one is whole
before. Everything is verified before use: the manifest by its SHA-256, blocks by their CIDs, files by the manifest.
What was made here is named and written behind the round (`trainer.saving`). All calls block and run in a thread.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from commonweight.errors import ContentMismatch, ContentUnavailable, StoreError, UsageError
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
from trainer.journal import GONE, remove_whole, sweep_removed, write_whole
from trainer.saving import Saver

KEPT = 3
_KEPT_EVERY = 8
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


class _Gathering(FallbackStore):
    """A folder with other places behind it, of which what is read and the folder lacks is kept in it. Reading a block
    hashes it once.
    """

    def __init__(self, folder: FolderStore, *others: ContentStore) -> None:
        super().__init__(folder, *others)
        self._fetched: dict[Cid, Block] = {}

    def get_block(self, cid: Cid) -> bytes:
        """A block that is right, from wherever it is."""
        if cid in self._fetched:
            return self._fetched[cid].data
        try:
            return self.stores[0].get_block(cid)
        except ContentUnavailable:
            data = self.load_block(cid)
        self._fetched[cid] = Block(cid, data)
        if len(self._fetched) >= _KEPT_EVERY:
            self.keep()
        return data

    def keep(self) -> None:
        """Write what was fetched: after a failure, or a kill, it is there for the next attempt."""
        with self.writing() as emit:
            for block in self._fetched.values():
                emit(block)
        self._fetched = {}


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
        self._lock, self._fetching = threading.Lock(), threading.Lock()
        self._wanted: Path | None = None
        self._saving: Path | None = None
        self._saver = Saver(saver)
        self._namer = namer or ThreadPoolExecutor(1, "name")
        self._naming: Future[Held] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        sweep_removed(folder)

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
            if _manifest_in(self._place(held.sha256)) is None:
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
        with self._lock:
            self._saving = place
        with FolderStore(place).writing() as emit:
            for block in blocks:
                emit(block)
        write_whole(place / _MANIFEST, manifest.to_bytes())
        self._tidy(manifest.round)

    def newest(self) -> Held | None:
        """The checkpoint of the highest round that is whole here."""
        manifests = [manifest for place in self._places() if (manifest := _manifest_in(place)) is not None]
        for manifest in sorted(manifests, key=lambda manifest: -manifest.round):
            try:
                return self.get(manifest.sha256)
            except StoreError:
                remove_whole(self._place(manifest.sha256), self._folder)
        return None

    def get(self, sha256: str, *sources: ContentStore) -> Held:
        """The checkpoint of this name: from memory, from disk, or fetched from `sources` in turn.

        Raises ContentUnavailable or ContentMismatch when it cannot be had as named.
        """
        if (last := self._in_memory(sha256)) is not None:
            return last
        with self._fetching:
            if (last := self._in_memory(sha256)) is not None:
                return last
            place = self._place(sha256)
            with self._lock:
                self._wanted = place
            store = _Gathering(FolderStore(place), *sources)
            try:
                manifest, checkpoint = self._read(store, sha256)
            finally:
                store.keep()
            return self._finish(manifest, checkpoint)

    def _read(self, store: ContentStore, sha256: str) -> tuple[Manifest, Checkpoint]:
        manifest = Manifest.load(store.get(cid_from_bytes(_RAW_SHA256 + digest_bytes(sha256)), sha256=sha256))
        if manifest.run != self._run or manifest.config != self._config.sha256:
            raise ContentMismatch(f"The checkpoint {sha256} is of another run", f"its manifest says {manifest.run}")
        limit = 16 * self._layout.numel + 2**20
        files = {
            name: store.get(Cid(file.cid), max_bytes=limit, sha256=file.sha256)
            for name, file in ((WEIGHTS_FILE, manifest.weights), (OUTER_FILE, manifest.outer))
        }
        return manifest, Checkpoint.from_files(self._layout, files)

    def _in_memory(self, sha256: str) -> Held | None:
        with self._lock:
            return self._last if self._last is not None and self._last.sha256 == sha256 else None

    def drop(self, sha256: str) -> None:
        """Forget a checkpoint that turned out to be wrong."""
        self._named()
        self._saver.wait()
        with self._lock:
            if self._last is not None and self._last.sha256 == sha256:
                self._last = None
        remove_whole(self._place(sha256), self._folder)

    def round_of(self, sha256: str) -> int | None:
        """The round of a checkpoint that was made or is whole here; None when it is not."""
        last = self._in_memory(sha256)
        manifest = _manifest_in(self._place(sha256)) if last is None else last.manifest
        return None if manifest is None else manifest.round

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
        for place in self._places():
            try:
                return FolderStore(place, make=False).load_block(cid)
            except (ContentUnavailable, UsageError):  # it may be deleted meanwhile
                continue
        return None

    def _places(self) -> list[Path]:
        return [place for place in self._folder.iterdir() if not place.name.startswith(GONE)]

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
        with self._lock:
            self._wanted = None
        self._tidy(manifest.round)
        return held

    def _remember(self, held: Held) -> None:
        with self._lock:
            self._last = held

    def _tidy(self, newest: int) -> None:
        """Drop all but the last few rounds' checkpoints, and what nobody completes any more."""
        with self._lock:
            for place in self._places():
                manifest = _manifest_in(place)
                old = manifest is None or manifest.round <= newest - KEPT
                if old and place not in (self._wanted, self._saving):
                    remove_whole(place, self._folder)


def _manifest_in(place: Path) -> Manifest | None:
    """The manifest of a checkpoint that is whole on disk."""
    try:
        return Manifest.load((place / _MANIFEST).read_bytes())
    except FileNotFoundError:
        return None
