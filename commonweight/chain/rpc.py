"""JSON-RPC over HTTP with several endpoints: the first that answers is used until it fails.

An endpoint is used only after it has named the expected chain id. A request that no endpoint answers is tried again,
with growing pauses, for `patience_s`; then it is RpcUnavailable. Errors that the node itself returns are the caller's
business (`RpcReplyError`), except "too many requests" and the like, which count as no answer, as does whatever comes
late, is too long, or is not what the method answers. URLs may hold secrets, so that messages show only scheme and host.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any, cast

import httpx

from commonweight.asking import Asker
from commonweight.chain.answers import well_formed
from commonweight.chain.urls import mask_url
from commonweight.errors import RpcUnavailable, UsageError, WrongChain

_BUSY_CODES = {-32005, -32016, -32097, 429}  # limit exceeded, rate limits of common hosts
_NODES_APART = 2000  # blocks that the nodes behind one address may be behind each other
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0
_MAX_ANSWER_BYTES = 32 << 20  # of the logs of one block full of them
_MAX_MESSAGE = 10_000


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
    """The RPC endpoints of one chain, safe for use from several threads. A node has `timeout_s` for a whole answer."""

    def __init__(self, urls: Sequence[str], *, chain_id: int | None, timeout_s: float, patience_s: float) -> None:
        self._urls = [_parse(url) for url in urls]
        if not urls:
            raise _unusable()
        self._askers = [Asker(url, timeout_s) for url in self._urls]
        self._names = [mask_url(url) for url in urls]
        self._checked = [False] * len(urls)
        self._newest = [-1] * len(urls)  # the block number that each has told last
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

    def request(
        self, method: str, params: Sequence[object], *, once: bool = False, up_to: int | None = None
    ) -> object:
        """One call; returns `result`. Raises RpcReplyError, WrongChain, or RpcUnavailable when patience is out.

        `once` asks each endpoint at most once: for what must not be repeated without looking. `up_to` is the block
        that an endpoint must have to answer: of one that it lacks, a node tells nothing instead of an error.
        """
        deadline = time.monotonic() + (0 if once else self._patience_s)
        pause = _FIRST_PAUSE_S
        while True:
            failures: list[str] = []
            too_long = False
            first = self._current
            for offset in range(len(self._urls)):
                index = (first + offset) % len(self._urls)
                try:
                    self._check(index)
                    if up_to is not None:
                        self._check_has(index, up_to)
                    result = self._ask(index, method, params)
                except (_NoAnswerError, WrongChain) as failure:
                    if isinstance(failure, WrongChain) and len(self._urls) == 1:
                        raise
                    failures.append(f"{self._names[index]}: {failure}")
                    too_long |= isinstance(failure, _TooLongError)
                    continue
                self._current = index
                return result
            if too_long:  # as it would be the next time; whoever asked can ask for less
                raise RpcReplyError(0, "; ".join(failures), None)
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

    def _check_has(self, index: int, block: int) -> None:
        """Asked before what depends on it, and anew each time: next time another node may answer at this address."""
        if block > self._newest[index] - _NODES_APART:
            answer = self._ask(index, "eth_blockNumber", [])
            self._newest[index] = newest = int(cast(str, answer), 16)
            if newest < block:
                raise _NoAnswerError(f"it is behind, at block {newest} instead of {block}")

    def _ask(self, index: int, method: str, params: Sequence[object]) -> object:
        answer = self._answer(index, {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)})
        error = answer.get("error")
        if error is None:
            result = answer.get("result")
            if not well_formed(method, params, result):
                raise _NoAnswerError(f"the answer is none to {method}")
            return result
        if not isinstance(error, dict):
            raise RpcReplyError(0, str(error)[:_MAX_MESSAGE] if isinstance(error, str) else "", None)
        code, message = error.get("code"), error.get("message")
        code, message = code if isinstance(code, int) else 0, message[:_MAX_MESSAGE] if isinstance(message, str) else ""
        if code in _BUSY_CODES:
            raise _NoAnswerError(message)
        raise RpcReplyError(code, message, error.get("data"))

    def _answer(self, index: int, request: dict[str, object]) -> dict[str, Any]:
        """The JSON-RPC object that a node answers with."""
        try:
            answer = self._askers[index].ask("POST", self._urls[index], _MAX_ANSWER_BYTES, json=request)
        except httpx.TimeoutException:
            raise _NoAnswerError("no answer in time") from None
        except httpx.HTTPError:
            self._checked[index] = False  # what comes back at this address may be another chain
            self._newest[index] = -1
            raise _NoAnswerError("no connection") from None
        if not 200 <= answer.status < 300:
            raise _NoAnswerError(f"HTTP status {answer.status}")
        if answer.cut:
            raise _TooLongError(f"the answer is longer than {_MAX_ANSWER_BYTES} bytes")
        try:
            found = json.loads(answer.body)
        except (ValueError, RecursionError):
            raise _NoAnswerError("the answer is not JSON") from None
        if not isinstance(found, dict) or ("result" not in found and "error" not in found):
            raise _NoAnswerError("the answer is not JSON-RPC")
        return found


def _parse(url: str) -> httpx.URL:
    try:
        found = httpx.URL(url)
    except httpx.InvalidURL:
        raise _unusable() from None
    if found.scheme not in ("http", "https") or not found.host:
        raise _unusable()
    return found


def _unusable() -> UsageError:
    return UsageError(
        "There is no usable RPC address.",
        "An RPC address is an http or https URL.",
        "Give it by --rpc or COMMONWEIGHT_RPC.",
    )


class _NoAnswerError(Exception):
    pass


class _TooLongError(_NoAnswerError):
    pass
