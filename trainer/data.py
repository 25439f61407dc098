"""Training data: text is turned into hashed shards of tokens once, and read back only if every shard has its hash.

`prepare` reads documents, drops exact duplicates, sets a share of them aside as held-out text by the hash of their
content (so that no document is ever on both sides), tokenises and writes `manifest.json` beside the shards. `Corpus`
opens such a directory, verifies all of it, and hands out the batches that `commonweight.protocol.data` selects.
"""

from __future__ import annotations

import hashlib
import io
import math
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from commonweight.errors import DataError, UsageError
from commonweight.protocol.data import DataManifest, Shard, Split, Tokenizer, locate, sample_windows, windows
from commonweight.protocol.runconfig import RunConfig
from commonweight.store.base import ContentStore
from commonweight.store.cid import Block, Cid
from commonweight.store.unixfs import add_file

MANIFEST = "manifest.json"
SUFFIXES = (".py", ".txt", ".rst", ".md")
SEPARATOR = b"\0"
HELDOUT_BPS = 500
DEFAULT_MAX_BYTES = 8 << 20
DEFAULT_SHARD_TOKENS = 1 << 20
MAX_SHARD_BYTES = 1 << 30
Tokens = NDArray[np.unsignedinteger]

_SKIPPED = {"__pycache__", "site-packages", "test", "tests", "idle_test"}
_DTYPES: dict[int, np.dtype[np.unsignedinteger]] = {size: np.dtype(f"<u{size}") for size in (1, 2, 4)}


def prepare(
    sources: Sequence[Path] | None,
    out_dir: Path,
    *,
    stream: Iterable[bytes] | None = None,
    tokenizer: Path | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
    shard_tokens: int = DEFAULT_SHARD_TOKENS,
    heldout_bps: int = HELDOUT_BPS,
) -> DataManifest:
    """Write shards and manifest of the text in `sources` to `out_dir` and return the manifest.

    `sources` are files or directories (searched for .py, .txt, .rst and .md); None means the Python standard library's
    own source and documentation. A `stream` of documents takes the place of `sources`; it is read, in its order, until
    there are `max_bytes` of text. `tokenizer` is a `tokenizers` JSON file; None means bytes. Documents are taken in the
    order of their SHA-256 until `max_bytes` of text are read, so the result depends on nothing but the contents. With a
    `heldout_bps` of 0 nothing is held out, for a provider's own shards; with 10,000 everything is, for what a run on
    such shards publishes.
    Raises DataError.
    """
    taken = 0
    train: list[bytes] = []
    heldout: list[bytes] = []
    found = _documents(sources) if stream is None else _first(stream, max_bytes)
    for digest, document in sorted(found):
        if taken + len(document) > max_bytes and taken:
            break
        taken += len(document)
        (heldout if int.from_bytes(digest[:4], "big") % 10_000 < heldout_bps else train).append(document)
    if not heldout and len(train) > 1 and heldout_bps:
        heldout.append(train.pop())
    if not (train or heldout) or (not heldout and heldout_bps) or (not train and heldout_bps < 10_000):
        raise DataError(
            "There is too little text",
            f"{len(train)} documents to train on and {len(heldout)} to hold out were found",
            "name more files, or folders with .py, .txt, .rst or .md in them; training and held-out text need one each",
        )
    encoder = _Encoder(tokenizer)
    out_dir.mkdir(parents=True, exist_ok=True)
    if tokenizer is not None:
        (out_dir / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    manifest = DataManifest(
        tokenizer=encoder.description,
        vocab_size=encoder.vocab_size,
        token_bytes=encoder.dtype.itemsize,
        train=_write_split("train", encoder.stream(train), out_dir, shard_tokens),
        heldout=_write_split("heldout", encoder.stream(heldout), out_dir, shard_tokens),
    )
    (out_dir / MANIFEST).write_bytes(manifest.to_bytes())
    return manifest


def publish(store: ContentStore, data_dir: Path) -> Cid:
    """Put manifest and shards of a prepared directory into the content store; returns the manifest's CID."""
    manifest = DataManifest.load((data_dir / MANIFEST).read_bytes())
    for file in _files(manifest):
        if store.put_file(data_dir / file.name) != file.cid:
            raise DataError(f"{file.name} is not what the manifest names", "", "prepare the data again")
    return store.put_file(data_dir / MANIFEST)


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
        dtype = _DTYPES[manifest.token_bytes]
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


class _Encoder:
    """Turns documents into tokens, by bytes (a zero byte between documents) or with a `tokenizers` file."""

    def __init__(self, path: Path | None) -> None:
        self._tokenizer = None
        self.vocab_size = 256
        self.description = Tokenizer("bytes")
        if path is not None:
            from tokenizers import Tokenizer as TokenizerFile

            raw = path.read_bytes()
            self._tokenizer = TokenizerFile.from_buffer(raw)
            self.vocab_size = self._tokenizer.get_vocab_size()
            self.description = Tokenizer("tokenizers", "tokenizer.json", _sha256(raw), _cid(raw))
        self.dtype = _DTYPES[1 if self.vocab_size <= 2**8 else 2 if self.vocab_size <= 2**16 else 4]

    def stream(self, documents: Iterable[bytes]) -> Iterator[Tokens]:
        """The tokens of each document."""
        for document in documents:
            if self._tokenizer is None:
                yield np.frombuffer(document + SEPARATOR, dtype=self.dtype)
            else:
                yield np.array(self._tokenizer.encode(document.decode("utf-8", "replace")).ids, dtype=self.dtype)


def _documents(sources: Sequence[Path] | None) -> Iterator[tuple[bytes, bytes]]:
    """(SHA-256, content) of every distinct non-empty document."""
    seen: set[bytes] = set()
    for source in sources if sources is not None else [Path(sysconfig.get_paths()["stdlib"])]:
        if not source.exists():
            raise DataError(f"There is no {source}", "", "name files or directories that exist")
        for path in [source] if source.is_file() else _text_files(source):
            content = path.read_bytes().replace(SEPARATOR, b"")
            digest = hashlib.sha256(content).digest()
            if content and digest not in seen:
                seen.add(digest)
                yield digest, content


def _first(stream: Iterable[bytes], max_bytes: int) -> Iterator[tuple[bytes, bytes]]:
    """The documents of a stream, each once, until they are long enough."""
    seen: set[bytes] = set()
    taken = 0
    for document in stream:
        content = document.replace(SEPARATOR, b"")
        digest = hashlib.sha256(content).digest()
        if content and digest not in seen:
            seen.add(digest)
            taken += len(content)
            if taken > max_bytes and len(seen) > 1:
                return
            yield digest, content


def _text_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.suffix in SUFFIXES and path.is_file() and not _SKIPPED.intersection(inside.parts):
            yield path


def _write_split(name: str, stream: Iterator[Tokens], out_dir: Path, shard_tokens: int) -> Split:
    pieces = list(stream)
    tokens: Tokens = np.concatenate(pieces) if pieces else np.zeros(0, np.uint8)
    shards = []
    for number, start in enumerate(range(0, len(tokens), shard_tokens)):
        piece = tokens[start : start + shard_tokens]
        raw = piece.tobytes()
        file = f"{name}-{number:05d}.bin"
        (out_dir / file).write_bytes(raw)
        shards.append(Shard(file, len(piece), _sha256(raw), _cid(raw)))
    return Split(tuple(shards))


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


def _cid(data: bytes) -> Cid:
    """The CID that a store gives to these bytes."""

    def drop(block: Block) -> None:
        del block

    return add_file(io.BytesIO(data), drop).cid


def _sha256(data: bytes) -> str:
    return "0x" + hashlib.sha256(data).hexdigest()


def _file_sha256(path: Path) -> str | None:
    """SHA-256 of a file, None when it is not there."""
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        return "0x" + hashlib.file_digest(stream, "sha256").hexdigest()
