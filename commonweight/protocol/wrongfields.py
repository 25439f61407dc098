"""What pydantic finds wrong in a configuration, in words for its author: the field, what it has, what it must be."""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic_core import ErrorDetails

__all__ = ["in_words"]

_SHOWN = 60
_KINDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "int_type": lambda _: "a whole number, without quotes",
    "int_from_float": lambda _: "a whole number",
    "bool_type": lambda _: "true or false",
    "string_type": lambda _: "text in quotes",
    "dataclass_type": lambda _: "a table",
    "dict_type": lambda _: "a table",
    "tuple_type": lambda _: "a list",
    "greater_than_equal": lambda told: f"{told['ge']} or more",
    "less_than_equal": lambda told: f"{told['le']} or less",
    "multiple_of": lambda told: f"a multiple of {told['multiple_of']}",
    "literal_error": lambda told: str(told["expected"]).replace("'", '"'),
    "string_too_short": lambda told: f"text of {told['min_length']} or more characters",
    "string_too_long": lambda told: f"text of {told['max_length']} or fewer characters",
    "too_long": lambda told: f"a list of {told['max_length']}",
}


def in_words(error: ErrorDetails, root: type, texts: Mapping[object, str]) -> tuple[str, str]:
    """Why a document of type `root` is wrong, and what to do. `texts` says what texts of a type are like: 'a number in
    quotes, like "3e-3"'.
    """
    *above, last = steps = error["loc"]
    where, kind = ".".join(str(step) for step in steps if step != "[key]"), error["type"]
    if kind == "unexpected_keyword_argument":
        table = ".".join(str(step) for step in above) or "the configuration"
        homes = [home for home in _homes(root, str(last)) if home != table]
        why = f"{table} has no name {last}"
        return (f"{why}; it belongs in {' or '.join(homes)}", "move it there") if homes else (why, "leave it out")
    if kind == "missing":
        return f"{where} is missing", "add it"
    wanted = texts.get(_type_at(root, steps)) if kind in ("string_type", "string_pattern_mismatch") else None
    if wanted is None and kind in _KINDS:
        wanted = _KINDS[kind](error.get("ctx", {}))
    if wanted is None:
        return f"{where}: {error['msg']}", "correct that field"
    return f"{where} cannot be {_shown(error['input'])}: it must be {wanted}", "correct that field"


def _homes(table: object, name: str, path: str = "") -> list[str]:
    """The tables that have a name, the innermost last."""
    if not is_dataclass(table):
        return []
    found = [path or "the configuration itself"] if any(item.name == name for item in fields(table)) else []
    for item in fields(table):
        found += _homes(item.type, name, f"{path}.{item.name}" if path else item.name)
    return found


def _type_at(root: object, steps: tuple[int | str, ...]) -> object:
    """The declared type of a place, None where there is none."""
    kind = root
    for number, step in enumerate(steps):
        if step == "[key]":
            break
        if is_dataclass(kind):
            kind = next((item.type for item in fields(kind) if item.name == step), None)
        elif get_origin(kind) is tuple and isinstance(step, int):
            kind = get_args(kind)[step]
        elif get_origin(kind) is dict:
            kind = get_args(kind)[0 if "[key]" in steps[number:] else 1]
        if get_origin(kind) in (Union, UnionType):
            kind = next(part for part in get_args(kind) if part is not type(None))
    return kind if get_origin(kind) is Annotated else None


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
