"""The committed golden vectors are what the code makes, and no file lies there that it does not make."""

from pathlib import Path

import pytest

from tests.golden import make

pytestmark = pytest.mark.unit

ELSEWHERE = {"vouchers.json", "store.json"}
"""Vectors that other rooms make and check."""


def test_the_code_makes_exactly_the_committed_vectors() -> None:
    assert make.differences() == []


def test_every_vector_has_a_maker() -> None:
    here = Path(make.__file__).parent
    found = {
        str(path.relative_to(here)) for path in here.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert found - ELSEWHERE == set(make.vectors())


def test_every_vector_is_named_in_the_protocol_document() -> None:
    text = (Path(make.__file__).parents[2] / "docs" / "protocol.md").read_text()
    for name in make.vectors():
        folder = name.split("/")[0] + "/" if "/" in name else name
        assert f"`{name}`" in text or folder in text, name
