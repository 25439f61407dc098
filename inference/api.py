"""The HTTP API: OpenAI-compatible, its requests paid with x402 vouchers.

One request reads top to bottom in `_Api.answer`: read, check, price, take the voucher, generate, charge, sign, send.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from prometheus_client import Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from commonweight.errors import CommonweightError, DeviceFull, FormatError, PaymentRefused
from commonweight.metrics import new_registry
from commonweight.protocol.canonical import JsonObject
from commonweight.protocol.documents import Signed
from commonweight.protocol.fields import digest_bytes, hex32
from commonweight.protocol.x402 import (
    HEADER_REQUIRED,
    HEADER_RESPONSE,
    HEADER_SIGNATURE,
    Payment,
    PaymentRequired,
    PaymentResponse,
    Reason,
    VoucherState,
)
from inference.answers import Piece
from inference.metering import Account, Delivered, Reservation
from inference.receipts import HEADER_RECEIPT, Served, to_header
from inference.requests import (
    Kind,
    Question,
    RequestError,
    answer_body,
    chunk_body,
    closing_chunks,
    opening_chunks,
    read_question,
)
from inference.serving import OverloadError, Priced, Serving, Sold
from inference.settings import ServeSettings
from inference.till import channel_state

RECEIPTS_PER_PAGE = 100
_SENTENCE = "PAYMENT-SIGNATURE header is required"
_STATUS = {Reason.CHANNEL_BUSY: 409, Reason.STATE_READ_FAILED: 503}
_TELLING = (Reason.AMOUNT_MISMATCH, Reason.VOUCHER_USED, Reason.EXCEEDS_BALANCE, Reason.CHANNEL_REFUSED)
_log = structlog.get_logger("server")


class Metrics:
    """Prometheus metrics of one server."""

    def __init__(self) -> None:
        self.registry = new_registry()
        self.answers = Counter("commonweight_answers", "Requests by outcome", ["outcome"], registry=self.registry)
        self.tokens = Counter("commonweight_tokens", "Tokens charged", ["kind"], registry=self.registry)
        self.busy = Gauge("commonweight_requests_at_once", "Requests under way", registry=self.registry)
        self.settlements = Counter(
            "commonweight_settlements", "Settlements by outcome", ["outcome"], registry=self.registry
        )
        self.checkpoints = Counter(
            "commonweight_checkpoints", "Newer checkpoints by outcome", ["outcome"], registry=self.registry
        )
        self.served_epoch = Gauge(
            "commonweight_served_epoch", "Epoch of the checkpoint that is served", registry=self.registry
        )
        self.attested_epoch = Gauge(
            "commonweight_attested_epoch", "Epoch of the newest checkpoint that is final", registry=self.registry
        )
        self.unsettled = Gauge("commonweight_unsettled", "Charged and not settled on chain", registry=self.registry)


class _Events(StreamingResponse):
    """A stream of events; `over` is called when it has ended, however it did: starlette does not even begin to read
    the events for a client that has left, nor does it close them.
    """

    def __init__(self, events: AsyncIterator[bytes], over: Callable[[], None]) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        self._over = over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._over()


class _Api:
    """The handlers. Every refusal is a JSON object in OpenAI's form, with what, why and what to do."""

    def __init__(self, serving: Serving, settings: ServeSettings, metrics: Metrics) -> None:
        self._serving = serving
        self._settings = settings
        self.metrics = metrics
        self.metrics.busy.set_function(lambda: serving.busy)
        self.metrics.served_epoch.set_function(lambda: serving.model.checkpoint.epoch)
        self.metrics.attested_epoch.set(serving.model.checkpoint.epoch)

    async def completions(self, request: Request) -> Response:
        return await self.answer("completion", request)

    async def chat(self, request: Request) -> Response:
        return await self.answer("chat", request)

    async def answer(self, kind: Kind, request: Request) -> Response:
        question = read_question(kind, await _read_body(request, self._settings))
        priced = await asyncio.to_thread(self._serving.priced, question)
        header = request.headers.get(HEADER_SIGNATURE)
        if header is None:
            return await self._payment_required(
                request, priced, PaymentRefused(_SENTENCE, "This request must be paid for")
            )
        payment = _read_payment(header)
        try:
            taken = await self._serving.pay(priced, payment)
            sold = self._serving.delivered(taken) if isinstance(taken, Delivered) else None
        except PaymentRefused as error:
            return await self._payment_required(request, priced, error, payment)
        except OverloadError:
            self.metrics.answers.labels("busy").inc()
            raise
        if question.stream and isinstance(taken, Reservation):
            stream = self._serving.stream(priced, taken)
            return _Events(self._events(priced, payment, stream), stream.leave)
        if isinstance(taken, Reservation):
            try:
                sold = await self._serving.answer(priced, taken)
            except DeviceFull:
                self.metrics.answers.labels("full").inc()
                raise
        assert sold is not None
        if question.stream:
            return _Events(self._events(priced, payment, _again(sold)), lambda: None)
        return await self._whole(priced, payment, sold)

    # --- answers -----------------------------------------------------------------------------------------------------

    async def _whole(self, priced: Priced, payment: Payment, sold: Sold) -> Response:
        signed = self._count(sold)
        body = answer_body(
            priced.question, _new_id(priced.question), int(time.time()), priced.offer.prompt_tokens, sold.answer
        )
        headers = {
            HEADER_RESPONSE: (await self._response(payment, signed)).to_header(),
            HEADER_RECEIPT: to_header(sold.receipt),
        }
        return JSONResponse({**body, "receipt": signed.to_json()}, headers=headers)

    async def _events(
        self, priced: Priced, payment: Payment, pieces: AsyncIterator[Piece | Sold]
    ) -> AsyncIterator[bytes]:
        question, answer_id, created = priced.question, _new_id(priced.question), int(time.time())
        try:
            for opening in opening_chunks(question, answer_id, created):
                yield _event(opening)
            async for piece in pieces:
                if isinstance(piece, Piece):
                    yield _event(chunk_body(question, answer_id, created, piece.text))
                    continue
                signed = self._count(piece)
                told: JsonObject = (await self._response(payment, signed)).to_json()
                proof: JsonObject = {"receipt": signed.to_json(), "payment": told}
                prompt_tokens = priced.offer.prompt_tokens
                for closing in closing_chunks(question, answer_id, created, prompt_tokens, piece.answer, proof):
                    yield _event(closing)
                yield b"data: [DONE]\n\n"
        except DeviceFull:
            self.metrics.answers.labels("full").inc()
            yield _event(_full())
        except Exception as error:  # noqa: BLE001 - the answer has begun: nothing but its stream can still tell
            _log.error("a stream failed", exc_info=error)
            self.metrics.answers.labels("failed").inc()
            yield _event(_failure())

    def _count(self, sold: Sold) -> Signed:
        signed = Signed.from_bytes(sold.receipt)
        served = Served.from_body(signed.body)
        self.metrics.answers.labels("paid").inc()
        self.metrics.tokens.labels("prompt").inc(served.prompt_tokens)
        self.metrics.tokens.labels("completion").inc(served.completion_tokens)
        return signed

    async def _response(self, payment: Payment, signed: Signed) -> PaymentResponse:
        account = await self._account(payment.voucher.channel_id)
        return PaymentResponse(
            success=True,
            chain_id=payment.chain_id,
            payer=payment.payer,
            charged=Served.from_body(signed.body).amount,
            receipt=signed.digest,
            channel=None if account is None else channel_state(account),
        )

    async def _payment_required(
        self, request: Request, priced: Priced, error: PaymentRefused, payment: Payment | None = None
    ) -> Response:
        account = None
        if payment is not None and error.code in _TELLING:
            account = await self._account(payment.voucher.channel_id)
        told = priced.offer
        offer = self._serving.till.requirements(
            told.checkpoint, told.prompt_tokens, told.max_completion_tokens, account
        )
        base = self._settings.url.rstrip("/") or str(request.base_url).rstrip("/")
        required = PaymentRequired(error.code, base + request.url.path, (offer,))
        headers = {HEADER_REQUIRED: required.to_header()}
        if payment is not None:
            refused = PaymentResponse(False, offer.chain_id, payment.payer, error.code)
            headers[HEADER_RESPONSE] = refused.to_header()
        body = _error_body(error, "payment_required", error.code, "")
        status = next((status for reason, status in _STATUS.items() if reason == error.code), 402)
        outcome = "unpaid" if payment is None else "failed" if status >= 500 else "refused"
        self.metrics.answers.labels(outcome).inc()
        return JSONResponse({**body, "payment": required.to_json()}, status, headers)

    # --- free of charge ----------------------------------------------------------------------------------------------

    async def models(self) -> JsonObject:
        return {"object": "list", "data": [self._model_object()]}

    async def model(self, name: str) -> JsonObject:
        if not self._serving.model.called(name):
            raise RequestError("model_not_found", "model", f"The model {name} is not served here", status=404)
        return self._model_object()

    def _model_object(self) -> JsonObject:
        terms, model = self._serving.till.terms, self._serving.model
        checkpoint = model.checkpoint
        return {
            "id": model.name,
            "object": "model",
            "created": 0,
            "owned_by": terms.run,
            "context_length": model.generator.context,
            "device": self._settings.engine.kind,
            "run": terms.run,
            "checkpoint": hex32(checkpoint.manifest_sha256),
            "checkpoint_cid": checkpoint.cid,
            "round": checkpoint.round,
            "epoch": checkpoint.epoch,
            "loss_micro": checkpoint.loss_micro,
            "price_per_token": str(terms.price_per_token),
            "asset": terms.asset,
            "server": terms.server,
        }

    async def channel(self, channel: str) -> JsonObject:
        account = await self._known(channel)
        voucher = VoucherState(account.ceiling, account.signature).to_json() if account.ceiling else None
        return {"channelState": channel_state(account).to_json(), "voucherState": voucher}

    async def receipts(self, channel: str, after: int = 0) -> JsonObject:
        account = await self._known(channel)
        found = await asyncio.to_thread(
            self._serving.till.ledger.receipts, account.facts.channel_id, max(0, min(after, 2**53)), RECEIPTS_PER_PAGE
        )
        return {"receipts": [Signed.from_bytes(receipt).to_json() for receipt in found]}

    async def health(self) -> JsonObject:
        return {"status": "ok", "busy": self._serving.busy}

    async def prometheus(self) -> Response:
        return Response(generate_latest(self.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def _known(self, channel: str) -> Account:
        account = await self._account(digest_bytes(channel))
        if account is None:
            raise RequestError("channel_not_found", "channel", "This channel has paid for nothing here", status=404)
        return account

    async def _account(self, channel: bytes) -> Account | None:
        return await asyncio.to_thread(self._serving.till.ledger.account, channel)


def build_app(serving: Serving, settings: ServeSettings, metrics: Metrics) -> FastAPI:
    """The application over a serving that is ready. It starts and stops nothing itself."""
    api = _Api(serving, settings, metrics)
    app = FastAPI(title="Commonweight", openapi_url=None, docs_url=None, redoc_url=None)
    app.add_api_route("/v1/completions", api.completions, methods=["POST"], response_model=None)
    app.add_api_route("/v1/chat/completions", api.chat, methods=["POST"], response_model=None)
    app.add_api_route("/v1/models", api.models, methods=["GET"], response_model=None)
    app.add_api_route("/v1/models/{name:path}", api.model, methods=["GET"], response_model=None)
    app.add_api_route("/v1/channels/{channel}", api.channel, methods=["GET"], response_model=None)
    app.add_api_route("/v1/channels/{channel}/receipts", api.receipts, methods=["GET"], response_model=None)
    app.add_api_route("/healthz", api.health, methods=["GET"], response_model=None)
    app.add_api_route("/metrics", api.prometheus, methods=["GET"], response_model=None)
    app.add_exception_handler(Exception, _failed)
    app.add_exception_handler(CommonweightError, _refused)
    app.add_exception_handler(HTTPException, _plain_http)
    app.add_exception_handler(RequestValidationError, _wrong_query)
    app.middleware("http")(_counting(api.metrics))
    return app


async def _read_body(request: Request, settings: ServeSettings) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(settings.request_timeout_s):
            async for piece in request.stream():
                body += piece
                if len(body) > settings.max_body_bytes:
                    raise RequestError(
                        "request_too_large",
                        "",
                        f"The request is longer than {settings.max_body_bytes} bytes",
                        status=413,
                    )
    except TimeoutError as error:
        raise RequestError("request_timeout", "", "The request did not arrive in time", status=408) from error
    except ClientDisconnect as error:  # its sender's doing: nothing failed here that a log must tell of
        raise RequestError("request_incomplete", "", "The request broke off") from error
    return bytes(body)


def _read_payment(header: str) -> Payment:
    try:
        return Payment.from_header(header)
    except FormatError as error:
        raise RequestError(
            Reason.PAYLOAD,
            HEADER_SIGNATURE,
            "The payment cannot be read",
            f"{error.what}: {error.why}",
            "see docs/protocol.md",
        ) from error


def _new_id(question: Question) -> str:
    return ("cmpl-" if question.kind == "completion" else "chatcmpl-") + uuid.uuid4().hex


async def _again(sold: Sold) -> AsyncIterator[Piece | Sold]:
    if sold.answer.text:
        yield Piece(sold.answer.text, sold.answer.tokens)
    yield sold


def _event(body: JsonObject) -> bytes:
    """In ASCII: clients that split text into lines do so at some of Unicode's characters, too."""
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


def _error_body(error: CommonweightError, kind: str, code: str, field: str) -> JsonObject:
    return {"error": {"message": str(error), "type": kind, "code": code or None, "param": field or None}}


async def _refused(_: Request, error: Exception) -> Response:
    if isinstance(error, RequestError):
        body = _error_body(error, "invalid_request_error", error.code, error.field)
        return JSONResponse(body, error.status)
    if isinstance(error, OverloadError):
        return JSONResponse(_error_body(error, "overloaded", "overloaded", ""), 503, {"Retry-After": "1"})
    if isinstance(error, DeviceFull):
        _log.error("a request was refused", error=str(error))
        return JSONResponse(_full(), 503, {"Retry-After": "5"})
    if isinstance(error, FormatError):
        return JSONResponse(_error_body(error, "invalid_request_error", "invalid_request_error", ""), 400)
    return await _failed(_, error)


async def _failed(_: Request, error: Exception) -> Response:
    _log.error("a request failed", error=repr(error))
    return JSONResponse(_failure(), 500)


def _full() -> JsonObject:
    """What others are told of a device without memory."""
    full = OverloadError("The server has no memory left for this answer", "it costs nothing", "try again in a moment")
    return _error_body(full, "overloaded", "overloaded", "")


def _failure() -> JsonObject:
    """What others are told of a failure: causes name files and addresses that are not theirs to know."""
    failure = CommonweightError("The server failed to answer", "it has written the cause to its log", "try again later")
    return _error_body(failure, "server_error", "server_error", "")


async def _wrong_query(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = str(first["loc"][-1])
    wrong = RequestError("invalid_request_error", field, f"The request is wrong at {field}", str(first["msg"]))
    return await _refused(_, wrong)


async def _plain_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = _error_body(CommonweightError(str(error.detail)), "invalid_request_error", "", "")
    return JSONResponse(body, error.status_code, error.headers)


def _counting(metrics: Metrics) -> Callable[[Request, Callable[[Request], Awaitable[Response]]], Awaitable[Response]]:
    async def count(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        try:
            response = await call(request)
        except Exception:
            metrics.answers.labels("failed").inc()
            raise
        if response.status_code == 500:
            metrics.answers.labels("failed").inc()
        return response

    return count
