"""Answering one question for money: price it, take the voucher, generate, charge, sign. No HTTP in here.

Generation and everything that touches the disk or the chain runs in threads, so that the event loop stays responsive.
An answer that nobody waits for any more is stopped, and charged as far as it was sent.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import Self, TypeVar

import structlog

from commonweight.errors import DeviceFull, DeviceLost, InferenceError, PaymentRefused
from commonweight.protocol.canonical import dumps, loads
from commonweight.protocol.documents import Signed
from commonweight.protocol.fields import U64, Fields, digest_bytes, hex32
from commonweight.protocol.typed import Domain
from commonweight.protocol.x402 import Payment, Reason, Requirements
from inference.answers import Answer, Finish, Piece, Sampling, text_sha256
from inference.checkpoint import Attested
from inference.generation import Generator
from inference.metering import Delivered, Reservation, price
from inference.receipts import Served, sign_receipt
from inference.requests import Question, RequestError
from inference.till import Till

T = TypeVar("T")
_log = structlog.get_logger("serving")


class OverloadError(InferenceError):
    """As many requests are waiting as the server takes."""


@dataclass(frozen=True)
class ServedModel:
    """What is served: the run's name, which is the model's, the attested checkpoint, and what answers from it."""

    name: str
    checkpoint: Attested
    generator: Generator

    def called(self, name: str) -> bool:
        """Whether it has this name: the model's, or its checkpoint's sha256."""
        return name in (self.name, hex32(self.checkpoint.manifest_sha256))


@dataclass(frozen=True)
class Priced:
    """A question with the model that will answer it, its prompt's tokens, how to answer, and what that costs at
    most.
    """

    question: Question
    model: ServedModel
    prompt: list[int]
    sampling: Sampling
    offer: Requirements


@dataclass(frozen=True)
class Sold:
    """An answer that has been charged, with its receipt."""

    answer: Answer
    receipt: bytes


class Serving:
    """The served model, which may be set to another, with its till: a request is answered by the model that it was
    priced for. `key` signs receipts; at most `max_waiting` requests wait for one of the
    workers.

    `lost` is the error of a device that has failed, and `on_lost` is called when it does: no answer comes from it any
    more. What a full device cuts off costs nothing.
    """

    def __init__(
        self,
        model: ServedModel,
        till: Till,
        workers: Executor,
        *,
        key: bytes,
        documents: Domain,
        max_tokens: int,
        max_at_once: int,
    ) -> None:
        self.model = model
        self.till = till
        self._workers = workers
        self._key = key
        self._documents = documents
        self._max_tokens = max_tokens
        self._max_at_once = max_at_once
        self._at_once = 0
        self._strangers = 0
        self._running: set[asyncio.Task[object]] = set()
        self._left: dict[int, tuple[int, str]] = {}
        self.lost: DeviceLost | None = None
        self.on_lost: Callable[[], None] = lambda: None

    @property
    def busy(self) -> int:
        """Requests that are being answered or wait for it."""
        return self._at_once

    def priced(self, question: Question) -> Priced:
        """The question with its price. Raises RequestError when it is not for the model or does not fit it. Blocks."""
        model = self.model
        if not model.called(question.model):
            raise RequestError(
                "model_not_found", "model", f"The model {question.model} is not served here", "", "see /v1/models", 404
            )
        prompt = model.generator.tokenizer.encode(question.prompt)
        tokens, limit = question.sampling.max_tokens, self._max_tokens
        if not question.bounded:
            tokens = max(1, min(limit, model.generator.context - len(prompt)))
        if tokens > limit:
            raise RequestError(
                "invalid_request_error", "max_tokens", f"At most {limit} tokens are made", f"not {tokens}"
            )
        if len(prompt) + tokens > model.generator.context:
            raise RequestError(
                "context_length_exceeded",
                "prompt",
                f"The prompt has {len(prompt)} tokens and the answer up to {tokens}",
                f"together they must not exceed the model's {model.generator.context}",
                "shorten the prompt, or ask for fewer tokens",
            )
        counted = min(len(prompt), len(question.prompt.encode()))  # so that payers can bound it without the tokenizer
        offer = self.till.requirements(model.checkpoint.manifest_sha256, counted, tokens)
        return Priced(question, model, prompt, replace(question.sampling, max_tokens=tokens), offer)

    async def pay(self, priced: Priced, payment: Payment) -> Reservation | Delivered:
        """Take the payment. Raises PaymentRefused, or OverloadError before anything is taken.

        Channels that have paid for nothing yet, and may not exist, get no more than half of the places at a time while
        they are looked up.
        """
        stranger = not await asyncio.to_thread(self.till.knows, payment.voucher.channel_id)
        crowded = stranger and self._strangers >= max(1, self._max_at_once // 2)
        if crowded or self._at_once >= self._max_at_once:
            raise OverloadError("The server is busy", f"{self._at_once} requests are waiting", "try again in a moment")
        self._at_once += 1
        self._strangers += stranger
        note = _Note(
            priced.offer.prompt_tokens,
            priced.offer.price_per_token,
            priced.offer.checkpoint,
            priced.question.sampling.seed,
        )
        accept = partial(self.till.accept, payment, priced.offer, priced.question.sha256, note.to_text())
        taking = self._start(self._take(accept, stranger))
        try:
            taken = await asyncio.shield(taking)
        except asyncio.CancelledError:
            self._start(self._give_back(taking))
            raise
        except BaseException:
            self._at_once -= 1
            raise
        if isinstance(taken, Delivered):
            self._at_once -= 1
        return taken

    async def answer(self, priced: Priced, reservation: Reservation) -> Sold:
        """The whole answer, charged. Goes on when the caller is cancelled, so that the request repeated finds it."""
        return await asyncio.shield(self._start(self._answer(priced, reservation)))

    def stream(self, priced: Priced, reservation: Reservation) -> Stream:
        """Begin an answer that is given out piece by piece. Whoever calls this must leave the stream at its end."""
        return Stream(self, priced, reservation)

    async def drained(self) -> None:
        """Wait until everything under way has ended and been charged."""
        while self._running:
            await asyncio.wait(self._running)

    def delivered(self, delivered: Delivered) -> Sold:
        """What was sold before, for a request that is repeated. Raises PaymentRefused when its text is not kept."""
        signed = Signed.from_bytes(delivered.receipt)
        served = Served.from_body(signed.body)
        if delivered.answer is None:
            raise PaymentRefused(
                Reason.VOUCHER_USED,
                "This request has been answered and its answer is not kept any more",
                f"its receipt is number {served.sequence} of the channel",
                "sign a higher voucher to ask again",
            )
        return Sold(Answer(delivered.answer, served.completion_tokens, served.finish), delivered.receipt)

    def recover(self) -> int:
        """End the requests that a crash cut off: charge what was sent, release the rest. Returns how many. Blocks."""
        cut_off = self.till.ledger.open_requests()
        for reservation in cut_off:
            self._interrupted(reservation, reservation.sent_tokens, reservation.sent_sha256)
        return len(cut_off)

    def end_left(self) -> None:
        """End the requests whose end could not be written when it came. Blocks."""
        left = self._left.copy()
        for reservation in self.till.ledger.open_requests() if left else []:
            if reservation.request_id in left:
                self._interrupted(reservation, *left[reservation.request_id])
        for number in left:
            del self._left[number]

    # --- inside ------------------------------------------------------------------------------------------------------

    def _start(self, work: Coroutine[object, object, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def _generate(self, priced: Priced, emit: Callable[[Piece], None], stop: threading.Event) -> asyncio.Future[Answer]:
        generator = priced.model.generator
        make = partial(generator.answer, priced.prompt, priced.sampling, emit, stop.is_set)
        work = asyncio.get_running_loop().run_in_executor(self._workers, make)
        work.add_done_callback(self._look_after)
        return work

    def _look_after(self, work: asyncio.Future[Answer]) -> None:
        """Notice when the device has failed."""
        failure = None if work.cancelled() else work.exception()
        if isinstance(failure, DeviceLost):
            self.lose(failure)

    def lose(self, failure: DeviceLost) -> None:
        """The device has failed, whoever noticed it."""
        if self.lost is None:
            _log.error("the device has failed: nothing is answered any more", error=str(failure))
            self.lost = failure
            self.on_lost()

    async def _answer(self, priced: Priced, reservation: Reservation) -> Sold:
        try:
            answer = await self._generate(priced, lambda _: None, threading.Event())
            return Sold(answer, await asyncio.to_thread(self._charge, reservation, answer))
        except BaseException:
            await self._end(reservation, 0, "")
            raise
        finally:
            self._at_once -= 1

    async def _take(self, accept: Callable[[], Reservation | Delivered], stranger: bool) -> Reservation | Delivered:
        try:
            return await asyncio.to_thread(accept)
        finally:
            self._strangers -= stranger

    async def _give_back(self, taking: asyncio.Task[Reservation | Delivered]) -> None:
        """Release what a request took that was cancelled meanwhile."""
        await asyncio.wait([taking])
        self._at_once -= 1
        if taking.exception() is None and isinstance(taken := taking.result(), Reservation):
            await self._end(taken, 0, "")

    async def _end(self, reservation: Reservation, tokens: int, sent_sha256: str) -> None:
        """End a request by what was sent of its answer, at the next `end_left` if the ledger cannot be written."""
        try:
            await asyncio.to_thread(self._interrupted, reservation, tokens, sent_sha256)
        except InferenceError as error:
            _log.error("a request could not be ended and will be tried again", error=str(error))
            self._left[reservation.request_id] = tokens, sent_sha256

    def _charge(self, reservation: Reservation, answer: Answer) -> bytes:
        return self._sign_off(reservation, answer.tokens, text_sha256(answer.text), answer.finish, answer.text)

    def _interrupted(self, reservation: Reservation, tokens: int, sent_sha256: str) -> None:
        if tokens == 0:
            self.till.ledger.release(reservation)
        else:
            self._sign_off(reservation, tokens, digest_bytes(sent_sha256), "interrupted", None)

    def _sign_off(
        self, reservation: Reservation, tokens: int, answer_sha256: bytes, finish: Finish, text: str | None
    ) -> bytes:
        note = _Note.of(reservation)
        amount = price(note.prompt_tokens, tokens, note.price_per_token)

        def receipt(before: int, sequence: int) -> bytes:
            served = Served(
                run=self.till.terms.run,
                checkpoint=note.checkpoint,
                channel=reservation.channel_id,
                sequence=sequence,
                request_sha256=digest_bytes(reservation.request_sha256),
                answer_sha256=answer_sha256,
                prompt_tokens=note.prompt_tokens,
                completion_tokens=tokens,
                price_per_token=note.price_per_token,
                amount=amount,
                cumulative=before + amount,
                ceiling=reservation.ceiling,
                seed=note.seed,
                finish=finish,
                time_ms=time.time_ns() // 1_000_000,
            )
            return sign_receipt(served, self._key, self._documents)

        return self.till.ledger.charge(reservation, amount, receipt, text)


class Stream:
    """An answer as it is made: its pieces, each noted in the ledger before it is given out, and at the end the charged
    whole.

    `leave` must be called at the end of reading, whenever that is and whether or not anything was read. An answer that
    is made and not read to its end in the time that the terms name is left by itself: until then it is not charged.
    """

    def __init__(self, serving: Serving, priced: Priced, reservation: Reservation) -> None:
        self._serving = serving
        self._reservation = reservation
        self._sent = _Progress()
        self._stop = threading.Event()
        self._pieces: asyncio.Queue[Piece | None] = asyncio.Queue()
        self._charging: asyncio.Task[bytes] | None = None
        self._over = False
        self._leaving: asyncio.TimerHandle | None = None
        loop = asyncio.get_running_loop()

        def emit(piece: Piece) -> None:
            loop.call_soon_threadsafe(self._pieces.put_nowait, piece)

        self._work = serving._generate(priced, emit, self._stop)
        self._work.add_done_callback(self._ended)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Piece | Sold:
        """The next piece, or the end. Raises the error of an answer that failed."""
        if self._over:
            raise StopAsyncIteration
        piece = await _next(self._pieces)
        if piece is None:
            return await self._sold()
        sent = self._sent.with_piece(piece)
        note = self._serving.till.ledger.sent
        await asyncio.to_thread(note, self._reservation.request_id, sent.tokens, hex32(sent.digest()))
        if self._over:
            raise StopAsyncIteration
        self._sent = sent
        return piece

    def leave(self) -> None:
        """Stop the answer if it is not over, and charge it as far as it was given out."""
        if not self._over:
            self._finish()
            self._stop.set()
            self._serving._start(self._abandon())

    def _ended(self, _: object) -> None:
        """The worker is free again, however slowly its answer is read."""
        self._serving._at_once -= 1
        self._pieces.put_nowait(None)
        if not self._over:
            patience_s = self._serving.till.terms.timeout_s
            self._leaving = asyncio.get_running_loop().call_later(patience_s, self.leave)

    def _finish(self) -> None:
        self._over = True
        if self._leaving is not None:
            self._leaving.cancel()

    async def _sold(self) -> Sold:
        try:
            answer = self._work.result()
        except DeviceFull as full:  # its reader is told that it costs nothing: not before that is so
            _log.error("an answer failed", error=repr(full))
            self._finish()
            await asyncio.shield(self._serving._start(self._serving._end(self._reservation, 0, "")))
            raise
        self._charging = self._serving._start(asyncio.to_thread(self._serving._charge, self._reservation, answer))
        receipt = await asyncio.shield(self._charging)  # a reader that goes now does not undo it
        self._finish()
        return Sold(answer, receipt)

    async def _abandon(self) -> None:
        await asyncio.wait([self._work])
        if (failure := self._work.exception()) is not None:
            _log.error("an answer failed", error=repr(failure))
        if self._charging is not None:
            await asyncio.wait([self._charging])
            if self._charging.exception() is None:
                return
        sent = _Progress() if isinstance(failure, DeviceFull) else self._sent
        await self._serving._end(self._reservation, sent.tokens, hex32(sent.digest()))


@dataclass(frozen=True)
class _Note:
    """What was promised for a request: kept in the ledger, so that a restarted server can still charge for it."""

    prompt_tokens: int
    price_per_token: int
    checkpoint: bytes
    seed: int

    def to_text(self) -> str:
        return dumps(
            {
                "prompt_tokens": self.prompt_tokens,
                "price_per_token": str(self.price_per_token),
                "checkpoint": hex32(self.checkpoint),
                "seed": str(self.seed),
            }
        ).decode()

    @classmethod
    def of(cls, reservation: Reservation) -> _Note:
        f = Fields(loads(reservation.note.encode()), "note")
        checkpoint = digest_bytes(f.digest("checkpoint"))
        return cls(f.integer("prompt_tokens"), f.decimal("price_per_token"), checkpoint, f.decimal("seed", U64))


class _Progress:
    """What has been given out of a stream."""

    def __init__(self) -> None:
        self.tokens = 0
        self._sha256 = hashlib.sha256()

    def with_piece(self, piece: Piece) -> _Progress:
        """What it is with one piece more."""
        after = _Progress()
        after.tokens, after._sha256 = piece.tokens, self._sha256.copy()
        after._sha256.update(piece.text.encode())
        return after

    def digest(self) -> bytes:
        return self._sha256.digest()


async def _next(pieces: asyncio.Queue[Piece | None]) -> Piece | None:
    """The next piece, joined with those that have come meanwhile; None at the end."""
    piece = await pieces.get()
    while piece is not None and not pieces.empty():
        more = pieces.get_nowait()
        if more is None:
            pieces.put_nowait(None)
            break
        piece = Piece(piece.text + more.text, more.tokens)
    return piece
