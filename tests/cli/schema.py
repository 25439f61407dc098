"""What docs/cli.md says that commands print with --json, and whether an answer is that.

A schema is JSON: an object of field names, a list of one item, or the name of a type; `?` after a type allows null, a
field named `*` stands for all others. Every test that runs a command with --json checks its answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
_BLOCK = re.compile(r"^### `commonweight ([A-Za-z -]+)`\n\n```json\n(.*?)```", re.DOTALL | re.MULTILINE)


def _text(pattern: str) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


TYPES: Mapping[str, Callable[[object], bool]] = {
    "address": _text(r"0x[0-9a-fA-F]{40}"),
    "hash": _text(r"0x[0-9a-f]{64}"),
    "hex": _text(r"0x[0-9a-f]*"),
    "amount": _text(r"0|[1-9][0-9]*"),
    "text": lambda value: isinstance(value, str),
    "integer": _integer,
    "time": lambda value: _integer(value) and isinstance(value, int) and value >= 0,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "any": lambda value: True,
}


@cache
def schemas() -> Mapping[tuple[str, ...], Any]:
    """The documented schema of each command, by its words."""
    return {tuple(words.split()): json.loads(text) for words, text in _BLOCK.findall(PAGE.read_text())}


def command_of(arguments: Sequence[str]) -> tuple[str, ...]:
    """The documented command that a command line begins with; empty if there is none."""
    if "--unsigned" in arguments:
        return ("COMMAND", "--unsigned")
    if "--explain" in arguments:
        return (*arguments[:2], "--explain")
    found = [words for words in schemas() if tuple(arguments[: len(words)]) == words]
    return max(found, key=len, default=())


def differences(schema: Any, value: Any, where: str = "") -> list[str]:
    """What is not as documented, in words."""
    if isinstance(schema, str):
        name = schema.removesuffix("?")
        if value is None and schema.endswith("?"):
            return []
        return [] if TYPES[name](value) else [f"{where or 'it'} is {value!r}, not {schema}"]
    if isinstance(schema, list):
        if not isinstance(value, list):
            return [f"{where} is no list"]
        return [d for n, item in enumerate(value) for d in differences(schema[0], item, f"{where}[{n}]")]
    if not isinstance(value, dict):
        return [f"{where} is no object"]
    named = {name.removesuffix("?"): name.endswith("?") for name in schema if name != "*"}
    found = [f"{where}.{name} is missing" for name, optional in named.items() if name not in value and not optional]
    for name, inner in value.items():
        key = name if name in schema else f"{name}?" if f"{name}?" in schema else "*"
        if key not in schema:
            found.append(f"{where}.{name} is not documented")
        else:
            found += differences(schema[key], inner, f"{where}.{name}")
    return found
