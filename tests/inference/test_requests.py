"""Requests in OpenAI's form: what is taken, what is refused by name, and what bodies come back."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commonweight.errors import UsageError
from commonweight.protocol.canonical import JsonObject, sha256_hex
from inference.answers import Answer, render_chat
from inference.client import Ask
from inference.requests import RequestError, answer_body, chunk_body, closing_chunks, opening_chunks, read_question

pytestmark = pytest.mark.unit


def body(**fields: object) -> bytes:
    return json.dumps({"model": "tiny", "prompt": "hi", **fields}).encode()


def test_a_completion_is_read_with_its_defaults() -> None:
    question = read_question("completion", body())
    assert (question.kind, question.model, question.prompt, question.stream) == ("completion", "tiny", "hi", False)
    assert (question.sampling.max_tokens, question.sampling.temperature, question.sampling.stop) == (16, 1.0, ())
    assert question.sha256 == sha256_hex(body())


def test_a_seed_is_kept_or_drawn() -> None:
    assert read_question("completion", body(seed=5)).sampling.seed == 5
    drawn = {read_question("completion", body()).sampling.seed for _ in range(5)}
    assert len(drawn) == 5 and max(drawn) < 2**53


def test_a_chat_becomes_one_prompt() -> None:
    messages = [{"role": "system", "content": "be short"}, {"role": "user", "content": "hi"}]
    asked = json.dumps({"model": "m", "messages": messages, "max_completion_tokens": 9, "max_tokens": 4}).encode()
    question = read_question("chat", asked)
    assert (
        question.prompt
        == "system: be short\nuser: hi\nassistant:"
        == render_chat([("system", "be short"), ("user", "hi")])
    )
    assert question.sampling.max_tokens == 9


@pytest.mark.parametrize(
    ("fields", "stops"), [({"stop": "x"}, ("x",)), ({"stop": ["a", "", "b"]}, ("a", "b")), ({"stop": None}, ())]
)
def test_stop_sequences(fields: dict[str, object], stops: tuple[str, ...]) -> None:
    assert read_question("completion", body(**fields)).sampling.stop == stops


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"temperature": 2.1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": 2}, "n"),
        ({"best_of": 3}, "best_of"),
        ({"echo": True}, "echo"),
        ({"presence_penalty": 1.0}, "presence_penalty"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"seed": 2**53}, "seed"),
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"model": ""}, "model"),
    ],
)
def test_what_we_do_not_do_is_refused_and_not_ignored(fields: dict[str, object], field: str) -> None:
    with pytest.raises(RequestError) as error:
        read_question("completion", body(**fields))
    assert error.value.field.startswith(field) and error.value.status == 400


@pytest.mark.parametrize("field", ["max_tokens", "temperature", "n", "best_of", "echo", "logprobs", "suffix", "stream"])
def test_a_field_that_is_null_is_as_if_it_were_not_there(field: str) -> None:
    plain, null = (read_question("completion", body(seed=1, **more)) for more in ({}, {field: None}))
    assert replace(null, sha256=plain.sha256) == plain
    chat = {"model": "m", "messages": [{"role": "user", "content": "x", "name": None}], field: None}
    assert not read_question("chat", json.dumps(chat).encode()).bounded


def test_texts_in_the_lists_that_some_clients_make_of_them() -> None:
    assert read_question("completion", body(prompt=["x = "])).prompt == "x = "
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    asked = json.dumps({"model": "m", "messages": [{"role": "user", "content": parts}]}).encode()
    assert read_question("chat", asked).prompt == "user: ab\nassistant:"


@pytest.mark.parametrize(
    "content",
    [
        [],
        ["a"],
        [{"type": "image_url", "image_url": {"url": "x"}}],
        [{"type": "text", "text": "a"}, {"type": "image_url", "text": "b"}],
        [{"type": "text", "text": 5}],
        [{"type": "text"}],
        [{"type": "text", "text": "a", "cache_control": {}}],
    ],
)
def test_contents_of_other_things_than_text_are_refused(content: object) -> None:
    with pytest.raises(RequestError) as error:
        read_question("chat", json.dumps({"model": "m", "messages": [{"role": "user", "content": content}]}).encode())
    assert error.value.field == "messages.0.content"


def test_chats_of_other_things_than_text_are_refused() -> None:
    for messages in ([], [{"role": "tool", "content": "x"}]):
        with pytest.raises(RequestError):
            read_question("chat", json.dumps({"model": "m", "messages": messages}).encode())


@given(st.binary(max_size=300))
def test_no_body_does_worse_than_a_request_error(data: bytes) -> None:
    for kind in ("completion", "chat"):
        with pytest.raises(RequestError):
            read_question(kind, data)  # type: ignore[arg-type]


def test_the_clients_body_is_one_that_the_server_reads() -> None:
    for asked in (Ask("hi", seed=3, stop=("x",), temperature=0.5), Ask(messages=(("user", "hi"),), max_tokens=3)):
        for stream in (False, True):
            question = read_question("chat" if asked.messages else "completion", asked.body("tiny", stream))
            assert question.prompt == asked.text and question.stream is stream
            assert question.sampling.max_tokens == asked.max_tokens
            assert question.sampling.temperature == asked.temperature and question.sampling.stop == asked.stop


def test_a_prompt_that_is_no_text_is_refused_before_anything_is_sent() -> None:
    for asked in (Ask("\udcff"), Ask(messages=(("user", "\udcff"),)), Ask("a", stop=("\udcff",))):
        with pytest.raises(UsageError, match="no text"):
            asked.body("tiny", stream=False)


def test_answers_have_the_form_that_clients_of_openai_read() -> None:
    question = read_question("completion", body())
    whole = answer_body(question, "cmpl-1", 5, 2, Answer("text", 4, "stop"))
    assert whole["object"] == "text_completion" and whole["choices"][0]["text"] == "text"  # type: ignore[index, call-overload]
    assert whole["usage"] == {"prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6}
    chat = read_question("chat", json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]}).encode())
    answer = answer_body(chat, "c", 5, 2, Answer("text", 4, "stop"))
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "text"}  # type: ignore[index, call-overload]
    pieces = [*opening_chunks(chat, "c", 5), chunk_body(chat, "c", 5, "te"), chunk_body(chat, "c", 5, "xt")]
    assert {piece["object"] for piece in pieces} == {"chat.completion.chunk"}
    deltas = [piece["choices"][0]["delta"] for piece in pieces]  # type: ignore[index, call-overload]
    assert deltas == [{"role": "assistant", "content": ""}, {"content": "te"}, {"content": "xt"}], "clients add them up"
    assert list(opening_chunks(question, "cmpl-1", 5)) == []


def test_a_stream_ends_with_an_event_without_choices_for_those_alone_who_asked_for_the_usage() -> None:
    def ends(**more: object) -> list[JsonObject]:
        asked = read_question("completion", body(stream=True, **more))
        return list(closing_chunks(asked, "c", 5, 2, Answer("text", 4, "stop"), {"receipt": {}, "payment": {}}))

    for options in ({}, {"stream_options": {}}, {"stream_options": {"include_usage": False}}):
        (last,) = ends(**options)
        assert last["choices"] == [{"index": 0, "finish_reason": "stop", "logprobs": None, "text": ""}]
        assert {"receipt", "payment"} < last.keys() and "usage" not in last
    end, last = ends(stream_options={"include_usage": True})
    assert end["choices"] and "receipt" not in end
    assert last["choices"] == [] and {"receipt", "payment", "usage"} < last.keys()


def test_the_payers_side_needs_no_torch() -> None:
    code = (
        "import sys, inference.client, inference.channels, inference.purse, inference.settings, inference.wire\n"
        "assert not {'torch', 'fastapi', 'uvicorn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
