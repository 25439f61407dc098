"""Tables of documents that a benchmark writes, between `<!-- NAME -->` and `<!-- end of NAME -->`."""

from __future__ import annotations

from pathlib import Path


def read_block(document: Path, name: str) -> str:
    """What stands between the marks; ValueError when they are not there."""
    before, after = _marks(name)
    text = document.read_text()
    return text[text.index(before) + len(before) : text.index(after)].strip()


def write_block(document: Path, name: str, content: str) -> None:
    """Replace what stands between the marks."""
    before, after = _marks(name)
    text = document.read_text()
    head, tail = text[: text.index(before) + len(before)], text[text.index(after) :]
    document.write_text(f"{head}\n\n{content}\n\n{tail}")


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- {name} -->", f"<!-- end of {name} -->"
