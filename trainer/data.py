"""Training data: a directory of hashed shards of tokens and their manifest, as `trainer.preparation` writes it.

`publish` and `fetch` move one through a content store. `Corpus` opens one only if every shard has its hash, and hands
out the batches that `commonweight.protocol.data` selects.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from commonweight.errors import DataError, UsageError
from commonweight.protocol.data import DataManifest, Shard, Split, locate, sample_windows, windows
from commonweight.protocol.runconfig import RunConfig
from commonweight.store.base import ContentStore
from commonweight.store.cid import Cid

MANIFEST = "manifest.json"
MAX_SHARD_BYTES = 1 << 30
Tokens = NDArray[np.unsignedinteger]
DTYPES: dict[int, np.dtype[np.unsignedinteger]] = {size: np.dtype(f"<u{size}") for size in (1, 2, 4)}


Told = Callable[[str, int, int], None]
"""Is told a step's name, how much of it is done, and how much there is (0: not known yet)."""


def publish(store: ContentStore, data_dir: Path, told: Told | None = None) -> Cid:
    """Put manifest and shards of a prepared directory into the content store; returns the manifest's CID."""
    files = list(_files(DataManifest.load((data_dir / MANIFEST).read_bytes())))
    for number, file in enumerate(files):
        if told is not None:
            told("Publishing", number, len(files))
        if store.put_file(data_dir / file.name) != file.cid:
            raise DataError(f"{file.name} is not what the manifest names", "", "prepare the data again")
    cid = store.put_file(data_dir / MANIFEST)
    if told is not None:
        told("Publishing", len(files), len(files))
    return cid


def fetch(store: ContentStore, manifest_cid: str, manifest_sha256: str, data_dir: Path) -> None:
    """Get what `data_dir` still lacks of a published data set from the content store; every file is verified."""
    data_dir.mkdir(parents=True, exist_ok=True)
    raw = store.get(Cid(manifest_cid), sha256=manifest_sha256)
    for file in _files(DataManifest.load(raw)):
        if _file_sha256(data_dir / file.name) != file.sha256:
            store.save(Cid(file.cid), data_dir / file.name, MAX_SHARD_BYTES, sha256=file.sha256)
    (data_dir / MANIFEST).write_bytes(raw)


def own_shards(store: ContentStore, config: RunConfig, folder: Path | None) -> Corpus | None:
    """A member's own shards, in a run on private shards; None in any other. Nothing of them goes anywhere.

    Raises UsageError where a folder is named and not wanted, or the other way round; DataError as `open_private` does.
    """
    if config.private and folder is None:
        raise UsageError(
            "This run trains on shards that stay with their owners",
            "nobody publishes any to train on",
            "prepare yours by `commonweight data prepare`, and name their folder by --private-data",
        )
    if not config.private and folder is not None:
        raise UsageError(
            "This run trains on published shards alone",
            "work on others could not be replayed, and would be refused",
            "leave --private-data out",
        )
    if folder is None:
        return None
    raw = store.get(Cid(config.data.manifest_cid), sha256=config.data.manifest_sha256)
    return Corpus.open_private(folder, DataManifest.load(raw))


@dataclass(frozen=True)
class Corpus:
    """A verified data set: the tokens of both splits, memory-mapped shard by shard."""

    manifest: DataManifest
    train: tuple[Tokens, ...]
    heldout: tuple[Tokens, ...]

    @classmethod
    def open(cls, data_dir: Path, manifest_sha256: str | None = None) -> Corpus:
        """Verify and open a directory; `manifest_sha256` (0x...) is what the run's configuration names.

        Raises DataError that names the file which is missing, altered or of the wrong length.
        """
        path = data_dir / MANIFEST
        found = _file_sha256(path)
        if found is None:
            raise DataError(f"There is no data manifest in {data_dir}", "", "prepare or fetch the run's data first")
        if manifest_sha256 is not None and found != manifest_sha256:
            raise DataError(f"{path} is not this run's manifest", f"its SHA-256 is {found}", "fetch the data again")
        manifest = DataManifest.load(path.read_bytes())
        dtype = DTYPES[manifest.token_bytes]
        return cls(
            manifest,
            tuple(_open_shard(data_dir, shard, dtype) for shard in manifest.train.shards),
            tuple(_open_shard(data_dir, shard, dtype) for shard in manifest.heldout.shards),
        )

    @classmethod
    def open_private(cls, data_dir: Path, published: DataManifest) -> Corpus:
        """Verify and open a member's own shards for a run on private shards, whose manifest is `published`.

        Raises DataError where they are not in the run's tokens, or there are none.
        """
        found = cls.open(data_dir)
        ours, theirs = (
            f"{m.vocab_size} {m.tokenizer.kind} {m.tokenizer.sha256 or ''}" for m in (found.manifest, published)
        )
        if ours != theirs:
            raise DataError(
                f"The shards in {data_dir} are not in this run's tokens",
                f"they are made of {ours}, the run of {theirs}",
                "prepare them by `commonweight data prepare` with the run's tokenizer",
            )
        if not found.manifest.train.tokens:
            raise DataError(
                f"There is nothing to train on in {data_dir}", "all of it is held out",
                "prepare it by `commonweight data prepare --heldout-bps 0`",
            )  # fmt: skip
        return found

    def batch(self, data_seed: bytes, data_start: int, step: int, size: int, seq_len: int) -> NDArray[np.int64]:
        """The tokens of a member's inner step: int64 [size, seq_len + 1]. `step` counts from the round's first, 0."""
        total = windows(self.manifest.train, seq_len)
        chosen = sample_windows(data_seed, data_start, step, size, total)
        return np.stack([_read(self.manifest.train, self.train, seq_len, window) for window in chosen])

    def heldout_windows(self, count: int, seq_len: int) -> NDArray[np.int64]:
        """Up to `count` windows spread evenly over the held-out text, int64 [n, seq_len + 1]."""
        split = self.manifest.heldout
        total = windows(split, seq_len)
        if total < 1:
            raise DataError("The held-out text is shorter than one window", f"it has {split.tokens} tokens")
        count = min(count, total)
        return np.stack([_read(split, self.heldout, seq_len, i * total // count) for i in range(count)])

    def unigram_entropy(self) -> float:
        """Entropy of single tokens of the held-out text in nats: what a model that only counts tokens reaches."""
        counts = np.zeros(self.manifest.vocab_size, dtype=np.int64)
        for shard in self.heldout:
            counts += np.bincount(shard.astype(np.int64), minlength=len(counts))
        total = int(counts.sum())
        return -math.fsum(count / total * math.log(count / total) for count in counts.tolist() if count)


def _open_shard(data_dir: Path, shard: Shard, dtype: np.dtype[np.unsignedinteger]) -> Tokens:
    path = data_dir / shard.name
    found = _file_sha256(path)
    if found is None:
        raise DataError(f"The data shard {shard.name} is missing", f"{path} is not there", "fetch the run's data again")
    if found != shard.sha256 or path.stat().st_size != shard.tokens * dtype.itemsize:
        raise DataError(
            f"The data shard {shard.name} is altered",
            f"{path} has SHA-256 {found}, the manifest says {shard.sha256}",
            "delete the file and fetch the run's data again",
        )
    return np.asarray(np.memmap(path, dtype=dtype, mode="r"))  # a plain view: it is sliced much more quickly


def _read(split: Split, shards: tuple[Tokens, ...], seq_len: int, window: int) -> NDArray[np.int64]:
    """The seq_len + 1 tokens of one window."""
    at = locate(split, seq_len, window)
    return shards[at.shard][at.offset : at.offset + seq_len + 1].astype(np.int64)


def _files(manifest: DataManifest) -> Iterator[Shard]:
    """Every file beside the manifest: the shards, and the tokenizer's file as one without tokens."""
    yield from manifest.train.shards
    yield from manifest.heldout.shards
    if manifest.tokenizer.sha256 is not None:
        yield Shard(manifest.tokenizer.file, 0, manifest.tokenizer.sha256, manifest.tokenizer.cid)


def _file_sha256(path: Path) -> str | None:
    """SHA-256 of a file, None when it is not there."""
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        return "0x" + hashlib.file_digest(stream, "sha256").hexdigest()
