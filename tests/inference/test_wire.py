"""A payer's connection against servers that send anything at all."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from commonweight.errors import CommonweightError, FormatError, InferenceError, ServerUnreachable
from inference.wire import MAX_ANSWER_BYTES, Answered, Refusal, Wire

pytestmark = pytest.mark.unit


class Sent(httpx.SyncByteStream):
    """A body that comes in pieces; `pulled` counts the bytes that were asked for."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self.pulled = 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self.pulled += len(piece)
            yield piece


def paid(answer: httpx.Response | Exception, texts: list[str] | None = None) -> Answered | Refusal:
    """Send a paid request to a server that answers so; streamed to `texts` if that is given."""

    def handle(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    with Wire("http://server", httpx.Client(transport=httpx.MockTransport(handle))) as wire:
        return wire.paid("/v1/completions", b"{}", "voucher", None if texts is None else texts.append)


def event(**body: object) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def endless(first: bytes, piece: bytes) -> Iterator[bytes]:
    yield first
    while True:
        yield piece


@pytest.mark.parametrize("piece", [b"x" * 65_536, b": nothing\n" * 1000, event(choices=[{"text": "x" * 60_000}])])
def test_a_stream_without_end_is_left(piece: bytes) -> None:
    sent = Sent(endless(b"data: ", piece))
    with pytest.raises(CommonweightError):
        paid(httpx.Response(200, stream=sent), [])
    assert sent.pulled <= MAX_ANSWER_BYTES + 200_000


def test_a_stream_is_over_when_it_says_so() -> None:
    def pieces() -> Iterator[bytes]:
        yield event(choices=[{"text": "a"}]) + event(choices=[], receipt={"a": 1})[:9]
        yield event(choices=[], receipt={"a": 1})[9:] + b"data: [DO"
        yield b"NE]\r\n\r\n"
        pytest.fail("it went on reading")

    assert paid(httpx.Response(200, stream=Sent(pieces())), []) == Answered("a", {"a": 1})


@pytest.mark.parametrize("stream", [False, True])
def test_text_that_has_no_utf8_is_refused(stream: bool) -> None:
    body = {"choices": [{"text": "a\ud800"}], "receipt": {}}
    texts: list[str] = []
    with pytest.raises(FormatError, match="no text"):
        paid(httpx.Response(200, content=event(**body) if stream else json.dumps(body)), texts if stream else None)
    assert texts == []


def test_a_server_with_too_many_connections_is_busy() -> None:
    assert paid(httpx.Response(503, text="Service Unavailable")) == Refusal("overloaded", "Service Unavailable")


@pytest.mark.parametrize("status", [200, 404, 500, 502])
def test_what_is_not_json_is_told_with_its_status(status: int) -> None:
    with pytest.raises(CommonweightError, match=str(status) if status > 200 else "not JSON"):
        paid(httpx.Response(status, text="<html>"))


@pytest.mark.parametrize("texts", [None, []])
def test_a_server_that_cannot_be_reached_or_breaks_off_is_an_incomplete_answer(texts: list[str] | None) -> None:
    with pytest.raises(ServerUnreachable) as error:
        paid(httpx.ConnectError("refused"), texts)
    assert error.value.exit_code == 3 and isinstance(error.value, InferenceError)
