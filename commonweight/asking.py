"""HTTP requests that end: whoever is asked has so long for a whole answer, and may send so much.

A timeout of an HTTP library holds for one read, so that a server which sends a byte a second is waited for for ever.
Here the clock starts once a request is sent and stops with the last byte of the answer, header lines included. What is
longer than the caller wants is not read.
"""

from __future__ import annotations

import ssl
import time
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.request import getproxies, proxy_bypass
from weakref import finalize

import httpcore
import httpx

_LOCAL = ("localhost", "127.0.0.1", "::1")
_CONNECT_S = 10.0
_GZIP = 31  # zlib's name for the gzip format


@dataclass(frozen=True)
class Answer:
    """An answer: its status, and its body, `cut` where that was longer than was to be read."""

    status: int
    body: bytes
    cut: bool


class Asker:
    """An HTTP client for one server, safe for use from several threads. A local server is never asked by a proxy."""

    def __init__(self, url: httpx.URL, answer_s: float, headers: Mapping[str, str] | None = None) -> None:
        """`answer_s` is the time for an answer, from the last byte of the request to the last of the answer."""
        timeout = httpx.Timeout(answer_s, connect=min(answer_s, _CONNECT_S))
        self._http = httpx.Client(
            headers={"Accept-Encoding": "gzip", "User-Agent": "commonweight", **(headers or {})}, timeout=timeout,
            follow_redirects=False, transport=_Transport(url, answer_s),
        )  # fmt: skip
        self.close = finalize(self, self._http.close)
        """Close the connections; happens by itself when nobody has the client any more."""

    def ask(
        self, method: str, url: httpx.URL, max_bytes: int, *, params: Mapping[str, str] | None = None,
        json: object = None, files: Any = None,
    ) -> Answer:  # fmt: skip
        """One request. Raises httpx.HTTPError: no connection, no answer in time, or none that is HTTP."""
        with self._http.stream(method, url, params=params, json=json, files=files) as answer:
            body = _read(answer, max_bytes + 1)
        return Answer(answer.status_code, body[:max_bytes], len(body) > max_bytes)


def _read(answer: httpx.Response, most: int) -> bytes:
    """The first `most` bytes of a body, unpacked."""
    unpacker = zlib.decompressobj(_GZIP) if answer.headers.get("content-encoding") == "gzip" else None
    body = bytearray()
    try:
        for piece in answer.iter_raw():
            body += piece if unpacker is None else unpacker.decompress(piece, most - len(body))
            if len(body) >= most:
                break
    except zlib.error as problem:
        raise httpx.DecodingError(str(problem)) from problem
    return bytes(body[:most])


class _Transport(httpx.HTTPTransport):
    def __init__(self, url: httpx.URL, answer_s: float) -> None:
        super().__init__(verify=_trusted() if url.scheme == "https" else False, proxy=_proxy(url))
        # httpx has no parameter for the backend, which httpcore takes
        self._pool._network_backend = _Backend(self._pool._network_backend, answer_s)


class _Backend(httpcore.NetworkBackend):
    """Opens connections on which the reading of one answer takes `answer_s` at most."""

    def __init__(self, inner: httpcore.NetworkBackend, answer_s: float) -> None:
        self._inner = inner
        self._answer_s = answer_s

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:  # fmt: skip
        """A connection; names are as in httpcore."""
        return _Stream(self._inner.connect_tcp(host, port, timeout, local_address, socket_options), self._answer_s)


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, answer_s: float) -> None:
        self._inner = inner
        self._answer_s = answer_s
        self._until: float | None = None

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        del timeout  # of one read
        now = time.monotonic()
        self._until = self._until or now + self._answer_s
        if now >= self._until:
            raise httpcore.ReadTimeout("the answer takes too long")
        return self._inner.read(max_bytes, self._until - now)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._until = None
        self._inner.write(buffer, timeout)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, timeout), self._answer_s)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _proxy(url: httpx.URL) -> str | None:
    if url.host in _LOCAL or proxy_bypass(url.host):
        return None
    known = getproxies()
    found = known.get(url.scheme) or known.get("all")
    return found if not found or "://" in found else f"http://{found}"


@cache
def _trusted() -> ssl.SSLContext:
    return httpx.create_ssl_context()
