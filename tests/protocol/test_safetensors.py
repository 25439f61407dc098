"""Canonical safetensors: the library reads what we write, and we read nothing but that."""

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from commonweight.errors import FormatError
from commonweight.protocol.safetensors import Tensor, read, write

pytestmark = pytest.mark.unit

TENSORS = st.dictionaries(
    st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=8),
    st.lists(st.integers(0, 4), max_size=3).flatmap(
        lambda shape: st.binary(min_size=4 * int(np.prod(shape)), max_size=4 * int(np.prod(shape))).map(
            lambda data: Tensor("F32", tuple(shape), data)
        )
    ),
    max_size=5,
)
TWO = {"b": Tensor("F32", (2,), b"\1" * 8), "a": Tensor("F32", (1,), b"\2" * 4)}


@given(TENSORS, st.booleans())
def test_the_library_reads_what_we_write(tensors: dict[str, Tensor], described: bool) -> None:
    data = write(tensors, {"format": "pt"} if described else None)
    loaded = safetensors.numpy.load(data)
    assert {n: (t.shape, t.tobytes()) for n, t in loaded.items()} == {
        n: (t.shape, bytes(t.data)) for n, t in tensors.items()
    }
    assert {n: Tensor(t.dtype, t.shape, bytes(t.data)) for n, t in read(data).items()} == tensors


def test_names_ascend_and_data_is_aligned() -> None:
    data = write(TWO)
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    assert data[8 + length :] == b"\2" * 4 + b"\1" * 8


def header(text: str, body: bytes, pad: int = 0) -> bytes:
    raw = text.encode()
    raw += b" " * (-len(raw) % 8 + pad)
    return len(raw).to_bytes(8, "little") + raw + body


GOOD = '{"a":{"data_offsets":[0,4],"dtype":"F32","shape":[1]}}'


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 8,
        (2**63).to_bytes(8, "little") + b"{}",
        header(GOOD, bytes(3)),
        header(GOOD, bytes(5)),
        header(GOOD, bytes(4), pad=8),
        header(GOOD.replace("[0,4]", "[4,8]"), bytes(8)),
        header(GOOD.replace("[1]", "[2]"), bytes(4)),
        header(GOOD.replace("F32", "F33"), bytes(4)),
        header(GOOD.replace('"shape":[1]', '"shape":[1],"x":1'), bytes(4)),
        header(GOOD.replace(":{", ": {"), bytes(4)),
        header('{"a":1}', b""),
        header("[]", b""),
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    assert read(header(GOOD, bytes(4)))["a"].shape == (1,)
    with pytest.raises(FormatError):
        read(data)


def test_data_must_fit_its_shape() -> None:
    for tensor in (Tensor("F32", (2,), bytes(4)), Tensor("F64", (1,), bytes(8))):
        with pytest.raises(FormatError):
            write({"a": tensor})
