"""Contract interfaces: loads the committed ABI files, encodes calls, decodes results, events and reverts.

Structs travel as frozen dataclasses whose snake_case fields stand for the ABI's camelCase names, matched by name and
not by place, so that a contract's struct may gain a field without silently shifting the others.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import keyword
import re
import typing
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, TypeVar, cast

from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from eth_abi.exceptions import DecodingError, EncodingError
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from commonweight.errors import ChainError, NodeFailed

T = TypeVar("T")
AbiItem = Mapping[str, Any]


@dataclass(frozen=True)
class Function:
    """One function of a contract: enough to encode a call and decode its result."""

    contract: str
    name: str
    selector: bytes
    inputs: tuple[AbiItem, ...]
    outputs: tuple[AbiItem, ...]

    @property
    def output_names(self) -> tuple[str, ...]:
        """The results' snake_case names."""
        return tuple(snake(o["name"]) for o in self.outputs)

    def encode(self, args: Sequence[object]) -> bytes:
        """Selector and arguments; dataclasses stand for structs."""
        if len(args) != len(self.inputs):
            raise ChainError(
                f"{self.contract}.{self.name} takes {len(self.inputs)} arguments, not {len(args)}.",
                "",
                "Update the wrapper.",
            )
        try:
            values = [_to_abi(item, value) for item, value in zip(self.inputs, args, strict=True)]
            return self.selector + abi_encode([_wire_type(i) for i in self.inputs], values)
        except EncodingError as error:
            raise ChainError(
                f"An argument of {self.contract}.{self.name} is out of range.", str(error), "Check the values given."
            ) from None

    def decode(self, data: bytes) -> tuple[Any, ...]:
        """The results as plain values: structs as dicts by snake_case name, addresses checksummed."""
        if self.outputs and not data:
            raise ChainError(
                f"The answer of {self.contract}.{self.name} cannot be read.",
                "There is no such contract at this address",
                "Check the address and the chain.",
            )
        try:
            return decode_values(self.outputs, data)
        except NodeFailed as error:
            raise NodeFailed(
                f"The answer of {self.contract}.{self.name} cannot be read.", error.why, error.fix
            ) from None


@dataclass(frozen=True)
class Event:
    """One event of a contract."""

    contract: str
    name: str
    topic: bytes
    inputs: tuple[AbiItem, ...]

    def decode(self, topics: Sequence[bytes], data: bytes) -> dict[str, Any]:
        """The event's fields by snake_case name. Raises ChainError if the log is not of this event."""
        indexed = [i for i in self.inputs if i["indexed"]]
        plain = [i for i in self.inputs if not i["indexed"]]
        if not topics or topics[0] != self.topic or len(topics) != len(indexed) + 1:
            raise ChainError(f"A log is not a {self.name} event.", "", "")
        values = [decode_values((i,), t)[0] for i, t in zip(indexed, topics[1:], strict=True)]
        values += decode_values(plain, data)
        fields = {snake(i["name"]): value for i, value in zip([*indexed, *plain], values, strict=True)}
        return {snake(i["name"]): fields[snake(i["name"])] for i in self.inputs}


@dataclass(frozen=True)
class CustomError:
    """A custom error of a contract, by its selector."""

    name: str
    selector: bytes
    inputs: tuple[AbiItem, ...]


@dataclass(frozen=True)
class Interface:
    """A contract's interface and creation code."""

    name: str
    functions: Mapping[str, tuple[Function, ...]]
    events: Mapping[str, Event]
    errors: tuple[CustomError, ...]
    constructor: tuple[AbiItem, ...]
    bytecode: bytes

    def function(self, name: str, arity: int) -> Function:
        """The function `name` with so many arguments. Raises ChainError if there is none or more than one."""
        found = [f for f in self.functions.get(name, ()) if len(f.inputs) == arity]
        if len(found) != 1:
            raise ChainError(
                f"{self.name} has {len(found)} functions {name} with {arity} arguments.",
                "The ABI and this program do not belong together.",
                "Install matching versions.",
            )
        return found[0]


@cache
def interface(name: str) -> Interface:
    """The interface out of `commonweight/abi/<name>.json`."""
    try:
        text = (resources.files("commonweight.abi") / f"{name}.json").read_text()
    except (OSError, ModuleNotFoundError):
        raise ChainError(
            f"The interface of {name} is not there.",
            "commonweight/abi is not complete.",
            "Run `make abi`, or install the package again.",
        ) from None
    body = json.loads(text)
    return parse_interface(name, body["abi"], bytes.fromhex(str(body.get("bytecode") or "0x").removeprefix("0x")))


def parse_interface(name: str, abi: Sequence[AbiItem], bytecode: bytes = b"") -> Interface:
    """An interface from a JSON ABI."""
    functions: dict[str, list[Function]] = {}
    events: dict[str, Event] = {}
    errors: list[CustomError] = []
    constructor: tuple[AbiItem, ...] = ()
    for item in abi:
        kind, inputs = item["type"], tuple(item.get("inputs", ()))
        if kind == "function":
            function = Function(name, item["name"], _signature_hash(item)[:4], inputs, tuple(item["outputs"]))
            functions.setdefault(item["name"], []).append(function)
        elif kind == "event":
            events[item["name"]] = Event(name, item["name"], _signature_hash(item), inputs)
        elif kind == "error":
            errors.append(CustomError(item["name"], _signature_hash(item)[:4], inputs))
        elif kind == "constructor":
            constructor = inputs
    return Interface(name, {k: tuple(v) for k, v in functions.items()}, events, tuple(errors), constructor, bytecode)


@cache
def all_errors() -> dict[bytes, CustomError]:
    """Every custom error of every committed ABI, by selector."""
    found: dict[bytes, CustomError] = {}
    for entry in resources.files("commonweight.abi").iterdir():
        if entry.name.endswith(".json"):
            found |= {e.selector: e for e in interface(entry.name.removesuffix(".json")).errors}
    return found


def creation_code(contract: Interface, args: Sequence[object]) -> bytes:
    """Bytecode followed by the encoded constructor arguments."""
    values = [_to_abi(item, value) for item, value in zip(contract.constructor, args, strict=True)]
    return contract.bytecode + abi_encode([_wire_type(i) for i in contract.constructor], values)


def decode_call(contract: str, data: bytes) -> tuple[str, tuple[tuple[str, Any], ...]]:
    """The function that calldata calls, and its arguments with their names. Raises ChainError if it calls none."""
    for functions in interface(contract).functions.values():
        for function in functions:
            if function.selector == data[:4]:
                try:
                    values = decode_values(function.inputs, data[4:])
                except NodeFailed as error:
                    raise ChainError(
                        f"The arguments of {contract}.{function.name} cannot be read.", error.why
                    ) from None
                return function.name, tuple(
                    (snake(i["name"]) or f"argument{n}", v)
                    for n, (i, v) in enumerate(zip(function.inputs, values, strict=True))
                )
    raise ChainError(f"This calls no function of {contract}.", f"The bytes begin with 0x{data[:4].hex()}")


def decode_values(items: Sequence[AbiItem], data: bytes) -> tuple[Any, ...]:
    """Decode ABI-encoded `data` by `items`. Raises NodeFailed."""
    try:
        values = abi_decode([_wire_type(i) for i in items], data)
    except (DecodingError, OverflowError) as error:
        why, fix = str(error), "Check that contract and program versions match, or use another RPC address."
        raise NodeFailed("Data from the chain cannot be read.", why, fix) from None
    return tuple(_from_abi(i, v) for i, v in zip(items, values, strict=True))


def type_of(item: AbiItem) -> str:
    """The canonical type of an ABI item, tuples written out."""
    kind = str(item["type"])
    if not kind.startswith("tuple"):
        return kind
    return "(" + ",".join(type_of(c) for c in item["components"]) + ")" + kind.removeprefix("tuple")


def _wire_type(item: AbiItem) -> str:
    """The type by which values are encoded. Strings go as bytes, which look the same: a contract takes any bytes for a
    string, and whoever writes some that are not UTF-8 must not blind everybody who reads. They come and go as lone
    surrogates (PEP 383), so that what was read can be sent and hashed again.
    """
    return type_of(item).replace("string", "bytes")


@cache
def snake(name: str) -> str:
    """camelCase to snake_case: `dataLicence` to `data_licence`, `configSha256` to `config_sha256`."""
    if len(name) == 1:  # a leaf's C, D and W
        return name
    found = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name.strip("_")).lower()
    return found + "_" if keyword.iskeyword(found) else found


def build(kind: type[T], value: object) -> T:
    """A frozen dataclass from the dict that a struct decodes to, nested structs, lists and enums included.

    Fields that the dataclass does not have are left out; a field that the struct does not have is an error by name.
    """
    return cast(T, _converter(kind)(value))


def _converter(kind: Any) -> Callable[[Any], Any]:
    return _cached_converter(cast(Hashable, kind))


@cache
def _cached_converter(kind: Hashable) -> Callable[[Any], Any]:
    origin = typing.get_origin(kind)
    if origin is tuple:
        inner = _converter(typing.get_args(kind)[0])
        return lambda values: tuple(inner(v) for v in values)
    if isinstance(kind, type) and issubclass(kind, enum.IntEnum):

        def name(value: Any) -> Any:
            try:
                return kind(value)
            except ValueError:
                raise NodeFailed(
                    f"{value} is no {kind.__name__}.",
                    "The contract and this program do not belong together.",
                    "Install matching versions, or use another RPC address.",
                ) from None

        return name
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        parts = [(f.name, _converter(hints[f.name])) for f in dataclasses.fields(kind) if f.init]

        def make(value: Any) -> Any:
            missing = [n for n, _ in parts if n not in value]
            if missing:
                raise ChainError(
                    f"The struct {kind.__name__} has no field {missing[0]}.",
                    "The ABI and this program do not belong together.",
                    "Install matching versions.",
                )
            return kind(**{n: convert(value[n]) for n, convert in parts})

        return make
    return lambda value: value


def _signature_hash(item: AbiItem) -> bytes:
    return bytes(keccak(text=item["name"] + "(" + ",".join(type_of(i) for i in item.get("inputs", ())) + ")"))


def _to_abi(item: AbiItem, value: Any) -> Any:
    kind = str(item["type"])
    if kind.endswith("]"):
        inner = {**item, "type": kind[: kind.rindex("[")]}
        return [_to_abi(inner, v) for v in value]
    if kind == "tuple":
        return tuple(_to_abi(c, getattr(value, snake(c["name"]))) for c in item["components"])
    if kind == "string" and isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    return value


def _from_abi(item: AbiItem, value: Any) -> Any:
    kind = str(item["type"])
    if kind.endswith("]"):
        inner = {**item, "type": kind[: kind.rindex("[")]}
        return tuple(_from_abi(inner, v) for v in value)
    if kind == "tuple":
        return {snake(c["name"]): _from_abi(c, v) for c, v in zip(item["components"], value, strict=True)}
    if kind == "string":
        return value.decode("utf-8", "surrogateescape")
    return to_checksum_address(value) if kind == "address" else value
