"""Tokenizers: bytes, and a file of the `tokenizers` library that is verified before it is used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Library
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from commonweight.errors import ContentMismatch, InferenceError
from commonweight.protocol.canonical import sha256_hex
from commonweight.protocol.data import DataManifest, Shard, Split, Tokenizer
from commonweight.store import ContentStore, open_store
from inference.tokens import ByteTokenizer, open_tokenizer

pytestmark = pytest.mark.unit


def library() -> Library:
    made = Library(BPE())
    made.pre_tokenizer = ByteLevel(add_prefix_space=False)
    made.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=300, special_tokens=["</s>"], initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    made.train_from_iterator(["the cat sat on the mat and the dog sat too"] * 20, trainer)
    return made


def manifest(store: ContentStore, tokenizer: Tokenizer) -> DataManifest:
    train, heldout = (Split((Shard(name, 4, sha256_hex(b"x"), str(store.put(b"x"))),)) for name in ("a.bin", "b.bin"))
    return DataManifest(tokenizer, 300, 2, train, heldout)


@given(st.text(max_size=60))
def test_bytes_are_tokens(text: str) -> None:
    assert ByteTokenizer().decode(ByteTokenizer().encode(text)) == text
    assert len(ByteTokenizer().encode(text)) == len(text.encode())


def test_a_tokenizer_file_is_used_as_named(tmp_path: Path) -> None:
    store, data = open_store(tmp_path), library().to_str().encode()
    named = Tokenizer("tokenizers", "tokenizer.json", sha256_hex(data), str(store.put(data)))
    found = open_tokenizer(manifest(store, named), store)
    tokens = found.encode("the cat sat, naïve 😀")
    assert found.decode(tokens) == "the cat sat, naïve 😀" and len(tokens) < len("the cat sat, naïve 😀".encode())
    assert found.end == library().token_to_id("</s>") and found.end not in tokens
    with pytest.raises(ContentMismatch):
        open_tokenizer(manifest(store, replace(named, sha256=sha256_hex(b"other"))), store)
    with pytest.raises(InferenceError, match="names no tokenizer"):
        open_tokenizer(manifest(store, replace(named, sha256=None)), store)


def test_bytes_need_no_file(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert isinstance(open_tokenizer(manifest(store, Tokenizer("bytes")), store), ByteTokenizer)
