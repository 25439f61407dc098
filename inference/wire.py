"""A payer's HTTP connection to a server: requests, paid requests and streams, with a bound on all that comes back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlsplit

import httpx

from commonweight.errors import (
    CanonicalJsonError,
    FormatError,
    InferenceError,
    RequestRefused,
    ServerUnreachable,
    UsageError,
)
from commonweight.protocol.canonical import Json, JsonObject
from commonweight.protocol.documents import Signed
from commonweight.protocol.fields import hex32
from commonweight.protocol.x402 import HEADER_REQUIRED, HEADER_SIGNATURE, PaymentRequired, Requirements

MAX_ANSWER_BYTES = 16 << 20
_TRIES = 3


@dataclass(frozen=True)
class Answered:
    """A paid answer: its text, and the signed receipt as it came, not yet checked."""

    text: str
    receipt: JsonObject


@dataclass(frozen=True)
class Refusal:
    """A refusal of a paid request: the server's code and message."""

    code: str
    message: str


class Wire:
    """A connection to one server. A context manager; `http` replaces the client, for tests and proxies."""

    def __init__(self, url: str, http: httpx.Client | None = None) -> None:
        self._url = url.rstrip("/")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"{url!r} is not the address of a server", "", "write it like http://127.0.0.1:8402")
        self._http = http or httpx.Client(timeout=httpx.Timeout(30.0, read=300.0))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def model(self) -> str:
        """The name of the first model that the server offers."""
        data = self.models().get("data")
        if not isinstance(data, list) or not data or not isinstance(data[0], dict):
            raise InferenceError(f"The server at {self._url} names no model", "", "check the server's address")
        return str(data[0].get("id"))

    def models(self, name: str = "") -> JsonObject:
        """What the server says of its models, or of one. Raises RequestRefused for one that it does not have."""
        status, _, body = self._exchange("GET", "/v1/models" + (f"/{quote(name)}" if name else ""))
        if status != 200:
            raise _unexpected(self._url, status, body)
        return _object(body)

    def price(self, path: str, body: bytes) -> tuple[Requirements, ...]:
        """What a request costs: sends it without payment. Raises RequestRefused when it is refused for another
        reason.
        """
        status, headers, answer = self._exchange("POST", path, body)
        if status != 402 or HEADER_REQUIRED not in headers:
            raise _unexpected(self._url, status, answer)
        return PaymentRequired.from_header(headers[HEADER_REQUIRED]).accepts

    def channel(self, channel: bytes) -> JsonObject | None:
        """What the server says of a channel; None when it has never been paid from it."""
        status, _, body = self._exchange("GET", f"/v1/channels/{hex32(channel)}")
        if status == 404:
            return None
        if status != 200:
            raise _unexpected(self._url, status, body)
        return _object(body)

    def receipts(self, channel: bytes, after: int) -> list[Signed]:
        """The next receipts of a channel, not yet checked."""
        status, _, body = self._exchange("GET", f"/v1/channels/{hex32(channel)}/receipts?after={after}")
        found = _object(body).get("receipts") if status == 200 else None
        if not isinstance(found, list):
            raise _unexpected(self._url, status, body)
        return [Signed.from_json(receipt) for receipt in found]

    def paid(self, path: str, body: bytes, payment: str, on_text: Callable[[str], None] | None) -> Answered | Refusal:
        """Send a paid request. Without a stream, a connection that breaks is tried again: the server answers once."""
        headers = {HEADER_SIGNATURE: payment}
        if on_text is None:
            status, _, answer = self._exchange("POST", path, body, headers)
            return _answered(_object(answer)) if status == 200 else _refusal(status, answer, self._url)
        try:
            with self._http.stream("POST", self._url + path, content=body, headers=_json(headers)) as response:
                if response.status_code != 200:
                    return _refusal(response.status_code, _read(response), self._url)
                return _read_stream(response, on_text)
        except httpx.HTTPError as error:
            raise ServerUnreachable(
                f"The answer of {self._url} broke off", _reason(error), "see that the server runs, and ask again"
            ) from error

    def _exchange(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, httpx.Headers, bytes]:
        failure: httpx.HTTPError | None = None
        for _ in range(_TRIES):
            try:
                with self._http.stream(
                    method, self._url + path, content=body, headers=_json(headers or {})
                ) as response:
                    return response.status_code, response.headers, _read(response)
            except httpx.HTTPError as error:
                failure = error
        assert failure is not None
        raise ServerUnreachable(
            f"The inference server at {self._url} cannot be reached",
            _reason(failure),
            "see that it runs, and that --url names it",
        ) from failure


def _read_stream(response: httpx.Response, on_text: Callable[[str], None]) -> Answered | Refusal:
    text: list[str] = []
    receipt = None
    for event in _events(response):
        error = event.get("error")
        if isinstance(error, dict):
            if error.get("code") == "overloaded" and not text:
                return Refusal("overloaded", str(error.get("message"))[:500])
            raise InferenceError("The server broke the answer off", str(error.get("message"))[:500], "ask again")
        piece = _text_of(event, "delta")
        if piece:
            text.append(piece)
            on_text(piece)
        found = event.get("receipt")
        if isinstance(found, dict):
            receipt = found
    if receipt is None:
        raise InferenceError("The stream ended without a receipt", "the server stopped or the line broke", "ask again")
    return Answered("".join(text), receipt)


def _events(response: httpx.Response) -> Iterator[JsonObject]:
    """The events of a stream until it says that it is over."""
    for line in _lines(response):
        if line == b"data: [DONE]":
            return
        if line.startswith(b"data: "):
            yield _object(line[6:])


def _lines(response: httpx.Response) -> Iterator[bytes]:
    """Lines as they come, of which no more than an answer's bytes are ever held."""
    waiting = bytearray()
    for piece in _pieces(response):
        waiting += piece
        if b"\n" in piece:
            *lines, rest = waiting.split(b"\n")
            waiting = rest
            yield from (bytes(line).rstrip(b"\r") for line in lines)


def _pieces(response: httpx.Response) -> Iterator[bytes]:
    size = 0
    for piece in response.iter_bytes():
        size += len(piece)
        if size > MAX_ANSWER_BYTES:
            raise InferenceError("The answer is too long", f"more than {MAX_ANSWER_BYTES} bytes", "use another server")
        yield piece


def _answered(body: JsonObject) -> Answered:
    receipt = body.get("receipt")
    if not isinstance(receipt, dict):
        raise InferenceError("The answer has no receipt", "the server is not one of ours", "use another server")
    return Answered(_text_of(body, "message"), receipt)


def _text_of(body: JsonObject, holder: str) -> str:
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        return ""
    inner = choice.get(holder)
    text = inner.get("content") if isinstance(inner, dict) else choice.get("text")
    if not isinstance(text, str):
        return ""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise FormatError("The answer is no text", "it has halves of characters", "use another server")
    return text


def _refusal(status: int, body: bytes, url: str) -> Refusal:
    error = _error(body)
    if status == 503 and error is None:  # it did not even look at the request
        return Refusal("overloaded", body[:200].decode(errors="replace"))
    if status not in (402, 409, 503) or error is None:
        raise _unexpected(url, status, body)
    return Refusal(str(error.get("code"))[:100], str(error.get("message"))[:500])


def _read(response: httpx.Response) -> bytes:
    return b"".join(_pieces(response))


def _object(body: bytes) -> JsonObject:
    try:
        value: Json = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise FormatError("The server's answer is not JSON", str(error)[:200], "check the server's address") from error
    if not isinstance(value, dict):
        raise CanonicalJsonError("The server's answer is not an object", "", "check the server's address")
    return value


def _unexpected(url: str, status: int, body: bytes) -> RequestRefused:
    error = _error(body)
    told = {name: str((error or {}).get(name) or "")[:500] for name in ("message", "code", "param")}
    what = f"The server at {url} answers with status {status}"
    return RequestRefused(status, told["code"], told["param"], what, told["message"], "")


def _error(body: bytes) -> JsonObject | None:
    """The error that a body in OpenAI's form tells of, if it is one."""
    try:
        error = _object(body).get("error")
    except FormatError:
        return None
    return error if isinstance(error, dict) else None


def _reason(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__


def _json(headers: dict[str, str]) -> dict[str, str]:
    return {"Content-Type": "application/json", **headers}
