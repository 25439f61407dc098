"""Text to tokens and back, by the tokenizer that the run's data manifest names: bytes, or a `tokenizers` file."""

from __future__ import annotations

from typing import Protocol

from commonweight.errors import InferenceError
from commonweight.protocol.data import DataManifest
from commonweight.store import ContentStore, parse_cid

_MAX_TOKENIZER_BYTES = 64 << 20


class Tokenizer(Protocol):
    """What serving needs of a tokenizer. No token stands for less than one byte of text, but for `end`, if there is
    one.
    """

    vocab_size: int
    end: int | None

    def encode(self, text: str) -> list[int]:
        """The tokens of a text."""

    def decode(self, tokens: list[int]) -> str:
        """The text of tokens; bytes that are no UTF-8 become U+FFFD."""


class ByteTokenizer:
    """One token for each byte of UTF-8."""

    vocab_size = 256
    end: int | None = None

    def encode(self, text: str) -> list[int]:
        """The tokens of a text."""
        return list(text.encode())

    def decode(self, tokens: list[int]) -> str:
        """The text of tokens; bytes that are no UTF-8 become U+FFFD."""
        return bytes(tokens).decode(errors="replace")


class FileTokenizer:
    """A tokenizer.json of the `tokenizers` library. The end of text is its `</s>` or `<|endoftext|>`, if it has one."""

    def __init__(self, data: bytes) -> None:
        from tokenizers import Tokenizer as Library

        self._library = Library.from_buffer(data)
        self.vocab_size: int = self._library.get_vocab_size()
        ends = (self._library.token_to_id(text) for text in ("</s>", "<|endoftext|>"))
        self.end: int | None = next((end for end in ends if end is not None), None)

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, without special tokens."""
        return list(self._library.encode(text, add_special_tokens=False).ids)

    def decode(self, tokens: list[int]) -> str:
        """The text of tokens, without special tokens."""
        return str(self._library.decode(tokens))


def open_tokenizer(manifest: DataManifest, store: ContentStore) -> Tokenizer:
    """The tokenizer that a data manifest names; its file is verified by CID and sha256. Raises InferenceError."""
    named = manifest.tokenizer
    if named.kind == "bytes":
        return ByteTokenizer()
    if named.sha256 is None:
        raise InferenceError("The data manifest names no tokenizer file", "", "prepare the data again")
    data = store.get(parse_cid(named.cid), _MAX_TOKENIZER_BYTES, named.sha256)
    return FileTokenizer(data)
