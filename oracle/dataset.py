"""The run's data set on this signer's disk, for the replay worker: fetched from the store, every file verified."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from commonweight.protocol.data import DataManifest
from commonweight.protocol.runconfig import RunConfig
from commonweight.store import Cid, ContentStore, parse_cid

_MAX_FILE = 1 << 34
_PIECE = 1 << 20


def fetch(store: ContentStore, config: RunConfig, folder: Path) -> None:
    """Get what the folder lacks. Blocks. Raises ContentUnavailable or ContentMismatch, which name the file."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = store.get(parse_cid(config.data.manifest_cid), sha256=config.data.manifest_sha256)
    for name, sha256, cid in _files(DataManifest.load(raw)):
        if _sha256(folder / name) != sha256:
            store.save(parse_cid(cid), folder / name, _MAX_FILE, sha256=sha256)
    (folder / "manifest.json").write_bytes(raw)


def files_of(store: ContentStore, config: RunConfig) -> list[Cid]:
    """The CIDs of the data set's files, beside its manifest. Blocks. Raises StoreError."""
    if not config.data.manifest_cid:
        return []
    raw = store.get(parse_cid(config.data.manifest_cid), sha256=config.data.manifest_sha256)
    return [parse_cid(cid) for _, _, cid in _files(DataManifest.load(raw))]


def _files(manifest: DataManifest) -> Iterator[tuple[str, str, str]]:
    """(name, sha256, CID) of every shard and of the tokenizer's file, if there is one."""
    for shard in (*manifest.train.shards, *manifest.heldout.shards):
        yield shard.name, shard.sha256, shard.cid
    if manifest.tokenizer.sha256 is not None:
        yield manifest.tokenizer.file, manifest.tokenizer.sha256, manifest.tokenizer.cid


def _sha256(path: Path) -> str | None:
    if not path.is_file():
        return None
    hasher = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE):
            hasher.update(piece)
    return "0x" + hasher.hexdigest()
