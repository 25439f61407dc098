"""The content store: bytes, files and directories by CID, over any place that keeps blocks.

`ContentStore` is written once over four block operations that a place has to offer. Whatever a place delivers is
hashed and compared with the CID before any of it is used. What cannot be had, or only damaged, is `ContentUnavailable`
and names the CID and every place that was tried; a right CID with what was not announced under it is
`ContentMismatch`. Calls block: an event loop runs them in a thread.
"""

import hashlib
import io
import os
import tempfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from commonweight.errors import ContentMismatch, ContentUnavailable, DamagedBlock, StoreError
from commonweight.store import hamt
from commonweight.store.cid import DAG_PB, RAW, Block, Cid, cid_of, codec_of, parse_cid
from commonweight.store.dagpb import TYPE_SHARD, Link, Node, decode
from commonweight.store.entries import Emit, Entry
from commonweight.store.unixfs import add_directory, add_file

MAX_BLOCK_BYTES = 2 << 20
MAX_FILE_DEPTH = 6
DEFAULT_MAX_BYTES = 1 << 26
MAX_DIRECTORIES_BYTES = 1 << 24  # of directory nodes that one `list` or `walk` visits
_NODE_COST = 64

Content = bytes | Path | Cid


@dataclass(frozen=True)
class Item:
    """One entry of a directory: its name, its CID, and the bytes of it and all that lies under it, as its link says."""

    name: str
    cid: Cid
    tsize: int


@dataclass(frozen=True)
class FileInfo:
    """What a CID names: a directory, or a file of `size` bytes."""

    cid: Cid
    is_directory: bool
    size: int


@dataclass
class _Budget:
    """What one reading may still visit of a tree in which a node may occur any number of times.

    A node costs 64 and the bytes of its block that are not a file's own (docs/protocol.md, section 22). What a file
    repeats are its bytes; a directory that occurs for the nth time costs n times as much.
    """

    root: Cid
    left: int
    visits: Counter[Cid] | None

    @classmethod
    def of_file(cls, root: Cid, size: int) -> "_Budget":
        """For a file: chunks of 4 KiB or more, by whoever cut them, keep within it."""
        return cls(root, (1 << 16) + size // 16, None)

    @classmethod
    def of_directories(cls, root: Cid) -> "_Budget":
        """For a directory, or all that are under one: as many files as evidence may have keep within it."""
        return cls(root, MAX_DIRECTORIES_BYTES, Counter())

    def spend(self, cid: Cid, overhead: int) -> None:
        """Count a visit. Raises ContentMismatch when the tree has too many of them."""
        times = 1
        if self.visits is not None:
            self.visits[cid] += 1
            times = self.visits[cid]
        self.left -= times * (_NODE_COST + overhead)
        if self.left < 0:
            raise ContentMismatch(
                f"The tree under {self.root} is too large for what it holds",
                "its nodes are far more than its files need",
                "use what an honest publisher has put in",
            )


class ContentStore(ABC):
    """A content store. `where` names it in errors: a folder or an address, never with credentials."""

    where: str

    # --- what a place of blocks offers -------------------------------------------------------------------------------

    @abstractmethod
    def load_block(self, cid: Cid) -> bytes:
        """The bytes that the place holds for a CID, not yet verified; raises ContentUnavailable."""

    def load_held(self, cid: Cid) -> bytes:
        """`load_block` for a place that would search a network for what it has not; without that search."""
        return self.load_block(cid)

    @abstractmethod
    def writing(self) -> AbstractContextManager[Emit]:
        """A context that takes blocks, children before parents, and has made all of them durable when it is left."""

    @abstractmethod
    def pin(self, cid: Cid) -> None:
        """Keep a file or directory with everything under it; raises ContentUnavailable when part of it is not to be
        had.
        """

    @abstractmethod
    def unpin(self, cid: Cid) -> None:
        """Stop keeping it; nothing happens if it was not pinned."""

    def sweep(self, keep: Iterable[Cid], younger_s: float) -> int:
        """Delete what is neither pinned nor under one of `keep` nor younger than that; returns the bytes that are free.

        A node collects its own garbage by what is pinned there, so by default nothing happens.
        """
        del keep, younger_s
        return 0

    def origins(self) -> tuple[str, ...]:
        """Multiaddresses at which others can fetch what is here; none for a place that serves nobody."""
        return ()

    @abstractmethod
    def close(self) -> None:
        """Give back connections."""

    # --- writing -----------------------------------------------------------------------------------------------------

    def put(self, data: bytes) -> Cid:
        """Store bytes as a file."""
        with self.writing() as emit:
            return add_file(io.BytesIO(data), emit).cid

    def put_file(self, path: Path | str) -> Cid:
        """Store a file from disk, in pieces of 1 MiB; only its bytes count, not its name or mode."""
        with Path(path).open("rb") as stream, self.writing() as emit:
            return add_file(stream, emit).cid

    def put_directory(self, files: Mapping[str, Content]) -> Cid:
        """Store a directory. Names may hold `/` for subdirectories; values are bytes, a Path to read, or a stored
        Cid.
        """
        with self.writing() as emit:
            return self._put_tree(_nest(files), emit).cid

    def put_folder(self, folder: Path | str) -> Cid:
        """Store a folder of the disk with all files below it; symbolic links are refused."""
        files: dict[str, Content] = {}
        for path in sorted(Path(folder).rglob("*")):
            if path.is_symlink():
                raise StoreError(f"{path} is a symbolic link", "links are not stored", "replace it by the file itself")
            if path.is_file():
                files[path.relative_to(folder).as_posix()] = path
        return self.put_directory(files)

    def _put_tree(self, tree: "_Tree", emit: Emit) -> Entry:
        entries: dict[str, Entry] = {}
        for name, content in tree.items():
            if isinstance(content, dict):
                entries[name] = self._put_tree(content, emit)
            elif isinstance(content, bytes):
                entries[name] = add_file(io.BytesIO(content), emit)
            elif isinstance(content, Path):
                with content.open("rb") as stream:
                    entries[name] = add_file(stream, emit)
            else:
                entries[name] = self._entry(parse_cid(content))
        return add_directory(entries, emit)

    def _entry(self, cid: Cid) -> Entry:
        data = self.get_block(cid)
        if codec_of(cid) == RAW:
            return Entry(cid, len(data), len(data))
        node = decode(data)
        return Entry(cid, node.filesize, len(data) + sum(link.tsize for link in node.links))

    # --- reading -----------------------------------------------------------------------------------------------------

    def get_block(self, cid: Cid) -> bytes:
        """One block, verified; raises ContentUnavailable, as DamagedBlock when its bytes hash to something else."""
        return self._verified(cid, self.load_block(cid))

    def held_block(self, cid: Cid) -> bytes:
        """The same out of what is at hand: no network is searched for it."""
        return self._verified(cid, self.load_held(cid))

    def _verified(self, cid: Cid, data: bytes) -> bytes:
        if len(data) > MAX_BLOCK_BYTES or cid_of(data, codec_of(cid)) != cid:
            raise DamagedBlock(
                f"The block {cid} is damaged",
                f"the {len(data)} bytes in {self.where} hash to something else",
                "fetch it again from another place, or put the original in again, which replaces the bad block",
            )
        return data

    def info(self, cid: Cid) -> FileInfo:
        """Whether a CID is a directory or a file, and how long; one block is read."""
        node = self._node(parse_cid(cid), _Budget.of_directories(cid))
        if isinstance(node, bytes):
            return FileInfo(cid, False, len(node))
        return FileInfo(cid, node.is_directory, node.filesize)

    def read(self, cid: Cid, max_bytes: int) -> Iterator[bytes]:
        """The pieces of a file in order, each verified before it is handed out; refused when it is over `max_bytes`."""
        info = self.info(cid)
        if info.is_directory:
            raise ContentMismatch(f"{cid} is a directory, not a file", "", "name the file in it")
        if info.size > max_bytes:
            raise ContentMismatch(f"{cid} is too long", f"it has {info.size} bytes, {max_bytes} are allowed here")
        return self._pieces(cid, info.size, 0, _Budget.of_file(cid, info.size))

    def get(self, cid: Cid, max_bytes: int = DEFAULT_MAX_BYTES, sha256: str | None = None) -> bytes:
        """A file's bytes; `sha256` (0x and 64 digits) is checked too when it is given. Raises StoreError's
        subclasses.
        """
        data = b"".join(self.read(cid, max_bytes))
        _check_sha256(cid, hashlib.sha256(data).hexdigest(), sha256)
        return data

    def list(self, cid: Cid) -> list[Item]:
        """The entries of a directory, in the order of their names' bytes. Raises StoreError when it is too large."""
        budget = _Budget.of_directories(cid)
        return list(self._items(self._directory(parse_cid(cid), budget), budget))

    def walk(self, cid: Cid) -> Iterator[Item]:
        """Every file below a directory, by its path. Raises StoreError when directories nest deeper than 32, or are too
        large together.
        """
        budget = _Budget.of_directories(cid)
        yield from self._walk(self._directory(parse_cid(cid), budget), "", 0, budget, set())

    def resolve(self, directory: Cid, path: str) -> Cid:
        """The CID of `path` (parts divided by `/`) below a directory; ContentUnavailable when it has no such entry."""
        cid, read = directory, partial(self._directory, budget=_Budget.of_directories(directory))
        for part in path.split("/"):
            node = read(parse_cid(cid))
            if node.kind == TYPE_SHARD:
                found = [entry] if (entry := hamt.find(node, part, read)) else []
            else:
                found = [link.cid for link in node.links if link.name == part]
            if len(found) != 1:
                raise ContentUnavailable(
                    f"The directory {directory} has no file {path!r}",
                    f"{part!r} is not in it" if not found else f"{part!r} occurs {len(found)} times",
                    "check that the directory is complete and of the expected kind",
                )
            cid = found[0]
        return cid

    def get_file(
        self, directory: Cid, path: str, max_bytes: int = DEFAULT_MAX_BYTES, sha256: str | None = None
    ) -> bytes:
        """The bytes of a file in a directory."""
        return self.get(self.resolve(directory, path), max_bytes, sha256)

    def save(self, cid: Cid, path: Path | str, max_bytes: int, sha256: str | None = None) -> None:
        """Write a file to disk: whole, verified and synced, or not at all."""
        target = Path(path)
        digest = hashlib.sha256()
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as stream:
                for piece in self.read(cid, max_bytes):
                    digest.update(piece)
                    stream.write(piece)
                _check_sha256(cid, digest.hexdigest(), sha256)
                sync_file(stream)
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def has(self, cid: Cid) -> bool:
        """Whether everything under a CID is here and right; reads and hashes all of it."""
        try:
            for _ in self.blocks(cid):
                pass
        except (ContentUnavailable, ContentMismatch):
            return False
        return True

    def blocks(self, cid: Cid) -> Iterator[Block]:
        """Every block under a CID, verified, children before parents, each once."""
        yield from self._blocks(cid, set(), 0)

    # --- the inside --------------------------------------------------------------------------------------------------

    def _node(self, cid: Cid, budget: _Budget) -> bytes | Node:
        data = self.get_block(cid)
        if codec_of(cid) == RAW:
            budget.spend(cid, 0)
            return data
        node = decode(data)
        budget.spend(cid, len(data) - len(node.data))
        return node

    def _directory(self, cid: Cid, budget: _Budget) -> Node:
        node = self._node(cid, budget)
        if isinstance(node, bytes) or not node.is_directory:
            raise ContentMismatch(f"{cid} is a file, not a directory", "", "read it with get")
        return node

    def _pieces(self, cid: Cid, expected: int, depth: int, budget: _Budget) -> Iterator[bytes]:
        node = self._node(cid, budget)
        size = len(node) if isinstance(node, bytes) else node.filesize if not node.is_directory else -1
        if size != expected or depth > MAX_FILE_DEPTH or (depth and not size):
            raise ContentMismatch(f"The file node {cid} is malformed", "sizes or depth of its tree are not right")
        if isinstance(node, bytes):
            yield node
            return
        if node.data:
            yield node.data
        for link, link_size in zip(node.links, node.blocksizes, strict=True):
            yield from self._pieces(link.cid, link_size, depth + 1, budget)

    def _items(self, node: Node, budget: _Budget) -> Iterator[Item]:
        links: Iterable[Link] = node.links
        if node.kind == TYPE_SHARD:
            entries = hamt.entries_of(node, partial(self._directory, budget=budget))
            links = sorted(entries, key=lambda link: link.name.encode())
        yield from (Item(link.name, link.cid, link.tsize) for link in links)

    def _walk(self, node: Node, prefix: str, depth: int, budget: _Budget, files: set[Cid]) -> Iterator[Item]:
        if depth > 32:
            raise StoreError(f"Directories below {budget.root} nest deeper than 32")
        for item in self._items(node, budget):
            is_file = codec_of(item.cid) == RAW or item.cid in files
            below = None if is_file else self._node(item.cid, budget)
            if isinstance(below, Node) and below.is_directory:
                yield from self._walk(below, f"{prefix}{item.name}/", depth + 1, budget, files)
            else:
                files.add(item.cid)
                yield Item(prefix + item.name, item.cid, item.tsize)

    def _blocks(self, cid: Cid, seen: set[Cid], depth: int) -> Iterator[Block]:
        if cid in seen:
            return
        seen.add(cid)
        if depth > 32 + MAX_FILE_DEPTH:
            raise StoreError(f"The tree of blocks at {cid} is too deep")
        data = self.get_block(cid)
        if codec_of(cid) == DAG_PB:
            for link in decode(data).links:
                yield from self._blocks(link.cid, seen, depth + 1)
        yield Block(cid, data)


def sync_file(stream: BinaryIO) -> None:
    """Push a written file to the disk."""
    stream.flush()
    os.fsync(stream.fileno())


def unavailable(cid: Cid, tried: list[str], why: str = "") -> ContentUnavailable:
    """The error for content that none of the places has."""
    return ContentUnavailable(
        f"{cid} is not available",
        f"tried {', '.join(tried)}" + (f": {why}" if why else ""),
        "add a place that has it to --store (several, divided by commas), or ask its publisher to keep it",
    )


_Tree = dict[str, "bytes | Path | Cid | _Tree"]


def _nest(files: Mapping[str, Content]) -> _Tree:
    tree: _Tree = {}
    for path, content in files.items():
        *folders, name = path.split("/")
        level = tree
        for folder in folders:
            below = level.setdefault(folder, {})
            if not isinstance(below, dict):
                raise StoreError(f"{folder!r} in {path!r} is both a file and a directory", "", "rename one of them")
            level = below
        if name in level:
            raise StoreError(f"{path!r} occurs twice in a directory", "", "rename one of them")
        level[name] = content
    return tree


def _check_sha256(cid: Cid, found: str, expected: str | None) -> None:
    if expected is not None and expected.lower().removeprefix("0x") != found:
        raise ContentMismatch(
            f"The file {cid} is not the one that was announced",
            f"its SHA-256 is 0x{found}, announced was {expected}",
            "the announcement and the content name do not belong together; do not use the file",
        )
