"""Training data: the manifest of hashed token shards, and which windows a member trains on in each step.

A window is `seq_len + 1` tokens at a multiple of `seq_len` within one shard, so each token but a shard's first is
predicted in at most one window. Positions 0, 1, 2, ... map to windows by a keyed permutation; the coordinator hands
out disjoint ranges of positions, so nothing repeats or overlaps between members and rounds before all data was
used. Integers and SHA-256 only.
"""

import hashlib
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from commonweight.errors import DataError, FormatError
from commonweight.protocol.canonical import JsonObject, dumps, loads, sha256_hex
from commonweight.protocol.fields import Fields

__all__ = [
    "SCHEMA",
    "DataManifest",
    "Shard",
    "Split",
    "Tokenizer",
    "Window",
    "data_seed",
    "locate",
    "permute",
    "sample_windows",
    "window_at",
    "windows",
]

SCHEMA = "commonweight.data.v1"
_ROUNDS = 8


@dataclass(frozen=True)
class Tokenizer:
    """`bytes` (one token a byte, no file) or `tokenizers` (a tokenizer.json by content)."""

    kind: str
    file: str = ""
    sha256: str | None = None
    cid: str = ""


@dataclass(frozen=True)
class Shard:
    """A file of `tokens` little-endian unsigned integers of the manifest's `token_bytes`."""

    name: str
    tokens: int
    sha256: str
    cid: str


@dataclass(frozen=True)
class Split:
    """The shards of one split, in order; none where a split is not published."""

    shards: tuple[Shard, ...]

    @property
    def tokens(self) -> int:
        """All tokens."""
        return sum(shard.tokens for shard in self.shards)


@dataclass(frozen=True)
class DataManifest:
    """manifest.json of prepared data."""

    tokenizer: Tokenizer
    vocab_size: int
    token_bytes: int
    train: Split
    heldout: Split

    def to_json(self) -> JsonObject:
        """The manifest as JSON."""
        tokenizer: JsonObject = {"kind": self.tokenizer.kind}
        if self.tokenizer.kind != "bytes":
            tokenizer |= {"file": self.tokenizer.file, "sha256": self.tokenizer.sha256, "cid": self.tokenizer.cid}
        return {
            "schema": SCHEMA,
            "tokenizer": tokenizer,
            "vocab_size": self.vocab_size,
            "token_bytes": self.token_bytes,
            "train": _split_json(self.train),
            "heldout": _split_json(self.heldout),
        }

    def to_bytes(self) -> bytes:
        """manifest.json."""
        return dumps(self.to_json())

    @cached_property
    def sha256(self) -> str:
        """Digest of manifest.json, 0x-hex."""
        return sha256_hex(self.to_bytes())

    @classmethod
    def load(cls, data: bytes) -> "DataManifest":
        """Reads canonical manifest.json; FormatError when a field is wrong."""
        f = Fields(loads(data), "data manifest")
        f.choice("schema", (SCHEMA,))
        manifest = cls(
            f.child("tokenizer", _read_tokenizer),
            f.integer("vocab_size", 2, 2**20),
            f.integer("token_bytes", 1, 4),
            f.child("train", _read_split),
            f.child("heldout", _read_split),
        )
        f.done()
        if manifest.token_bytes == 3 or manifest.vocab_size > 256**manifest.token_bytes:
            raise FormatError("data manifest.token_bytes does not fit the vocabulary", f"{manifest.token_bytes} bytes")
        names = [shard.name for split in (manifest.train, manifest.heldout) for shard in split.shards]
        if len(set(names)) != len(names):
            raise FormatError("A data manifest names a shard twice")
        return manifest


@dataclass(frozen=True)
class Window:
    """Where a window lies: the shard's place in its split, and the offset of its first token there."""

    shard: int
    offset: int


def windows(split: Split, seq_len: int) -> int:
    """Number of windows of a split: floor((tokens - 1) / seq_len) in each shard."""
    return sum(max(0, shard.tokens - 1) // seq_len for shard in split.shards)


def locate(split: Split, seq_len: int, window: int) -> Window:
    """Where window number `window` lies, counting through the shards in order. DataError beyond the last."""
    ends = list(accumulate(max(0, shard.tokens - 1) // seq_len for shard in split.shards))
    if not ends or not 0 <= window < ends[-1]:
        raise DataError("There is no such window of training data", f"window {window} of {ends[-1] if ends else 0}")
    shard = bisect_right(ends, window)
    return Window(shard, (window - (ends[shard - 1] if shard else 0)) * seq_len)


def data_seed(genesis_seed: bytes) -> str:
    """The data seed that every plan of a run carries: SHA-256 of "commonweight.data.v1" and the genesis seed."""
    return sha256_hex(b"commonweight.data.v1" + genesis_seed)


def window_at(seed: bytes, position: int, total: int) -> int:
    """The window at a position of the endless sequence: pass `position // total` goes through all windows once."""
    if total < 1 or position < 0:
        raise DataError("There is no training data to choose from", f"{total} windows, position {position}")
    turn, place = divmod(position, total)
    key = hashlib.sha256(
        b"commonweight.windows.v1" + seed + turn.to_bytes(8, "big") + total.to_bytes(8, "big")
    ).digest()
    return permute(key, place, total)


def sample_windows(seed: bytes, data_start: int, step: int, batch: int, total: int) -> list[int]:
    """The windows of inner step `step` (from 0) of a member: positions data_start + step*batch + (0..batch-1)."""
    first = data_start + step * batch
    return [window_at(seed, position, total) for position in range(first, first + batch)]


def permute(key: bytes, value: int, size: int) -> int:
    """A keyed permutation of 0..size-1: an 8-round balanced Feistel network, walked until it falls inside the range.

    Both halves have h = max(1, ceil(bits(size - 1) / 2)) bits. The round function is the first 8 bytes, big-endian, of
    SHA-256(key, round as one byte, right half as 8 bytes big-endian), cut to its low h bits.
    """
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = value >> half, value & mask
        for number in range(_ROUNDS):
            mixed = hashlib.sha256(key + bytes([number]) + right.to_bytes(8, "big")).digest()
            left, right = right, left ^ (int.from_bytes(mixed[:8], "big") & mask)
        value = left << half | right
        if value < size:
            return value


def _read_tokenizer(f: Fields) -> Tokenizer:
    kind = f.choice("kind", ("bytes", "tokenizers"))
    return Tokenizer(kind) if kind == "bytes" else Tokenizer(kind, _name(f, "file"), f.digest("sha256"), f.cid("cid"))


def _read_shard(f: Fields) -> Shard:
    return Shard(_name(f, "name"), f.integer("tokens", 0, 2**48), f.digest("sha256"), f.cid("cid"))


def _read_split(f: Fields) -> Split:
    total = f.integer("tokens")
    split = Split(f.objects("shards", _read_shard, 0, 100_000))
    if split.tokens != total:
        raise f.wrong("tokens", f"the sum of its shards, {split.tokens}", total)
    return split


def _name(f: Fields, name: str) -> str:
    """A file name without any path in it."""
    text = f.text(name, 100)
    if not text or text.startswith(".") or not all(c.isascii() and (c.isalnum() or c in "._-") for c in text):
        raise f.wrong(name, "a plain file name", text)
    return text


def _split_json(split: Split) -> JsonObject:
    return {
        "tokens": split.tokens,
        "shards": [{"name": s.name, "tokens": s.tokens, "sha256": s.sha256, "cid": s.cid} for s in split.shards],
    }
