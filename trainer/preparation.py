"""Text is turned into hashed shards of tokens and their manifest, in memory that hardly grows with the text.

Documents (files, or the texts of a stream) are listed first, each distinct one once, in an index on disk; then read
again one by one in the order of their SHA-256, so that the result depends on nothing but the contents. A share is set
aside as held-out text by the same hash, so that no document is ever on both sides. What is in memory is one document,
some text that is being tokenised, and the shard that is being filled.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import sqlite3
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from commonweight.errors import DataError
from commonweight.protocol.data import DataManifest, Shard, Split, Tokenizer
from commonweight.quantities import show_size
from commonweight.store.base import DEFAULT_MAX_BYTES as MAX_MANIFEST_BYTES
from commonweight.store.cid import Block, Cid
from commonweight.store.unixfs import add_file
from trainer.data import DTYPES, MANIFEST, MAX_SHARD_BYTES, Tokens, Told

SUFFIXES = (".py", ".txt", ".rst", ".md")
SEPARATOR = b"\0"
HELDOUT_BPS = 500
SOME_BYTES = 8 << 20
"""What is taken of text that nobody chose by name, or that has no end: Python's own, or a stream."""
SHARD_TOKENS = 1 << 20
"""The least of a shard; more text has larger ones, so that there are not too many."""
_MOST_SHARDS = 4096
_DOCUMENT_BYTES = 256 << 20
_BATCH_BYTES = 1 << 20
_WORK = ".preparing"
_SIDES = ("train", "heldout")
_SKIPPED = {"__pycache__", "site-packages", "test", "tests", "idle_test"}


@dataclass(frozen=True)
class Amount:
    """Distinct documents and their bytes."""

    documents: int
    bytes: int


@dataclass(frozen=True)
class Prepared:
    """What became of the text: `taken` is in the shards, `left` was found and is not, for it was more than was wanted.

    Of a stream that has more than that `ended` is False: nothing further was read.
    """

    manifest: DataManifest
    taken: Amount
    left: Amount
    ended: bool


def prepare(
    sources: Sequence[Path] | None,
    out_dir: Path,
    *,
    stream: Iterable[bytes] | None = None,
    tokenizer: Path | None = None,
    max_bytes: int | None = None,
    shard_tokens: int | None = None,
    heldout_bps: int = HELDOUT_BPS,
    told: Told | None = None,
) -> Prepared:
    """Write shards and manifest of the text in `sources` to `out_dir`.

    `sources` are files or directories (searched for .py, .txt, .rst and .md), each file a document; None means the
    Python standard library's own source and documentation. A `stream` of documents takes the place of `sources`; it is
    read, in its order, until there are `max_bytes` of text. `tokenizer` is a `tokenizers` JSON file; None means bytes.
    Documents are taken in the order of their SHA-256 until `max_bytes` of text are read; None means all of named
    sources, else SOME_BYTES. `shard_tokens` of None are SHARD_TOKENS, or a power of two times that where text is much.
    With a `heldout_bps` of 0 nothing is held out, for a provider's own shards; with 10,000 everything is, for what a
    run on such shards publishes.

    On disk a stream takes its text once more while it is prepared. Raises DataError, OSError.
    """
    told = told or _silent
    encoder = _Encoder(tokenizer)
    if shard_tokens is not None and shard_tokens * encoder.dtype.itemsize > MAX_SHARD_BYTES:
        most = MAX_SHARD_BYTES // encoder.dtype.itemsize
        raise DataError(f"Shards of {shard_tokens} tokens are too large", f"{most} is the most", "take smaller ones")
    if max_bytes is None and (stream is not None or sources is None):
        max_bytes = SOME_BYTES
    out_dir.mkdir(parents=True, exist_ok=True)
    work = out_dir / _WORK
    shutil.rmtree(work, ignore_errors=True)  # of one that was killed
    work.mkdir()
    try:
        with closing(_Documents(work)) as documents:
            ended = True
            if stream is None:
                documents.add_files(sources, told)
            else:
                ended = documents.add_stream(stream, max_bytes, told)
            plan = documents.plan(max_bytes, heldout_bps)
            if shard_tokens is None:
                shard_tokens = _shard_tokens(plan.taken.bytes, encoder.dtype.itemsize)
            progress = _Progress(told, plan.taken.bytes)
            train, heldout = (
                _write_split(side, encoder.tokens(documents.read(plan, side)), out_dir, shard_tokens, progress)
                for side in _SIDES
            )
            left = documents.found - plan.taken.documents, documents.bytes - plan.taken.bytes
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if tokenizer is not None:
        (out_dir / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    manifest = DataManifest(
        tokenizer=encoder.description,
        vocab_size=encoder.vocab_size,
        token_bytes=encoder.dtype.itemsize,
        train=train,
        heldout=heldout,
    )
    raw = manifest.to_bytes()
    if len(raw) > MAX_MANIFEST_BYTES:
        raise DataError("There are too many shards", f"{MANIFEST} has {len(raw)} bytes", "take larger ones")
    (out_dir / MANIFEST).write_bytes(raw)
    return Prepared(manifest, plan.taken, Amount(*left), ended)


@dataclass(frozen=True)
class _Plan:
    """Which documents are taken, all up to `last` in the order of their hashes, and to which side each goes."""

    taken: Amount
    last: bytes
    heldout_bps: int
    also_heldout: bytes | None  # where the hashes set nothing aside

    def side(self, digest: bytes) -> str:
        return _SIDES[digest == self.also_heldout or _set_aside(digest, self.heldout_bps)]


class _Documents:
    """Distinct documents by SHA-256, and where each can be read again; on disk, for a work directory's life."""

    def __init__(self, work: Path) -> None:
        self.found = self.bytes = 0
        self._texts = work / "texts"
        self._db = sqlite3.connect(work / "index.sqlite3", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("PRAGMA cache_size = -65536")
        self._db.execute(
            "CREATE TABLE documents (sha256 BLOB PRIMARY KEY, file BLOB, start INTEGER, size INTEGER) WITHOUT ROWID"
        )
        self._db.execute("BEGIN")

    def add_files(self, sources: Sequence[Path] | None, told: Told) -> None:
        """List files and the text files of folders. Raises DataError for what is not there."""
        for source in sources if sources is not None else [Path(sysconfig.get_paths()["stdlib"])]:
            if not source.exists():
                raise DataError(f"There is no {source}", "", "name files or directories that exist")
            for path in [source] if source.is_file() else _text_files(source):
                self._add(_file_text(path), os.fsencode(path.absolute()), 0)
                told("Reading documents", self.found, 0)

    def add_stream(self, stream: Iterable[bytes], max_bytes: int | None, told: Told) -> bool:
        """Keep a stream's texts until they are long enough; whether it ended before that."""
        with self._texts.open("wb") as kept:
            for document in stream:
                text, start = document.replace(SEPARATOR, b""), kept.tell()
                if not self._add(text, b"", start):
                    continue
                if max_bytes is not None and self.bytes > max_bytes and self.found > 1:
                    self._drop(text)
                    return False
                kept.write(text)
                told("Reading documents", self.found, 0)
        return True

    def plan(self, max_bytes: int | None, heldout_bps: int) -> _Plan:
        """Choose documents. Raises DataError where there are too few."""
        count = taken = heldout = 0
        last = last_train = b""
        for digest, size in self._db.execute("SELECT sha256, size FROM documents ORDER BY sha256"):
            if max_bytes is not None and taken + size > max_bytes and taken:
                break
            count, taken, last = count + 1, taken + size, digest
            if _set_aside(digest, heldout_bps):
                heldout += 1
            else:
                last_train = digest
        also_heldout = None
        if not heldout and count > 1 and heldout_bps:
            also_heldout, heldout = last_train, 1
        train = count - heldout
        if not count or (not heldout and heldout_bps) or (not train and heldout_bps < 10_000):
            raise DataError(
                "There is too little text",
                f"{train} documents to train on and {heldout} to hold out were found",
                f"name more files, or folders with {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} in them; training and"
                " held-out text need one each",
            )
        return _Plan(Amount(count, taken), last, heldout_bps, also_heldout)

    def read(self, plan: _Plan, side: str) -> Iterator[bytes]:
        """One side's documents, in order. Raises DataError when one is not what it was."""
        order = "SELECT sha256, file, start, size FROM documents WHERE sha256 <= ? ORDER BY sha256"
        with self._texts.open("a+b") as kept:
            for digest, file, start, size in self._db.execute(order, (plan.last,)):
                if plan.side(digest) != side:
                    continue
                text = _file_text(Path(os.fsdecode(file))) if file else _piece(kept, start, size)
                if hashlib.sha256(text).digest() != digest:
                    raise DataError(
                        f"{os.fsdecode(file) or self._texts} changed while it was prepared", "", "prepare it again"
                    )
                yield text

    def close(self) -> None:
        self._db.close()

    def _add(self, text: bytes, file: bytes, start: int) -> bool:
        """Whether this document is new, and has any text."""
        row = (hashlib.sha256(text).digest(), file, start, len(text))
        new = bool(text) and self._db.execute("INSERT OR IGNORE INTO documents VALUES (?, ?, ?, ?)", row).rowcount == 1
        if new:
            self.found, self.bytes = self.found + 1, self.bytes + len(text)
        return new

    def _drop(self, text: bytes) -> None:
        self._db.execute("DELETE FROM documents WHERE sha256 = ?", (hashlib.sha256(text).digest(),))
        self.found, self.bytes = self.found - 1, self.bytes - len(text)


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
        self.dtype = DTYPES[1 if self.vocab_size <= 2**8 else 2 if self.vocab_size <= 2**16 else 4]

    def tokens(self, documents: Iterable[bytes]) -> Iterator[tuple[int, Tokens]]:
        """The tokens of all documents in order, some documents at a time, each time with the bytes of their text."""
        for batch in _batches(documents):
            size = sum(map(len, batch))
            if self._tokenizer is None:
                yield size, np.frombuffer(SEPARATOR.join([*batch, b""]), dtype=self.dtype)
            else:
                encoded = self._tokenizer.encode_batch([text.decode("utf-8", "replace") for text in batch])
                yield size, np.concatenate([np.array(each.ids, dtype=self.dtype) for each in encoded])


@dataclass
class _Progress:
    told: Told
    total: int
    done: int = field(default=0, init=False)

    def more(self, size: int) -> None:
        self.done += size
        self.told("Writing shards", self.done, self.total)


def _write_split(
    name: str, stream: Iterator[tuple[int, Tokens]], out_dir: Path, shard_tokens: int, progress: _Progress
) -> Split:
    shards: list[Shard] = []
    pieces: list[Tokens] = []
    waiting = 0

    def write(tokens: Tokens) -> None:
        raw, file = tokens.tobytes(), f"{name}-{len(shards):05d}.bin"
        (out_dir / file).write_bytes(raw)
        shards.append(Shard(file, len(tokens), _sha256(raw), _cid(raw)))

    for size, tokens in stream:
        pieces.append(tokens)
        waiting += len(tokens)
        if waiting >= shard_tokens:
            joined: Tokens = np.concatenate(pieces)
            whole = waiting - waiting % shard_tokens
            for start in range(0, whole, shard_tokens):
                write(joined[start : start + shard_tokens])
            pieces, waiting = [joined[whole:].copy()], waiting - whole
        progress.more(size)
    if waiting:
        write(np.concatenate(pieces))
    return Split(tuple(shards))


def _shard_tokens(text_bytes: int, token_bytes: int) -> int:
    """How many tokens a shard has; a token is a byte of text at least."""
    tokens = SHARD_TOKENS
    while text_bytes > tokens * _MOST_SHARDS and 2 * tokens * token_bytes <= MAX_SHARD_BYTES:
        tokens *= 2
    return tokens


def _set_aside(digest: bytes, heldout_bps: int) -> bool:
    return int.from_bytes(digest[:4], "big") % 10_000 < heldout_bps


def _file_text(path: Path) -> bytes:
    if path.stat().st_size > _DOCUMENT_BYTES:
        raise DataError(
            f"{path} is too large for one document",
            f"it has {show_size(path.stat().st_size)}, {show_size(_DOCUMENT_BYTES)} is the most",
            "split it at the ends of texts into several files: a document is trained on or held out as a whole",
        )
    return path.read_bytes().replace(SEPARATOR, b"")


def _piece(file: BinaryIO, start: int, size: int) -> bytes:
    file.seek(start)
    return file.read(size)


def _text_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.suffix in SUFFIXES and path.is_file() and not _SKIPPED.intersection(inside.parts):
            yield path


def _batches(documents: Iterable[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document)
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _silent(name: str, done: int, total: int) -> None:
    del name, done, total


def _cid(data: bytes) -> Cid:
    """The CID that a store gives to these bytes."""

    def drop(block: Block) -> None:
        del block

    return add_file(io.BytesIO(data), drop).cid


def _sha256(data: bytes) -> str:
    return "0x" + hashlib.sha256(data).hexdigest()
