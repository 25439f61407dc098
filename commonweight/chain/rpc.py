"""JSON-RPC over HTTP with several endpoints: the first that answers is used until it fails.

An endpoint is used only after it has named the expected chain id. A request that no endpoint answers is tried again,
with growing pauses, for `patience_s`; then it is RpcUnavailable. Errors that the node itself returns are the caller's
business (`RpcReplyError`), except "too many requests" and the like, which count as no answer. URLs may hold secrets,
so that messages show only scheme and host.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any, cast
from urllib.parse import urlsplit

import requests
from web3 import HTTPProvider
from web3.types import RPCEndpoint

from commonweight.chain.urls import mask_url
from commonweight.errors import RpcUnavailable, UsageError, WrongChain

_BUSY_CODES = {-32005, -32016, -32097, 429}  # limit exceeded, rate limits of common hosts
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0


class RpcReplyError(Exception):
    """The node answered with an error object; `data` may hold revert data."""

    def __init__(self, code: int, message: str, data: object) -> None:
        super().__init__(code, message, data)
        self.code = code
        self.message = message
        self.data = data

    def __str__(self) -> str:
        return f"{self.message} (code {self.code})"


class Endpoints:
    """The RPC endpoints of one chain, safe for use from several threads."""

    def __init__(self, urls: Sequence[str], *, chain_id: int | None, timeout_s: float, patience_s: float) -> None:
        if not urls or not all(urlsplit(u).scheme in ("http", "https") and urlsplit(u).hostname for u in urls):
            raise UsageError(
                "There is no usable RPC address.",
                "An RPC address is an http or https URL.",
                "Give it by --rpc or COMMONWEIGHT_RPC.",
            )
        self._providers = [
            HTTPProvider(url, request_kwargs={"timeout": timeout_s}, exception_retry_configuration=None) for url in urls
        ]
        self._names = [mask_url(url) for url in urls]
        self._checked = [False] * len(urls)
        self._current = 0
        self._lock = threading.Lock()
        self._patience_s = patience_s
        self._chain_id = chain_id

    @property
    def name(self) -> str:
        """The endpoint in use, masked."""
        return self._names[self._current]

    def chain_id(self) -> int:
        """The chain id: the expected one, or the one that the first answering endpoint names."""
        if self._chain_id is None:
            self.request("eth_chainId", [])
        assert self._chain_id is not None
        return self._chain_id

    @cached_property
    def genesis(self) -> bytes:
        """The hash of the chain's first block: development chains of one id differ in it."""
        block = cast("dict[str, Any]", self.request("eth_getBlockByNumber", ["0x0", False]))
        return bytes.fromhex(str(block["hash"]).removeprefix("0x"))

    @cached_property
    def replaces(self) -> bool:
        """Whether the node drops a transaction when another with its nonce pays more.

        Ganache 7.9 does not: it mines both, and one that it is given twice it mines twice.
        """
        return "ganache" not in str(self.request("web3_clientVersion", [])).lower()

    def request(self, method: str, params: Sequence[object], *, once: bool = False) -> object:
        """One call; returns `result`. Raises RpcReplyError, WrongChain, or RpcUnavailable when patience is out.

        `once` asks each endpoint at most once: for what must not be repeated without looking.
        """
        deadline = time.monotonic() + (0 if once else self._patience_s)
        pause = _FIRST_PAUSE_S
        while True:
            failures: list[str] = []
            first = self._current
            for offset in range(len(self._providers)):
                index = (first + offset) % len(self._providers)
                try:
                    self._check(index)
                    result = self._ask(index, method, params)
                except (_NoAnswerError, WrongChain) as failure:
                    if isinstance(failure, WrongChain) and len(self._providers) == 1:
                        raise
                    failures.append(f"{self._names[index]}: {failure}")
                    continue
                self._current = index
                return result
            if time.monotonic() + pause > deadline:
                raise RpcUnavailable(
                    "The chain cannot be reached.",
                    "; ".join(failures) + ".",
                    "Check the RPC address and that its node runs, or name several by --rpc, separated by commas.",
                )
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _check(self, index: int) -> None:
        if self._checked[index]:
            return
        answer = self._ask(index, "eth_chainId", [])
        found = int(answer, 16) if isinstance(answer, str) else -1
        with self._lock:
            if self._chain_id is None:
                self._chain_id = found
            if found != self._chain_id:
                raise WrongChain(
                    f"{self._names[index]} serves chain {found}, not chain {self._chain_id}.",
                    "The endpoint and the expected chain do not belong together.",
                    "Give the RPC address of the right chain, or another chain id.",
                )
            self._checked[index] = True

    def _ask(self, index: int, method: str, params: Sequence[object]) -> object:
        try:
            answer = cast("dict[str, Any]", self._providers[index].make_request(RPCEndpoint(method), list(params)))
        except requests.HTTPError as error:
            raise _NoAnswerError(f"HTTP status {error.response.status_code}") from None
        except requests.Timeout:
            raise _NoAnswerError("no answer in time") from None
        except requests.RequestException:
            self._checked[index] = False  # what comes back at this address may be another chain
            raise _NoAnswerError("no connection") from None
        except ValueError:
            raise _NoAnswerError("the answer is not JSON") from None
        if not isinstance(cast(object, answer), dict) or ("result" not in answer and "error" not in answer):
            raise _NoAnswerError("the answer is not JSON-RPC")
        error_object = answer.get("error")
        if error_object is None:
            return answer.get("result")
        if not isinstance(error_object, dict):
            raise RpcReplyError(0, str(error_object), None)
        code = error_object.get("code")
        reply = RpcReplyError(
            code if isinstance(code, int) else 0, str(error_object.get("message", "")), error_object.get("data")
        )
        if reply.code in _BUSY_CODES:
            raise _NoAnswerError(reply.message)
        raise reply


class _NoAnswerError(Exception):
    pass
