"""Canonical safetensors files: the byte string of a set of tensors is a function of their names, shapes and values.

Header: uint64 little-endian length, then canonical JSON `{name: {"data_offsets", "dtype", "shape"}}` padded with
spaces so that the data starts at a multiple of 8. Tensors follow in ascending order of their names, without gaps.
Any safetensors reader reads such a file; our reader takes nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from commonweight.errors import FormatError
from commonweight.protocol.canonical import JsonObject, dumps, loads_object
from commonweight.protocol.fields import Fields

__all__ = ["DTYPES", "MAX_HEADER", "Tensor", "read", "write"]

DTYPES = {"F32": 4, "F16": 2, "BF16": 2, "I8": 1, "U8": 1, "I32": 4, "I64": 8}
MAX_HEADER = 16 * 2**20


@dataclass(frozen=True)
class Tensor:
    """A tensor as bytes: dtype name, shape, little-endian row-major data."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes | memoryview

    @property
    def nbytes(self) -> int:
        """Size of the data in bytes, by dtype and shape."""
        return prod(self.shape) * DTYPES[self.dtype]


def write(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """The file of these tensors. FormatError when data does not fit its shape."""
    header: JsonObject = {"__metadata__": dict(metadata)} if metadata else {}
    chunks: list[bytes | memoryview] = []
    start = 0
    for name in sorted(tensors):
        tensor = tensors[name]
        if tensor.dtype not in DTYPES or len(tensor.data) != tensor.nbytes:
            raise FormatError(f"Tensor {name} does not fit its shape", f"{tensor.dtype} {tensor.shape}")
        header[name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [start, start + tensor.nbytes],
        }
        chunks.append(tensor.data)
        start += tensor.nbytes
    text = dumps(header)
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *chunks])


def read(data: bytes | memoryview) -> dict[str, Tensor]:
    """The tensors of a canonical file, as views into it; metadata is dropped. FormatError for anything else."""
    view = memoryview(data)
    length = int.from_bytes(view[:8], "little")
    if len(view) < 8 or length % 8 or not 8 <= length <= MAX_HEADER or 8 + length > len(view):
        raise FormatError("This is not a canonical safetensors file", "its header has an impossible length")
    text = bytes(view[8 : 8 + length]).rstrip(b" ")
    if length - len(text) >= 8:
        raise FormatError("This is not a canonical safetensors file", "its header is padded by more than needed")
    header = loads_object(text, MAX_HEADER)
    header.pop("__metadata__", None)
    result = {}
    start = 0
    for name in sorted(header):
        fields = Fields(header[name], f"tensor {name[:100]}")
        dtype = fields.choice("dtype", tuple(DTYPES))
        shape = fields.integers("shape", 0, 2**40, 0, 8)
        offsets = fields.integers("data_offsets", 0, 2**53 - 1, 2, 2)
        fields.done()
        stop = start + prod(shape) * DTYPES[dtype]
        if offsets != (start, stop):
            raise fields.wrong("data_offsets", f"{start}, {stop}", offsets)
        if stop > len(view) - 8 - length:
            raise FormatError("A safetensors file is too short", f"tensor {name[:100]} ends beyond it")
        result[name] = Tensor(dtype, shape, view[8 + length + start : 8 + length + stop])
        start = stop
    if 8 + length + start != len(view):
        raise FormatError(
            "A safetensors file is too long", f"{len(view) - 8 - length - start} bytes follow its tensors"
        )
    return result
