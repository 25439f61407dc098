"""Content by CID: an embedded folder or an IPFS node, with equal names for equal bytes. `open_store` is the way in."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from commonweight.errors import UsageError
from commonweight.store.base import Content, ContentStore, FileInfo, Item
from commonweight.store.cid import Cid, cid_of, parse_cid, raw_cid
from commonweight.store.fallback import FallbackStore
from commonweight.store.folder import FolderStore

__all__ = [
    "Cid", "Content", "ContentStore", "FileInfo", "FolderStore", "Item", "cid_of", "open_store", "parse_cid", "raw_cid",
]  # fmt: skip


def open_store(place: Path | str, *, make: bool = True) -> ContentStore:
    """Open a content store: a path or `file://` address is a folder, `http(s)://` the RPC of an IPFS node.

    Several, divided by commas, make one store: the first is written to, the others are asked for what it lacks.
    Raises UsageError for an address of another kind, StoreError when a folder cannot be opened and, without `make`,
    UsageError when one to read from is not there.
    """
    places = [part.strip() for part in str(place).split(",") if part.strip()]
    if not places:
        raise UsageError("No content store was named", "", "give --store a folder or the address of an IPFS node")
    stores = [_open(part, make=make or (part is places[0] and len(places) > 1)) for part in places]
    return stores[0] if len(stores) == 1 else FallbackStore(stores[0], *stores[1:])


def _open(place: str, *, make: bool) -> ContentStore:
    parts = urlsplit(place)
    if parts.scheme in ("http", "https") and parts.netloc:
        from commonweight.store.kubo import KuboStore  # keeps the HTTP client out of commands that use a folder

        return KuboStore(place)
    if parts.scheme == "file":
        return FolderStore(unquote(parts.path), make=make)
    if "://" in place:
        raise UsageError(
            f"{parts.scheme}:// is not a kind of content store",
            "",
            "use a path, a file:// address, or the http(s):// address of an IPFS node's RPC",
        )
    return FolderStore(place, make=make)
