"""Nodes that answer what no node should: late, without end, or of another shape. The next endpoint takes over."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from commonweight.chain.abi import build, interface
from commonweight.chain.client import Call, Chain
from commonweight.chain.reverts import revert_data
from commonweight.chain.rpc import RpcReplyError
from commonweight.chain.structs import EpochState
from commonweight.errors import ChainError, RpcUnavailable
from tests.chain.scenario import KEYS

pytestmark = pytest.mark.unit
MIB = 1 << 20
SOMEBODY = "0x00000000000000000000000000000000000A11CE"
HASH = "0x" + "ab" * 32
BLOCK = {
    "number": "0x10", "hash": HASH, "parentHash": HASH, "timestamp": "0x65", "gasLimit": "0xffffffffffffffff",
    "transactions": [HASH],
}  # fmt: skip
LOG = {
    "address": SOMEBODY, "topics": [HASH], "data": "0x", "blockNumber": "0x1", "blockHash": HASH,
    "transactionHash": HASH, "logIndex": "0x0",
}  # fmt: skip


class Node(BaseHTTPRequestHandler):
    """Answers `eth_chainId`, and all else by `reply`."""

    protocol_version = "HTTP/1.1"
    reply: Callable[[Node, dict[str, Any]], None]

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if request["method"] == "eth_chainId":
            self.result("0x1")
            return
        try:
            type(self).reply(self, request)
        except OSError:  # whoever asked does not wait for all of it
            self.close_connection = True

    def result(self, result: object) -> None:
        self.raw(json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}).encode())

    def raw(self, body: bytes, **headers: str) -> None:
        self.send_response(200)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Quiet."""


@contextmanager
def node(reply: Callable[[Node, dict[str, Any]], None]) -> Iterator[str]:
    """The address of a node that replies so."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Node,), {"reply": staticmethod(reply)}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def answering(result: object) -> Iterator[Chain]:
    """A chain of one node that answers everything so."""
    with node(lambda n, _: n.result(result)) as url:
        yield Chain([url], patience_s=0, timeout_s=2)


CALL = Call(SOMEBODY, interface("CreditOracle").function("quorum", 0), ())
ASKED: dict[str, Callable[[Chain], object]] = {
    "block": lambda chain: chain.block(),
    "block by hash": lambda chain: chain.block(bytes(32)),
    "block number": lambda chain: chain.block_number(),
    "genesis": lambda chain: chain._endpoints.genesis,
    "client": lambda chain: chain._endpoints.replaces,
    "balance": lambda chain: chain.balance(SOMEBODY),
    "code": lambda chain: chain.code(SOMEBODY),
    "call": lambda chain: chain.call(CALL),
    "logs": lambda chain: list(chain.logs([SOMEBODY], to_block=1)),
    "count": lambda chain: chain.transaction_count(SOMEBODY),
    "receipt": lambda chain: chain.receipt(bytes(32)),
    "input": lambda chain: chain.transaction_input(bytes(32)),
    "drafts": lambda chain: chain.begin_drafts(SOMEBODY),
    "send": lambda chain: chain.with_key(KEYS[0]).transfer(SOMEBODY, 1),
}
SHAPES = [
    7, True, [], [None], [[]], {}, {"number": None}, {**BLOCK, "number": "0x" + "f" * 16}, {**BLOCK, "hash": "0x12"},
    {**BLOCK, "number": 16}, [{**LOG, "topics": None}], [{**LOG, "topics": [HASH] * 5}], [{**LOG, "address": "0x12"}],
    "", "0x", "10", "0xzz", "0x-1", "0x1\n",
]  # fmt: skip


@pytest.mark.parametrize("asked", ASKED)
def test_an_answer_of_another_shape_is_no_answer(asked: str) -> None:
    now: list[object] = [None]
    with node(lambda n, _: n.result(now[0])) as url:
        for now[0] in SHAPES:
            chain = Chain([url], patience_s=0, timeout_s=2)
            possible = asked in ("client", "code", "call", "logs") and isinstance(now[0], str | list)
            outcome = "taken"
            try:
                ASKED[asked](chain)
            except ChainError as refused:
                outcome = type(refused).__name__
            assert outcome == "RpcUnavailable" or possible, now[0]


@pytest.mark.parametrize("body", [b"[" * 300_000, b'{"result":' * 900, b"[]", b"null", b"\xff\xfe", b'{"id":1}', b""])
def test_when_one_node_talks_nonsense_the_next_is_asked(body: bytes) -> None:
    with node(lambda n, _: n.raw(body)) as mad, node(lambda n, _: n.result(BLOCK)) as sane:
        chain = Chain([mad, sane], patience_s=0, timeout_s=2)
        assert chain.block().number == 16
        assert chain._endpoints.name == sane


def test_a_null_for_the_newest_block_is_no_answer_and_for_another_means_that_it_is_not_there() -> None:
    with answering(None) as chain:
        with pytest.raises(RpcUnavailable):
            chain.block()
        with pytest.raises(ChainError, match="no block 7"):
            chain.block(7)
        assert chain.receipt(bytes(32)) is None


@pytest.mark.parametrize(
    "error", [5, [[]], {"code": [], "message": {}}, {"code": 3, "data": {"data": {"data": {}}}}, "words"]
)
def test_an_error_of_another_shape_is_an_error_all_the_same(error: object) -> None:
    with node(lambda n, _: n.raw(json.dumps({"error": error}).encode())) as url:
        with pytest.raises(ChainError):
            Chain([url], patience_s=0).block()


def test_the_data_of_an_error_is_searched_in_its_upper_levels_only() -> None:
    deep: object = "0x12345678"
    for _ in range(8):
        deep = {"data": deep}
    assert revert_data(RpcReplyError(0, "", deep)) is None
    assert revert_data(RpcReplyError(0, "", {"data": {"data": "0x12345678"}})) == bytes.fromhex("12345678")


@pytest.mark.parametrize("words", [[], [2**256 - 1], [32, 2**256 - 1]])
def test_results_that_decode_to_nothing_are_named(words: list[int]) -> None:
    function = interface("ERC20").function("name", 0)
    with answering("0x" + "".join(f"{word:064x}" for word in words)) as chain:
        with pytest.raises(ChainError, match="cannot be read"):
            chain.call(Call(SOMEBODY, function, ()))


def drip(node: Node, _: object) -> None:
    node.send_response(200)
    node.send_header("Content-Length", "1000000")
    node.end_headers()
    while True:
        node.wfile.write(b" ")
        time.sleep(0.05)


def drip_headers(node: Node, _: object) -> None:
    node.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while True:
        node.wfile.write(b"x")
        time.sleep(0.05)


@pytest.mark.parametrize("slow", [drip, drip_headers])
def test_a_node_that_sends_a_byte_now_and_then_is_not_waited_for(slow: Callable[[Node, object], None]) -> None:
    with node(slow) as url, node(lambda n, _: n.result(BLOCK)) as sane:
        with pytest.raises(RpcUnavailable, match="no answer in time"):
            Chain([url], timeout_s=0.4, patience_s=0).block()
        assert Chain([url, sane], timeout_s=2, patience_s=0).block().number == 16


def endless(node: Node, _: object) -> None:
    node.send_response(200)
    node.end_headers()
    while True:
        node.wfile.write(bytes(MIB))


def bomb(node: Node, _: object) -> None:
    node.raw(gzip.compress(bytes(200 * MIB), 1), Content_Encoding="gzip")


@pytest.mark.parametrize("long", [endless, bomb])
def test_an_answer_without_end_is_not_read_to_it(long: Callable[[Node, object], None]) -> None:
    with node(long) as url, node(lambda n, _: n.result("0x5")) as sane:
        chain = Chain([url, sane], timeout_s=30, patience_s=0)
        assert chain.balance(SOMEBODY) == 5
        with pytest.raises(RpcReplyError, match="longer than 33554432"):
            Chain([url], timeout_s=30, patience_s=9)._endpoints.request("eth_getBalance", [SOMEBODY, "latest"])


def test_logs_too_many_for_one_answer_are_read_in_smaller_pages() -> None:
    asked: list[int] = []

    def reply(node: Node, request: dict[str, Any]) -> None:
        if request["method"] == "eth_blockNumber":
            node.result("0x7")
            return
        first, last = (int(request["params"][0][name], 16) for name in ("fromBlock", "toBlock"))
        asked.append(last - first + 1)
        if last - first > 1:
            endless(node, None)
        node.result([{**LOG, "blockNumber": hex(number)} for number in range(first, last + 1)])

    with node(reply) as url:
        logs = list(Chain([url], timeout_s=30, patience_s=0).logs([SOMEBODY], to_block=7))
    assert [log.block for log in logs] == list(range(8))
    assert asked == [8, 4, 2, 2, 2, 2]


def test_whether_a_node_has_a_page_of_logs_is_asked_at_first_and_near_the_newest_blocks() -> None:
    asked: list[str] = []

    def reply(node: Node, request: dict[str, Any]) -> None:
        asked.append(request["method"])
        node.result(hex(9999) if request["method"] == "eth_blockNumber" else [])

    with node(reply) as url:
        assert list(Chain([url], patience_s=0).logs([SOMEBODY], to_block=9999)) == []
    assert asked == ["eth_blockNumber", *["eth_getLogs"] * 4, "eth_blockNumber", "eth_getLogs"]


def test_a_packed_answer_is_read() -> None:
    body = gzip.compress(json.dumps({"result": BLOCK}).encode())
    with node(lambda n, _: n.raw(body, Content_Encoding="gzip")) as url:
        assert Chain([url], patience_s=0).block().timestamp == 0x65
    with node(lambda n, _: n.raw(b"not gzip", Content_Encoding="gzip")) as url:
        with pytest.raises(RpcUnavailable):
            Chain([url], patience_s=0).block()


def test_a_state_that_is_none_is_named() -> None:
    assert build(EpochState, 1) is EpochState(1)
    with pytest.raises(ChainError, match="99 is no EpochState"):
        build(EpochState, 99)
