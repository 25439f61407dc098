"""Answering for money: what is charged when all goes well, when it fails, and when nobody waits for it any more."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from commonweight.errors import DeviceFull, InferenceError, PaymentRefused
from commonweight.protocol.documents import Signed
from commonweight.protocol.vouchers import channel_id, sign_voucher
from inference.answers import Answer, Piece, Sampling, text_sha256
from inference.chainview import ZERO
from inference.checkpoint import Attested
from inference.metering import ChannelFacts, Delivered, Ledger, Reservation
from inference.receipts import Served, read_receipt
from inference.requests import Question, RequestError
from inference.serving import OverloadError, Priced, ServedModel, Serving, Sold
from inference.tokens import ByteTokenizer
from tests.inference.parts import (
    CHANNEL,
    CHECKPOINT,
    DELAY_S,
    DOCUMENTS,
    OTHER,
    OTHER_KEY,
    PRICE,
    REQUEST,
    SERVER,
    SERVER_KEY,
    VOUCHERS,
    StubChain,
    facts,
    make_till,
    payment,
    query_only,
)

pytestmark = pytest.mark.unit
WAIT_S = 60.0


class StubGenerator:
    """Gives out one piece for each that a test hands over, until it is told to end or to fail."""

    tokenizer = ByteTokenizer()
    context = 100

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.stopped = threading.Event()
        self.pieces: list[str] = []
        self.go_on = threading.Event()
        self.failure: Exception | None = None

    def answer(
        self, prompt: list[int], sampling: Sampling, emit: Callable[[Piece], None], stopped: Callable[[], bool]
    ) -> Answer:
        self.begun.set()
        text = ""
        for piece in self.pieces:
            text += piece
            emit(Piece(piece, len(text)))
        while not self.go_on.wait(0.005):
            if stopped():
                self.stopped.set()
                return Answer(text, len(text), "interrupted")
        if self.failure is not None:
            raise self.failure
        return Answer(text, len(text), "length")


MODEL = ServedModel("tiny", Attested(CHECKPOINT, "cid", 0, 0, 0), StubGenerator())  # type: ignore[arg-type]


@pytest_asyncio.fixture
async def serving(tmp_path: Path) -> AsyncIterator[Serving]:
    till = make_till(tmp_path, StubChain({CHANNEL: facts(deposited=10_000)}))
    workers = ThreadPoolExecutor(2)
    model = replace(MODEL, generator=StubGenerator())  # type: ignore[arg-type]
    made = Serving(model, till, workers, key=SERVER_KEY, documents=DOCUMENTS, max_tokens=50, max_at_once=2)
    yield made
    stub(made).go_on.set()
    await made.drained()
    workers.shutdown()
    till.ledger.close()


def stub(serving: Serving) -> StubGenerator:
    assert isinstance(serving.model.generator, StubGenerator)
    return serving.model.generator


def question(request: str = REQUEST, prompt: str = "12345", tokens: int = 5) -> Question:
    return Question("completion", "tiny", request, prompt, Sampling(tokens, seed=9), False)


@contextmanager
def held(ledger: Ledger) -> Iterator[threading.Event]:
    """The ledger while it writes nothing; the event says that somebody waits to."""
    waits, transaction, go_on = threading.Event(), ledger._db.transaction, threading.Event()

    def slow() -> AbstractContextManager[sqlite3.Connection]:
        waits.set()
        go_on.wait(WAIT_S)
        return transaction()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger._db, "transaction", slow)
        yield waits
    go_on.set()


async def paid(serving: Serving, ceiling: int = 100, request: str = REQUEST) -> tuple[Priced, Reservation]:
    priced = serving.priced(question(request))
    taken = await serving.pay(priced, payment(ceiling))
    assert isinstance(taken, Reservation)
    return priced, taken


def money(serving: Serving) -> tuple[int, int]:
    """(charged, reserved)."""
    account = serving.till.ledger.account(CHANNEL)
    assert account is not None
    return account.charged, account.reserved


def last_receipt(serving: Serving) -> Served:
    (*_, data) = serving.till.ledger.receipts(CHANNEL, 0, 100)
    return read_receipt(data, DOCUMENTS, SERVER)[0]


async def test_an_answer_is_charged_for_its_tokens_and_signed(serving: Serving) -> None:
    stub(serving).pieces = ["ab", "c"]
    stub(serving).go_on.set()
    priced, reservation = await paid(serving)
    assert money(serving) == (0, 100)
    sold = await serving.answer(priced, reservation)
    served = last_receipt(serving)
    assert sold.answer == Answer("abc", 3, "length") and sold.receipt == serving.till.ledger.receipts(CHANNEL, 0, 1)[0]
    assert money(serving) == (8 * PRICE, 0) == (served.amount, 0) == (served.cumulative, 0)
    assert (served.answer_sha256, served.seed, served.ceiling) == (text_sha256("abc"), 9, 100)
    assert serving.busy == 0


async def test_the_event_loop_stays_free_while_an_answer_is_made(serving: Serving) -> None:
    priced, reservation = await paid(serving)
    answering = asyncio.create_task(serving.answer(priced, reservation))
    await asyncio.to_thread(stub(serving).begun.wait, WAIT_S)
    async with asyncio.timeout(WAIT_S):
        for _ in range(100):
            await asyncio.sleep(0)
    assert not answering.done() and serving.busy == 1
    stub(serving).go_on.set()
    await answering


async def test_what_fails_is_not_charged(serving: Serving) -> None:
    stub(serving).failure = InferenceError("It broke")
    stub(serving).go_on.set()
    priced, reservation = await paid(serving)
    with pytest.raises(InferenceError, match="It broke"):
        await serving.answer(priced, reservation)
    assert money(serving) == (0, 0) and serving.busy == 0


async def test_a_caller_who_leaves_finds_the_answer_when_he_asks_again(serving: Serving) -> None:
    stub(serving).pieces = ["text"]
    priced, reservation = await paid(serving)
    waiting = asyncio.create_task(serving.answer(priced, reservation))
    await asyncio.to_thread(stub(serving).begun.wait, WAIT_S)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    stub(serving).go_on.set()
    await serving.drained()
    assert money(serving) == (9 * PRICE, 0)
    again = await serving.pay(priced, payment(100))
    assert isinstance(again, Delivered) and serving.busy == 0
    assert serving.delivered(again) == Sold(Answer("text", 4, "length"), again.receipt)
    serving.till.ledger.forget_answers(-1)
    forgotten = await serving.pay(priced, payment(100))
    assert isinstance(forgotten, Delivered)
    with pytest.raises(PaymentRefused, match="not kept any more"):
        serving.delivered(forgotten)


async def test_a_stream_notes_each_piece_before_it_leaves(serving: Serving) -> None:
    stub(serving).pieces = ["a"]
    priced, reservation = await paid(serving)
    stream = serving.stream(priced, reservation)
    piece = await anext(stream)
    (noted,) = serving.till.ledger.open_requests()
    assert piece == Piece("a", 1)
    assert (noted.sent_tokens, noted.sent_sha256) == (1, "0x" + text_sha256("a").hex())
    stub(serving).go_on.set()
    sold = await anext(stream)
    assert isinstance(sold, Sold) and Served.from_body(Signed.from_bytes(sold.receipt).body).amount == 6 * PRICE
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    stream.leave()
    await serving.drained()
    assert money(serving) == (6 * PRICE, 0) and serving.busy == 0


async def test_a_stream_that_is_left_is_stopped_and_charged_as_far_as_it_went(serving: Serving) -> None:
    stub(serving).pieces = ["a", "b"]
    priced, reservation = await paid(serving)
    stream = serving.stream(priced, reservation)
    got = [await anext(stream)]
    while got[-1] != Piece("b", 2) and got != [Piece("ab", 2)]:
        got.append(await anext(stream))
    stream.leave()
    await serving.drained()
    assert stub(serving).stopped.is_set()
    served = last_receipt(serving)
    assert (served.finish, served.completion_tokens, served.answer_sha256) == ("interrupted", 2, text_sha256("ab"))
    assert money(serving) == (7 * PRICE, 0) and serving.busy == 0


async def test_a_stream_that_is_left_before_anything_came_costs_nothing(serving: Serving) -> None:
    priced, reservation = await paid(serving)
    stream = serving.stream(priced, reservation)
    first = asyncio.create_task(anext(stream))
    await asyncio.to_thread(stub(serving).begun.wait, WAIT_S)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    stream.leave()
    await serving.drained()
    assert money(serving) == (0, 0) and serving.busy == 0


async def test_a_stream_that_nobody_begins_to_read_costs_nothing_and_holds_no_place(serving: Serving) -> None:
    for ceiling in (100, 200, 300):
        stub(serving).stopped.clear()
        serving.stream(*await paid(serving, ceiling, f"0x{ceiling:064x}")).leave()
        await serving.drained()
        assert stub(serving).stopped.is_set()
    assert money(serving) == (0, 0) and serving.busy == 0


async def test_a_piece_that_was_noted_and_not_given_out_is_not_charged(serving: Serving) -> None:
    stub(serving).pieces = ["ab"]
    priced, reservation = await paid(serving)
    stream = serving.stream(priced, reservation)
    with held(serving.till.ledger) as waits:
        reading = asyncio.create_task(anext(stream))
        await asyncio.to_thread(waits.wait, WAIT_S)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        stream.leave()
    await serving.drained()
    assert money(serving) == (0, 0) and serving.busy == 0


async def test_a_reader_who_leaves_at_the_end_is_charged_once_for_the_whole(serving: Serving) -> None:
    stub(serving).pieces = ["ab"]
    priced, reservation = await paid(serving)
    stream = serving.stream(priced, reservation)
    assert await anext(stream) == Piece("ab", 2)
    with held(serving.till.ledger) as waits:
        reading = asyncio.create_task(anext(stream))
        stub(serving).go_on.set()
        await asyncio.to_thread(waits.wait, WAIT_S)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        stream.leave()
    await serving.drained()
    assert last_receipt(serving).finish == "length" and money(serving) == (7 * PRICE, 0)
    assert not serving._left, "nobody tried to end it twice"


async def test_a_request_that_is_cancelled_while_it_pays_keeps_nothing(serving: Serving) -> None:
    with held(serving.till.ledger) as waits:
        paying = asyncio.create_task(paid(serving))
        await asyncio.to_thread(waits.wait, WAIT_S)
        paying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await paying
    await serving.drained()
    assert money(serving) == (0, 0) and serving.busy == 0


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_request_that_ends_while_the_disk_is_full_is_ended_when_there_is_room(
    serving: Serving, streamed: bool
) -> None:
    stub(serving).pieces = ["ab"]
    priced, reservation = await paid(serving)
    if streamed:
        stream = serving.stream(priced, reservation)
        assert await anext(stream) == Piece("ab", 2)
        query_only(serving.till.ledger, 1)
        stream.leave()
    else:
        query_only(serving.till.ledger, 1)
        stub(serving).go_on.set()
        with pytest.raises(InferenceError, match="cannot be used"):
            await serving.answer(priced, reservation)
    await serving.drained()
    with pytest.raises(InferenceError, match="cannot be used"):
        serving.end_left()
    query_only(serving.till.ledger, 0)
    assert money(serving) == (0, 100) and serving.busy == 0
    _, under_way = await paid(serving, 300, "0x" + "bb" * 32)
    serving.end_left()
    assert money(serving) == (7 * PRICE if streamed else 0, 100), "the request under way is left alone"
    serving.till.ledger.release(under_way)


async def test_an_answer_whose_reader_stops_and_stays_is_charged_in_time(serving: Serving) -> None:
    """A payer could else hold its streams open until it has withdrawn what they would have cost."""
    serving.till.terms = replace(serving.till.terms, timeout_s=0)
    stub(serving).pieces = ["ab"]
    priced, reservation = await paid(serving)
    stream = serving.stream(priced, reservation)
    assert await anext(stream) == Piece("ab", 2)
    stub(serving).go_on.set()
    async with asyncio.timeout(WAIT_S):
        while (now := money(serving)) != (7 * PRICE, 0):
            assert now == (0, 100)
            await asyncio.sleep(0.01)
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    stream.leave()
    await serving.drained()
    assert last_receipt(serving).finish == "interrupted" and not serving._left


async def test_a_stream_that_fails_is_charged_as_far_as_it_was_sent(serving: Serving) -> None:
    stub(serving).pieces, stub(serving).failure = ["abc"], InferenceError("It broke")
    priced, reservation = await paid(serving)
    stream = serving.stream(priced, reservation)
    assert await anext(stream) == Piece("abc", 3)
    stub(serving).go_on.set()
    with pytest.raises(InferenceError, match="It broke"):
        await anext(stream)
    stream.leave()
    await serving.drained()
    assert money(serving) == (8 * PRICE, 0) and last_receipt(serving).finish == "interrupted"


@pytest.mark.parametrize("disk_full", [False, True])
async def test_a_stream_that_a_full_device_cuts_off_is_released_before_it_is_said(
    serving: Serving, disk_full: bool
) -> None:
    """Its reader is told that it costs nothing: no crash, and no disk that is full just then, may charge it after."""
    stub(serving).pieces, stub(serving).failure = ["abc"], DeviceFull("Full", "", "")
    priced, reservation = await paid(serving)
    stream = serving.stream(priced, reservation)
    assert await anext(stream) == Piece("abc", 3)
    query_only(serving.till.ledger, int(disk_full))
    stub(serving).go_on.set()
    with pytest.raises(DeviceFull):
        await anext(stream)
    assert money(serving) == (0, 100 if disk_full else 0)
    stream.leave()
    await serving.drained()
    query_only(serving.till.ledger, 0)
    serving.end_left()
    assert money(serving) == (0, 0) and serving.busy == 0


async def test_a_full_server_takes_no_payment(serving: Serving) -> None:
    first, second = await paid(serving, 100), await paid(serving, 200, "0x" + "bb" * 32)
    with pytest.raises(OverloadError):
        await serving.pay(serving.priced(question("0x" + "cc" * 32)), payment(300))
    assert money(serving) == (0, 200), "the refused request reserved nothing"
    stub(serving).go_on.set()
    await asyncio.gather(serving.answer(*first), serving.answer(*second))
    await paid(serving, 400, "0x" + "dd" * 32)


async def test_channels_that_do_not_exist_leave_places_to_those_that_pay(serving: Serving) -> None:
    """A voucher for a channel that was never opened costs nothing, and looking for the channel takes a moment."""
    stub(serving).go_on.set()
    await serving.answer(*await paid(serving))
    strange = channel_id(OTHER, SERVER, ZERO, DELAY_S)
    forged = payment(0, payer=OTHER, voucher=sign_voucher(strange, 100, VOUCHERS, OTHER_KEY))
    looking, go_on = threading.Event(), threading.Event()
    read = serving.till._read

    def slow(channel: bytes) -> ChannelFacts | None:
        if channel == strange:
            looking.set()
            assert go_on.wait(WAIT_S)
        return read(channel)

    serving.till._read = slow
    serving.till.ledger.observe(facts(deposited=10_000, read_at=0.0))
    asked = serving.priced(question("0x" + "ee" * 32))
    strangers = [asyncio.create_task(serving.pay(asked, forged)) for _ in range(5)]
    await asyncio.to_thread(looking.wait, WAIT_S)
    async with asyncio.timeout(WAIT_S):
        await serving.answer(*await paid(serving, 200, "0x" + "bb" * 32))
    go_on.set()
    said = await asyncio.gather(*strangers, return_exceptions=True)
    assert sorted(type(error).__name__ for error in said) == ["OverloadError"] * 4 + ["PaymentRefused"]
    assert serving.busy == 0 and serving._strangers == 0


async def test_a_refused_payment_takes_no_place(serving: Serving) -> None:
    for _ in range(5):
        with pytest.raises(PaymentRefused):
            await serving.pay(serving.priced(question()), payment(1))
    assert serving.busy == 0


async def test_what_a_crash_cut_off_is_ended_by_what_was_sent(serving: Serving) -> None:
    _, streamed = await paid(serving, 100)
    _, silent = await paid(serving, 200, "0x" + "bb" * 32)
    serving.till.ledger.sent(streamed.request_id, 4, "0x" + text_sha256("abcd").hex())
    assert serving.recover() == 2
    served = last_receipt(serving)
    assert (served.finish, served.completion_tokens, served.ceiling) == ("interrupted", 4, 100)
    assert served.answer_sha256 == text_sha256("abcd") and served.prompt_tokens == 5
    assert money(serving) == (9 * PRICE, 0) and serving.recover() == 0
    assert silent.request_id not in {r.request_id for r in serving.till.ledger.open_requests()}


def test_what_does_not_fit_the_model_is_refused_with_its_name(serving: Serving) -> None:
    for asked, code in (
        (question(tokens=51), "invalid_request_error"),
        (question(prompt="x" * 96), "context_length_exceeded"),
    ):
        with pytest.raises(RequestError) as error:
            serving.priced(asked)
        assert error.value.code == code
