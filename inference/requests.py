"""Requests in the form of the OpenAI API, checked, and made into one form that the rest of the server works on."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from commonweight.errors import UsageError
from commonweight.protocol.canonical import Json, JsonObject, sha256_hex
from inference.answers import Answer, Sampling, render_chat

Kind = Literal["completion", "chat"]
_COMPLETION_TOKENS = 16
_MOST_TOKENS = 2**20
_ROLES = Literal["system", "developer", "user", "assistant"]


class RequestError(UsageError):
    """A request that cannot be answered as it is; `field` is the parameter at fault, `code` is OpenAI's or ours."""

    def __init__(self, code: str, field: str, what: str, why: str = "", fix: str = "", status: int = 400) -> None:
        super().__init__(what, why, fix)
        self.code = code
        self.field = field
        self.status = status


def _only(given: object) -> object:
    """The one of a list of one, which some clients make of what they are given."""
    return given[0] if isinstance(given, list) and len(given) == 1 and isinstance(given[0], str) else given


def _joined(given: object) -> object:
    """One text for one in parts, as some clients send it."""
    texts = [_text(part) for part in given] if isinstance(given, list) else [None]
    return given if None in texts or not texts else "".join(map(str, texts))


def _text(part: object) -> str | None:
    """The text of a part that is text and nothing else."""
    if not isinstance(part, dict) or part.keys() != {"type", "text"} or part["type"] != "text":
        return None
    return part["text"] if isinstance(part["text"], str) else None


class _StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")
    include_usage: bool = False


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

    prompt: Annotated[str, BeforeValidator(_only)]
    max_tokens: Annotated[int, Field(ge=1, le=_MOST_TOKENS)] = _COMPLETION_TOKENS
    best_of: Annotated[int, Field(ge=1, le=1)] = 1
    echo: Literal[False] = False


class Message(BaseModel):
    """One message of a chat; text only."""

    model_config = ConfigDict(extra="forbid")
    role: _ROLES
    content: Annotated[str, BeforeValidator(_joined)]
    name: Annotated[str, Field(max_length=64)] | None = None


class ChatBody(_Common):
    """The body of /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=1000)]
    max_tokens: Annotated[int, Field(ge=1, le=_MOST_TOKENS)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=_MOST_TOKENS)] | None = None

    def limit(self) -> int | None:
        """The most tokens to answer with, if they are named."""
        return self.max_completion_tokens or self.max_tokens


@dataclass(frozen=True)
class Question:
    """A request to answer: its body's sha256 (0x-hex), the model that it names, the prompt's text, how to answer.

    `usage` is whether a stream ends with an event that has the usage and no choices: clients that did not ask for that
    one fail at it. `seeded` is whether the request names the seed, `bounded` whether it names how many tokens it wants
    at most; one that does not gets as many as the server makes and the context has room for.
    """

    kind: Kind
    model: str
    sha256: str
    prompt: str
    sampling: Sampling
    stream: bool
    usage: bool = False
    seeded: bool = False
    bounded: bool = True


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
    tokens: int | None
    if isinstance(parsed, CompletionBody):
        prompt, tokens = parsed.prompt, parsed.max_tokens
    else:
        prompt, tokens = render_chat([(message.role, message.content) for message in parsed.messages]), parsed.limit()
    if not prompt:
        raise RequestError("invalid_request_error", "prompt", "The prompt is empty", "", "write at least one character")
    seed = secrets.randbits(53) if parsed.seed is None else parsed.seed
    sampling = Sampling(tokens or _MOST_TOKENS, parsed.temperature, parsed.top_p, seed, parsed.stops())
    ends_with_usage = parsed.stream_options is not None and parsed.stream_options.include_usage
    return Question(
        kind, parsed.model, sha256_hex(body), prompt, sampling, parsed.stream, ends_with_usage,
        seeded=parsed.seed is not None, bounded=tokens is not None,
    )  # fmt: skip


def answer_body(question: Question, answer_id: str, created: int, prompt_tokens: int, answer: Answer) -> JsonObject:
    """The body of an answer that is not streamed."""
    choice = _choice(answer.finish)
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


def chunk_body(question: Question, answer_id: str, created: int, text: str) -> JsonObject:
    """One event of a stream: a piece of text."""
    piece: JsonObject = {"text": text} if question.kind == "completion" else {"delta": {"content": text}}
    return _chunk(question, answer_id, created, [_choice(None) | piece])


def opening_chunks(question: Question, answer_id: str, created: int) -> Iterator[JsonObject]:
    """What comes before the first piece: for a chat, once, who speaks."""
    if question.kind == "chat":
        choice = _choice(None) | {"delta": {"role": "assistant", "content": ""}}
        yield _chunk(question, answer_id, created, [choice])


def closing_chunks(
    question: Question, answer_id: str, created: int, prompt_tokens: int, answer: Answer, proof: JsonObject
) -> Iterator[JsonObject]:
    """What comes after the last piece: why it ends, and the usage if that was asked for. The last has `proof`, too."""
    end: JsonObject = {"text": ""} if question.kind == "completion" else {"delta": {}}
    closing = _chunk(question, answer_id, created, [_choice(answer.finish) | end])
    if question.usage:
        yield closing
        closing = {**_chunk(question, answer_id, created, []), "usage": usage(prompt_tokens, answer.tokens)}
    yield {**closing, **proof}


def usage(prompt_tokens: int, completion_tokens: int) -> JsonObject:
    """OpenAI's usage object."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def _choice(finish: str | None) -> JsonObject:
    return {"index": 0, "finish_reason": finish, "logprobs": None}


def _chunk(question: Question, answer_id: str, created: int, choices: list[Json]) -> JsonObject:
    return {
        "id": answer_id,
        "object": "text_completion" if question.kind == "completion" else "chat.completion.chunk",
        "created": created,
        "model": question.model,
        "choices": choices,
    }
