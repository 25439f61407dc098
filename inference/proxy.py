"""A server for this computer alone that any OpenAI client can use: it pays each request and checks what comes back.

One request reads top to bottom in `Proxy.answer`: read it, buy the answer, check the receipt, say what was paid. What
the client gets is made here from the text that the receipt is for, so nothing passes through that was not signed. A
stream's pieces go on as they come; its end, with the receipt, only when the receipt is true. A server that has lied is
paid no more by this process.

Whoever reaches this server spends the purse. Web pages are kept out by the names that they come with (`Gate`): a page
of another origin, and one whose name was made to lead to this computer.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import re
import select
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from commonweight.errors import (
    BudgetReached,
    ChainError,
    ChannelDry,
    CommonweightError,
    Dishonest,
    PaymentError,
    PaymentRefused,
    RequestRefused,
    ServerUnreachable,
    SignatureError,
    TooExpensive,
    UsageError,
)
from commonweight.protocol.canonical import JsonObject
from inference.answers import Answer
from inference.client import Limits, Order, PaidAnswer, Payer
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
from inference.wire import Wire

MAX_BODY_BYTES = 256 * 1024
_PATHS: dict[str, Kind] = {"/v1/completions": "completion", "/v1/chat/completions": "chat"}
_MODELS = "/v1/models"
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_CODES: tuple[tuple[type[CommonweightError], int, str], ...] = (
    (BudgetReached, 402, "budget_reached"),
    (TooExpensive, 402, "too_expensive"),
    (ChannelDry, 402, "channel_dry"),
    (Dishonest, 502, "server_dishonest"),
    (SignatureError, 502, "server_dishonest"),
    (ServerUnreachable, 502, "server_unreachable"),
    (PaymentError, 402, "not_paid"),
    (ChainError, 502, "chain_failed"),
    (CommonweightError, 502, "server_error"),
)


class ClientLeftError(Exception):
    """Nobody reads the answer any more."""


@dataclass(frozen=True)
class Gate:
    """Who may ask. `names` are host names besides IP addresses that clients may call this server by; `key`, when there
    is one, is what they must send as an API key.
    """

    names: frozenset[str] = frozenset({"localhost"})
    key: str | None = None

    def check(self, headers: Message) -> None:
        """Raises RequestError for a request of a web page, or without the key."""
        hosts = headers.get_all("Host", [])
        if len(hosts) != 1 or not self._own(hosts[0]):
            raise RequestError(
                "host_refused", "Host", f"This server is not called {', '.join(hosts)[:200]!r}",
                "a name that leads here is how a web page would reach it", "use the address that the proxy told", 403,
            )  # fmt: skip
        origins = [*headers.get_all("Origin", []), *headers.get_all("Sec-Fetch-Site", [])]
        if any(origin not in (f"http://{hosts[0]}", "same-origin", "none") for origin in origins):
            raise RequestError(
                "origin_refused", "Origin", "Web pages may not ask here", f"this one is of {origins[0][:200]}",
                "ask from a program; a page would spend your money unseen", 403,
            )  # fmt: skip
        given = headers.get("Authorization", "").removeprefix("Bearer ").strip()
        if self.key is not None and not hmac.compare_digest(given.encode(), self.key.encode()):
            raise RequestError(
                "invalid_api_key", "Authorization", "The API key is missing or wrong", "this proxy was given one",
                "send it as Authorization: Bearer KEY", 401,
            )  # fmt: skip

    def _own(self, host: str) -> bool:
        name = _HOST.fullmatch(host)
        return name is not None and (name[1].lower() in self.names or _address(name[1].strip("[]")) is not None)


@dataclass
class Proxy:
    """What answers, whatever carries the questions: pays by `payer` on `wire` within `limits`, and tells `say` of it.
    Safe in several threads.
    """

    payer: Payer
    wire: Wire
    limits: Limits
    say: Callable[[str], None] = lambda _: None
    _lie: CommonweightError | None = field(default=None, init=False)

    def answer(self, question: Question, body: bytes, on_event: Callable[[JsonObject], None]) -> None:
        """Buy an answer and give it, in OpenAI's form, to `on_event`: one object, or a stream's, each as it comes.

        Raises what `Payer.buy` does, and Dishonest once the server has lied; what `on_event` raises ends the answer.
        """
        if self._lie is not None:
            raise Dishonest(
                "This server is paid no more",
                f"it has lied: {self._lie.what}; {self._lie.why}",
                "withdraw what is left in the channel and use another server; to try again, start the proxy again",
            )
        path = next(path for path, kind in _PATHS.items() if kind == question.kind)
        seed = question.sampling.seed if question.seeded else None
        order = Order(path, body, question.prompt, question.sampling.max_tokens, seed)
        made = _Made(question, on_event)
        try:
            bought = self.payer.buy(self.wire, order, self.limits, made.piece if question.stream else None)
        except (Dishonest, SignatureError) as error:
            self._lie = error
            self.say(f"The server has lied and is paid no more: {error}")
            raise
        self._tell(bought)
        made.end(bought)

    def _tell(self, bought: PaidAnswer) -> None:
        paid, budget, shown = bought.receipt, self.payer.budget, self.limits.shown
        tokens = f"{paid.prompt_tokens} tokens read and {paid.completion_tokens} written"
        self.say(f"Paid {shown(paid.amount)} for {tokens}; {shown(budget.spent)} in all.")


class _Made:
    """An answer in OpenAI's form, made of its text as that comes."""

    def __init__(self, question: Question, on_event: Callable[[JsonObject], None]) -> None:
        self._question = question
        self._give = on_event
        self._id = ("cmpl-" if question.kind == "completion" else "chatcmpl-") + uuid.uuid4().hex
        self._created = int(time.time())
        self._begun = False

    def piece(self, text: str) -> None:
        self._open()
        self._give(chunk_body(self._question, self._id, self._created, text))

    def end(self, bought: PaidAnswer) -> None:
        served = bought.receipt
        answer = Answer(bought.text, served.completion_tokens, served.finish)
        proof: JsonObject = {"receipt": bought.signed}
        if not self._question.stream:
            whole = answer_body(self._question, self._id, self._created, served.prompt_tokens, answer)
            self._give({**whole, **proof})
            return
        self._open()
        closing = closing_chunks(self._question, self._id, self._created, served.prompt_tokens, answer, proof)
        self._all(closing)

    def _open(self) -> None:
        if not self._begun:
            self._begun = True
            self._all(opening_chunks(self._question, self._id, self._created))

    def _all(self, events: Iterable[JsonObject]) -> None:
        for event in events:
            self._give(event)


class ProxyServer(ThreadingHTTPServer):
    """The listening socket and what is under way on it."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], proxy: Proxy, gate: Gate) -> None:
        self.proxy = proxy
        self.gate = gate
        self._busy = 0
        self._idle = threading.Condition()
        super().__init__(address, _Handler)

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = str(self.server_address[0]), int(self.server_address[1])
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def begin(self, more: int) -> None:
        """Count one request more or less under way."""
        with self._idle:
            self._busy += more
            self._idle.notify_all()

    def drained(self, patience_s: float) -> bool:
        """Wait until nothing is under way; False if it still is after that time."""
        with self._idle:
            return self._idle.wait_for(lambda: self._busy == 0, patience_s)


def open_server(listen: str, proxy: Proxy, key: str | None) -> ProxyServer:
    """A server that is bound and not yet serving. Raises UsageError for an address that cannot be listened on."""
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdigit():
        raise UsageError(f"{listen} is not an address to listen on", "", "give HOST:PORT, like 127.0.0.1:8700")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    kind = type("Server", (ProxyServer,), {"address_family": family})
    try:
        server: ProxyServer = kind((host, int(port)), proxy, Gate(frozenset({"localhost", host.lower()}), key))
    except (OSError, OverflowError) as error:
        raise UsageError(f"{listen} cannot be listened on", str(error), "choose another by --listen") from None
    return server


def is_loopback(listen: str) -> bool:
    """Whether an address to listen on is reached from this computer alone."""
    host = listen.rpartition(":")[0].strip("[]")
    address = _address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


class _Handler(BaseHTTPRequestHandler):
    """Speaks HTTP: one request at a time on a connection."""

    protocol_version = "HTTP/1.1"
    server_version = "commonweight"
    sys_version = ""
    timeout = 60
    disable_nagle_algorithm = True
    server: ProxyServer
    _streaming = False
    _read = False

    def do_GET(self) -> None:
        """The server's models."""
        self._attempt(self._models)

    def do_POST(self) -> None:
        """An answer, paid."""
        self._attempt(self._answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that it has there
        """Say nothing of each request: what was paid is said by the proxy."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the HTTP server itself refuses, in OpenAI's form."""
        del explain
        self._fail(RequestError("invalid_request_error", "", message or "This is no request", status=code))

    def _attempt(self, work: Callable[[], None]) -> None:
        self.server.begin(1)
        self._streaming = self._read = False
        try:
            self.server.gate.check(self.headers)
            work()
        except CommonweightError as error:
            self._fail(error)
        except ClientLeftError:
            self.close_connection = True
        except Exception as error:  # noqa: BLE001 - the client must hear of it, and the others go on being served
            self.server.proxy.say(f"A request failed: {error!r}")
            self._fail(CommonweightError("The proxy failed to answer", type(error).__name__, "report it"))
        finally:
            self.server.begin(-1)

    def _models(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path != _MODELS and not path.startswith(_MODELS + "/"):
            raise _nothing_here(path)
        self._send(200, self.server.proxy.wire.models(path[len(_MODELS) + 1 :]))

    def _answer(self) -> None:
        path = urlsplit(self.path).path
        if path not in _PATHS:
            raise _nothing_here(path)
        body = self._body()
        question = read_question(_PATHS[path], body)
        self.server.proxy.answer(question, body, self._event if question.stream else self._whole)
        if self._streaming:
            self._chunk(b"data: [DONE]\n\n")
            self._chunk(b"")

    def _body(self) -> bytes:
        if self.headers.get_content_type() != "application/json":
            raise RequestError(
                "invalid_request_error", "Content-Type", "The request is not JSON",
                f"it says that it is {self.headers.get_content_type()[:100]}",
                "send it with Content-Type: application/json", 415,
            )  # fmt: skip
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or "Transfer-Encoding" in self.headers:
            raise RequestError(
                "invalid_request_error", "Content-Length", "The request does not say how long it is", "",
                "send Content-Length", 411,
            )  # fmt: skip
        if int(length) > MAX_BODY_BYTES:
            raise RequestError(
                "request_too_large", "", f"The request is longer than {MAX_BODY_BYTES} bytes", status=413
            )
        try:
            body = self.rfile.read(int(length))
        except OSError as error:
            raise ClientLeftError from error
        if len(body) < int(length):
            raise ClientLeftError
        self._read = True
        return body

    # --- answers -----------------------------------------------------------------------------------------------------

    def _whole(self, body: JsonObject) -> None:
        self._send(200, body)

    def _event(self, body: JsonObject) -> None:
        if not self._streaming:
            self._streaming = True
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Cache-Control", "no-store")
            if self.request_version == "HTTP/1.0":
                self.close_connection = True
            else:
                self.send_header("Transfer-Encoding", "chunked")
            self._written(self.end_headers)
        self._chunk(b"data: " + _ascii(body) + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        if self._left():
            raise ClientLeftError
        framed = data if self.request_version == "HTTP/1.0" else b"%x\r\n%b\r\n" % (len(data), data)
        self._written(lambda: self.wfile.write(framed))

    def _send(self, status: int, body: JsonObject, headers: Iterable[tuple[str, str]] = ()) -> None:
        data = _ascii(body)
        self.send_response(status)
        for name, value in (("Content-Type", "application/json"), ("Content-Length", str(len(data))), *headers):
            self.send_header(name, value)
        self._written(self.end_headers)
        self._written(lambda: self.wfile.write(data))

    def _fail(self, error: CommonweightError) -> None:
        """Tell what went wrong. Clients are asked not to try again by themselves: that would pay again."""
        status, body = _failure(error)
        headers = [("X-Should-Retry", "false")]
        if not self._read:
            self.close_connection = True  # what is unread of this request must not be taken for another
            headers.append(("Connection", "close"))
        try:
            if self._streaming:
                self._event(body)
                self._chunk(b"")
            else:
                self._send(status, body, headers)
        except ClientLeftError:
            pass

    def _left(self) -> bool:
        """Whether the client has closed the line: a write alone would tell so only at the next one."""
        try:
            readable = select.select([self.connection], [], [], 0)[0]
            return bool(readable) and self.connection.recv(1, socket.MSG_PEEK) == b""
        except OSError:
            return True

    def _written(self, write: Callable[[], object]) -> None:
        try:
            write()
        except OSError as error:
            raise ClientLeftError from error


def _failure(error: CommonweightError) -> tuple[int, JsonObject]:
    """The status and the body, in OpenAI's form, that tell of an error."""
    field_name = ""
    match error:
        case RequestError():
            status, code, field_name, kind = error.status, error.code, error.field, "invalid_request_error"
        case RequestRefused():
            own = 400 <= error.status < 500
            status, code, field_name = error.status if own else 502, error.code, error.field
            kind = "invalid_request_error" if own else "server_error"
        case PaymentRefused():
            status, code, kind = 503 if error.code == "overloaded" else 402, error.code, "payment_required"
        case _:
            status, code = next((status, code) for of, status, code in _CODES if isinstance(error, of))
            kind = "payment_required" if status == 402 else "server_error"
    return status, {"error": {"message": str(error), "type": kind, "code": code or None, "param": field_name or None}}


def _nothing_here(path: str) -> RequestError:
    there = ", ".join((*_PATHS, _MODELS))
    return RequestError("not_found", "", f"There is no {path[:200]} here", f"there are {there}", "", 404)


def _ascii(body: JsonObject) -> bytes:
    """In ASCII: clients that split text into lines do so at some of Unicode's characters, too."""
    return json.dumps(body, separators=(",", ":")).encode()
