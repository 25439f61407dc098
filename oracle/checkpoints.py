"""Checkpoints as a signer holds them: on its disk for the replay worker, in memory for the next round, in the store.

Everything here blocks; an event loop runs it in a thread. A checkpoint that comes from elsewhere is verified against
the manifest's SHA-256 and every file's, before it is used.
"""

import os
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from commonweight.errors import ContentMismatch, ContentUnavailable, RuleBroken
from commonweight.exact.checkpoint import OUTER_FILE, WEIGHTS_FILE, Checkpoint, genesis_checkpoint, make_manifest
from commonweight.exact.layout import Layout
from commonweight.protocol.canonical import sha256_hex
from commonweight.protocol.fields import digest_bytes
from commonweight.protocol.outcome_documents import Manifest
from commonweight.store import parse_cid
from oracle.seat import Seat

_IN_MEMORY = 4
_ON_DISK = 16
_MANIFEST = "manifest.json"
_NAMES = (_MANIFEST, WEIGHTS_FILE, OUTER_FILE)


@dataclass(frozen=True)
class Held:
    """A checkpoint with its manifest, the CID of its directory, and the folder where its files lie."""

    manifest: Manifest
    checkpoint: Checkpoint
    cid: str
    folder: Path

    @property
    def sha256(self) -> str:
        """The checkpoint's name: its manifest's digest, 0x-hex."""
        return self.manifest.sha256

    @property
    def weights(self) -> Path:
        """Its weights file."""
        return self.folder / WEIGHTS_FILE


class Checkpoints:
    """The checkpoints of one run at one signer."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat
        self._layout = Layout.from_model(seat.config.model)
        self._folder = seat.folder("checkpoints")
        self._memory: OrderedDict[str, Held] = OrderedDict()
        self._lock = threading.RLock()
        self._loading: dict[str, threading.Lock] = {}

    def genesis(self) -> Held:
        """The checkpoint of round 0, computed from the configuration's seed and put into the store."""
        return self.make(0, None, None, genesis_checkpoint(self._seat.config))

    def make(self, round_: int, parent: str | None, plan: str | None, checkpoint: Checkpoint) -> Held:
        """Write a checkpoint to disk and store. The same input gives the same manifest and CID."""
        files = checkpoint.to_files(self._layout)
        store = self._seat.store
        cids = {name: store.put(data) for name, data in files.items()}
        manifest = make_manifest(
            self._seat.campaign, round_, parent, plan, self._seat.config.sha256, files, dict(cids)
        )  # fmt: skip
        model = self._seat.config.model.transformers_config()
        cid = store.put_directory({_MANIFEST: manifest.to_bytes(), "config.json": model, **cids})
        return self._remember(manifest, checkpoint, str(cid), files)

    def get(self, sha256: str, cid: str) -> Held:
        """The checkpoint of this name, from memory, disk or the store.

        Raises ContentUnavailable or ContentMismatch when it cannot be had as named.
        """
        with self._lock:
            turn = self._loading.setdefault(sha256, threading.Lock())
        with turn:  # whoever comes while it is loaded finds it in memory then
            try:
                return self._known(sha256) or self._load(sha256, cid)
            finally:
                self._loading.pop(sha256, None)

    def _known(self, sha256: str) -> Held | None:
        with self._lock:
            known = self._memory.get(sha256)
            if known is None or not _used(known.folder):
                return None
            self._memory.move_to_end(sha256)
            return known

    def _load(self, sha256: str, cid: str) -> Held:
        files = self._from_disk(sha256)
        if files is None:
            files = self._from_store(sha256, cid)
            self._drop(self._place(sha256))  # what lies there is damaged or not whole
        manifest = Manifest.load(files.pop(_MANIFEST))
        return self._remember(manifest, Checkpoint.from_files(self._layout, files), cid, files)

    def require_at(self, sha256: str, cid: str, made: str) -> None:
        """See that a CID names a directory with this checkpoint's files. That which was `made` here does; others may
        hold something else beside them.

        Raises FormatError when it names something else, ContentUnavailable while what it names cannot be had.
        """
        if cid == made:
            return
        try:
            named = {item.name for item in self._seat.store.list(parse_cid(cid))}
            if not named.issuperset(_NAMES):
                raise ContentMismatch(f"The directory {cid} is not the checkpoint {sha256}", "a file is not in it")
            self._from_store(sha256, parse_cid(cid))
        except ContentMismatch as other:
            raise RuleBroken("wrong-entry", other.what, other.why) from other

    def manifest(self, sha256: str) -> bytes | None:
        """The manifest of a checkpoint that has been made or fetched here."""
        try:
            return (self._place(sha256) / _MANIFEST).read_bytes()
        except FileNotFoundError:
            return None

    # --- disk and store ----------------------------------------------------------------------------------------------

    def _place(self, sha256: str) -> Path:
        return self._folder / digest_bytes(sha256).hex()

    def _from_disk(self, sha256: str) -> dict[str, bytes] | None:
        folder = self._place(sha256)
        try:
            files = {name: (folder / name).read_bytes() for name in _NAMES}
        except FileNotFoundError:
            return None
        return files if _genuine(sha256, files) else None

    def _from_store(self, sha256: str, cid: str) -> dict[str, bytes]:
        if not cid:
            raise ContentUnavailable(f"The checkpoint {sha256} cannot be had", "no CID is known for it")
        store, size = self._seat.store, 16 * self._layout.numel + 2**20
        files = {name: store.get_file(parse_cid(cid), name, max_bytes=size) for name in _NAMES}
        if not _genuine(sha256, files):
            raise ContentMismatch(f"The directory {cid} is not the checkpoint {sha256}", "a file's digest differs")
        return files

    def _remember(self, manifest: Manifest, checkpoint: Checkpoint, cid: str, files: dict[str, bytes]) -> Held:
        folder = self._place(manifest.sha256)
        if not all((folder / name).exists() for name in _NAMES):
            folder.mkdir(exist_ok=True)
            for name, data in {**files, _MANIFEST: manifest.to_bytes()}.items():  # the manifest last: it completes it
                fresh = folder / f"{name}.{secrets.token_hex(4)}.new"
                fresh.write_bytes(data)
                fresh.replace(folder / name)
        _used(folder)
        held = Held(manifest, checkpoint, cid, folder)
        with self._lock:
            self._memory[held.sha256] = held
            while len(self._memory) > _IN_MEMORY:
                self._memory.popitem(last=False)
        self._tidy()
        return held

    def _tidy(self) -> None:
        """Keep what was used last on disk, and every manifest; the store has them all."""
        whole = sorted(self._folder.glob(f"*/{WEIGHTS_FILE}"), key=lambda p: p.stat().st_mtime)
        for weights in whole[:-_ON_DISK]:
            self._drop(weights.parent)

    def _drop(self, folder: Path) -> None:
        for name in (WEIGHTS_FILE, OUTER_FILE):
            (folder / name).unlink(missing_ok=True)


def _used(folder: Path) -> bool:
    """Mark a checkpoint on disk as used now; False when its files are gone."""
    try:
        os.utime(folder / WEIGHTS_FILE)
    except FileNotFoundError:
        return False
    return (folder / OUTER_FILE).exists()


def _genuine(sha256: str, files: dict[str, bytes]) -> bool:
    """Whether the manifest has this digest and the files those that the manifest names."""
    if sha256_hex(files[_MANIFEST]) != sha256:
        return False
    manifest = Manifest.load(files[_MANIFEST])
    named = {WEIGHTS_FILE: manifest.weights.sha256, OUTER_FILE: manifest.outer.sha256}
    return all(sha256_hex(files[name]) == digest for name, digest in named.items())
