"""A relay before a real server: passes requests on, and lets a test change, hold back or break off what comes back."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from tests.inference.site import Server


class Relay:
    """`lie` changes the object that holds a receipt. With `gate`, each piece of a stream waits until the test lets it
    through. `paid` counts requests with a payment.
    """

    def __init__(self, server: Server) -> None:
        self.real = httpx.Client(trust_env=False, timeout=60.0, base_url=server.url)
        self.lie: Callable[[dict[str, Any]], None] = lambda _: None
        self.gate: threading.Semaphore | None = None
        self.broken = threading.Event()
        self.headers: list[dict[str, str]] = []
        self.paid = 0
        self.url = ""

    def text(self, line: bytes) -> bytes:
        """An event, or a body, as it is told on."""
        prefix = b"data: " if line.startswith(b"data: ") else b""
        if not line.startswith(prefix + b"{"):
            return line
        body = json.loads(line.removeprefix(prefix))
        if "receipt" in body:
            self.lie(body)
        return prefix + json.dumps(body).encode()


class _Handler(BaseHTTPRequestHandler):
    relay: Relay

    def do_GET(self) -> None:
        self._pass(b"")

    def do_POST(self) -> None:
        self._pass(self.rfile.read(int(self.headers["Content-Length"])))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that it has there
        pass

    def _pass(self, body: bytes) -> None:
        relay = self.relay
        relay.headers.append({name.lower(): value for name, value in self.headers.items()})
        kept = {n: v for n, v in self.headers.items() if n.lower() in ("content-type", "payment-signature")}
        relay.paid += "payment-signature" in relay.headers[-1]
        with relay.real.stream(self.command, self.path, content=body, headers=kept) as got:
            self.send_response(got.status_code)
            for name, value in got.headers.items():
                if name.startswith(("payment-", "commonweight-", "content-type")):
                    self.send_header(name, value)
            self.end_headers()
            for line in _lines(got):
                if relay.gate is not None and line.startswith(b"data: {"):
                    while not relay.gate.acquire(timeout=0.05):
                        if relay.broken.is_set():
                            return
                try:
                    self.wfile.write(relay.text(line) + b"\n")
                except OSError:
                    return  # who asked has gone: the real server is left, too


def _lines(got: httpx.Response) -> Iterator[bytes]:
    if got.headers.get("content-type", "").startswith("text/event-stream"):
        yield from (line.encode() for line in got.iter_lines())
    else:
        yield got.read()


@contextmanager
def relayed(server: Server) -> Iterator[Relay]:
    """A relay that listens, before a server."""
    relay = Relay(server)
    listening = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"relay": relay}))
    listening.daemon_threads = True
    relay.url = f"http://127.0.0.1:{listening.server_address[1]}"
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield relay
    finally:
        relay.broken.set()
        listening.shutdown()
        listening.server_close()
        thread.join()
        relay.real.close()
