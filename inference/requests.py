"""Requests in the form of the OpenAI API, checked, and made into one form that the rest of the server works on."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from commonweight.errors import UsageError
from commonweight.protocol.canonical import Json, JsonObject, sha256_hex
from inference.answers import Answer, Sampling, render_chat

Kind = Literal["completion", "chat"]
_DEFAULT_TOKENS = 16
_ROLES = Literal["system", "developer", "user", "assistant"]


class RequestError(UsageError):
    """A request that cannot be answered as it is; `field` is the parameter at fault, `code` is OpenAI's or ours."""

    def __init__(self, code: str, field: str, what: str, why: str = "", fix: str = "", status: int = 400) -> None:
        super().__init__(what, why, fix)
        self.code = code
        self.field = field
        self.status = status


class _StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")
    include_usage: bool = True


class _Common(BaseModel):
    """What both forms share. Parameters that would change the answer and that we do not have are refused, not
    ignored; one that is null counts as not given.
    """

    model_config = ConfigDict(extra="forbid")
    model: Annotated[str, Field(min_length=1, max_length=200)]
    temperature: Annotated[float, Field(ge=0.0, le=2.0, allow_inf_nan=False)] = 1.0
    top_p: Annotated[float, Field(gt=0.0, le=1.0, allow_inf_nan=False)] = 1.0
    seed: Annotated[int, Field(ge=0, lt=2**53)] | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    stream: bool = False
    stream_options: _StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=1)] = 1
    user: Annotated[str, Field(max_length=200)] | None = None
    presence_penalty: Annotated[float, Field(ge=0.0, le=0.0)] = 0.0
    frequency_penalty: Annotated[float, Field(ge=0.0, le=0.0)] = 0.0

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: object) -> object:
        return {name: value for name, value in given.items() if value is not None} if isinstance(given, dict) else given

    def stops(self) -> tuple[str, ...]:
        """The stop sequences."""
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(text for text in given if text)


class CompletionBody(_Common):
    """The body of /v1/completions."""

    prompt: str
    max_tokens: Annotated[int, Field(ge=1, le=2**20)] = _DEFAULT_TOKENS
    best_of: Annotated[int, Field(ge=1, le=1)] = 1
    echo: Literal[False] = False


class Message(BaseModel):
    """One message of a chat; text only."""

    model_config = ConfigDict(extra="forbid")
    role: _ROLES
    content: str
    name: Annotated[str, Field(max_length=64)] | None = None


class ChatBody(_Common):
    """The body of /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=1000)]
    max_tokens: Annotated[int, Field(ge=1, le=2**20)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=2**20)] | None = None

    def limit(self) -> int:
        """The most tokens to answer with."""
        return self.max_completion_tokens or self.max_tokens or _DEFAULT_TOKENS


@dataclass(frozen=True)
class Question:
    """A request to answer: its body's sha256 (0x-hex), the model that it names, the prompt's text, how to answer."""

    kind: Kind
    model: str
    sha256: str
    prompt: str
    sampling: Sampling
    stream: bool


def read_question(kind: Kind, body: bytes) -> Question:
    """Check a request's body. Raises RequestError that names the field.

    Without a seed the server draws one, which the receipt tells. A given seed and the same checkpoint give the same
    answer.
    """
    try:
        parsed = (
            CompletionBody.model_validate_json(body) if kind == "completion" else ChatBody.model_validate_json(body)
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(step) for step in first["loc"])
        code = "unsupported_parameter" if first["type"] == "extra_forbidden" else "invalid_request_error"
        raise RequestError(code, field, f"The request is wrong at {field or 'its body'}", first["msg"]) from error
    if isinstance(parsed, CompletionBody):
        prompt, tokens = parsed.prompt, parsed.max_tokens
    else:
        prompt, tokens = render_chat([(message.role, message.content) for message in parsed.messages]), parsed.limit()
    if not prompt:
        raise RequestError("invalid_request_error", "prompt", "The prompt is empty", "", "write at least one character")
    seed = secrets.randbits(53) if parsed.seed is None else parsed.seed
    sampling = Sampling(tokens, parsed.temperature, parsed.top_p, seed, parsed.stops())
    return Question(kind, parsed.model, sha256_hex(body), prompt, sampling, parsed.stream)


def answer_body(question: Question, answer_id: str, created: int, prompt_tokens: int, answer: Answer) -> JsonObject:
    """The body of an answer that is not streamed."""
    choice: JsonObject = {"index": 0, "finish_reason": answer.finish, "logprobs": None}
    if question.kind == "completion":
        choice["text"] = answer.text
    else:
        choice["message"] = {"role": "assistant", "content": answer.text}
    return {
        "id": answer_id,
        "object": "text_completion" if question.kind == "completion" else "chat.completion",
        "created": created,
        "model": question.model,
        "choices": [choice],
        "usage": usage(prompt_tokens, answer.tokens),
    }


def chunk_body(question: Question, answer_id: str, created: int, text: str | None, finish: str | None) -> JsonObject:
    """One event of a stream: a piece of text, or (None) its end with the reason."""
    choice: JsonObject = {"index": 0, "finish_reason": finish, "logprobs": None}
    if question.kind == "completion":
        choice["text"] = text or ""
    else:
        choice["delta"] = {} if text is None else {"content": text}
    choices: list[Json] = [choice]
    return _chunk(question, answer_id, created, choices)


def opening_chunks(question: Question, answer_id: str, created: int) -> Iterator[JsonObject]:
    """What comes before the first piece: for a chat, once, who speaks."""
    if question.kind == "chat":
        choice: JsonObject = {"index": 0, "finish_reason": None, "logprobs": None}
        choice["delta"] = {"role": "assistant", "content": ""}
        yield _chunk(question, answer_id, created, [choice])


def closing_chunk(question: Question, answer_id: str, created: int, prompt_tokens: int, tokens: int) -> JsonObject:
    """The last event of a stream, with the usage and no choices, as OpenAI sends it; the receipt is added to it."""
    return {**_chunk(question, answer_id, created, []), "usage": usage(prompt_tokens, tokens)}


def usage(prompt_tokens: int, completion_tokens: int) -> JsonObject:
    """OpenAI's usage object."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def _chunk(question: Question, answer_id: str, created: int, choices: list[Json]) -> JsonObject:
    return {
        "id": answer_id,
        "object": "text_completion" if question.kind == "completion" else "chat.completion.chunk",
        "created": created,
        "model": question.model,
        "choices": choices,
    }
