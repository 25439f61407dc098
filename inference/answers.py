"""What a question asks for and what an answer is: plain values that server and client share."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

Finish = Literal["stop", "length", "interrupted"]


@dataclass(frozen=True)
class Sampling:
    """How to choose tokens. `temperature` 0 takes the likeliest; the first of `stop` to appear ends the answer before
    it.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Piece:
    """Part of an answer: its text, and how many tokens the answer has with it."""

    text: str
    tokens: int


@dataclass(frozen=True)
class Answer:
    """A whole answer. `tokens` counts those whose text is in it: never more than the text has bytes."""

    text: str
    tokens: int
    finish: Finish


def render_chat(messages: list[tuple[str, str]]) -> str:
    """The prompt of a chat: each message as `role: content` on a line, then `assistant:`."""
    return "".join(f"{role}: {content}\n" for role, content in messages) + "assistant:"


def text_sha256(text: str) -> bytes:
    """The digest of an answer: SHA-256 of its UTF-8."""
    return hashlib.sha256(text.encode()).digest()
