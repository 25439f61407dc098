"""RPC addresses as they may be shown: without the parts that carry access tokens."""

from __future__ import annotations

from urllib.parse import urlsplit


def mask_url(url: str) -> str:
    """A URL without user, path and query, where access tokens are."""
    parts = urlsplit(url)
    host = parts.hostname or "?"
    if ":" in host:
        host = f"[{host}]"
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")
