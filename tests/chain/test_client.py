"""The client against real chains: nonces under concurrency, stuck transactions, failover, reverts by name."""

from __future__ import annotations

import http.server
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
import requests

from commonweight.chain import sending
from commonweight.chain.client import Chain
from commonweight.chain.local import LocalChain, start_local
from commonweight.chain.nonces import InFlight
from commonweight.chain.rpc import RpcReplyError
from commonweight.chain.run import Run
from commonweight.chain.sending import Fees, Sender
from commonweight.errors import (
    ChainError,
    ContractError,
    InsufficientFunds,
    RpcUnavailable,
    TransactionStuck,
    UsageError,
    WrongChain,
)
from tests.chain.scenario import ETHER, KEYS, World, make_world
from tests.conftest import put_back
from tests.waiting import wait_for
from tests.web.tokens import deploy_token

pytestmark = pytest.mark.chain
GWEI = 10**9
RECEIVER = "0x00000000000000000000000000000000000A11CE"


@pytest.fixture(scope="module", params=["anvil", "ganache"])
def module_timed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalChain]:
    """A chain that mines by a timer."""
    with start_local(request.param, directory=tmp_path_factory.mktemp("timed")) as chain:
        yield chain


@pytest.fixture
def timed(module_timed: LocalChain) -> Iterator[LocalChain]:
    """A chain that mines by a timer; it is put back afterwards, so a test leaves nothing waiting."""
    call = Chain([module_timed.url]).rpc
    snapshot = call("evm_snapshot")
    yield module_timed
    put_back(call, snapshot)


@contextmanager
def stopped_mining(chain: Chain, kind: str) -> Iterator[None]:
    """No block is mined inside."""
    if kind == "anvil":
        chain.rpc("evm_setIntervalMining", 0)
        chain.rpc("evm_setAutomine", False)
    else:
        chain.rpc("miner_stop")
    try:
        yield
    finally:
        if kind == "anvil":
            chain.rpc("evm_setIntervalMining", 1)
        else:
            chain.rpc("miner_start")


def test_threads_that_share_a_key_never_share_a_nonce(timed: LocalChain, tmp_path: Path) -> None:
    chains = [Chain([timed.url], KEYS[0], state_dir=tmp_path / "nonces") for _ in range(4)]
    count = 24 if timed.kind == "anvil" else 8  # on Ganache a key's transactions take a block each
    with ThreadPoolExecutor(8) as pool:
        receipts = list(pool.map(lambda i: chains[i % 4].transfer(RECEIVER, i + 1), range(count)))
    assert chains[0].balance(RECEIVER) == sum(range(1, count + 1))
    assert len({r.tx_hash for r in receipts}) == count
    assert int(chains[0].rpc("eth_getTransactionCount", KEYS[0].address, "latest"), 16) == count


_SENDER = """
import sys
from pathlib import Path
from commonweight.chain.client import Chain
from commonweight.chain.keys import Key
chain = Chain([sys.argv[1]], Key.from_hex(sys.argv[2]), state_dir=Path(sys.argv[3]))
for _ in range(3):
    chain.transfer(sys.argv[4], 1)
"""


def test_processes_that_share_a_key_never_share_a_nonce(timed: LocalChain, tmp_path: Path) -> None:
    secret = KEYS[1].private_key.hex()
    command = [sys.executable, "-c", _SENDER, timed.url, secret, str(tmp_path / "nonces"), RECEIVER]
    senders = [subprocess.Popen(command) for _ in range(3)]
    assert [s.wait(timeout=60) for s in senders] == [0, 0, 0]
    assert Chain([timed.url]).balance(RECEIVER) == 9


def test_a_stuck_transaction_is_sent_again_for_more(tmp_path: Path) -> None:
    with start_local("anvil", directory=tmp_path / "chain") as timed:
        _check_stuck(timed, tmp_path)


def test_on_ganache_which_mines_replaced_ones_too_nothing_is_sent_twice(tmp_path: Path) -> None:
    with start_local("ganache", directory=tmp_path / "chain", block_time_s=2) as local:
        chain = Chain([local.url], KEYS[0], fees=Fees(bump_after_s=0.1), state_dir=tmp_path / "nonces")
        chain.transfer(RECEIVER, 7)
        chain.transfer(RECEIVER, 1)
        assert chain.balance(RECEIVER) == 8


def test_on_ganache_which_forgets_what_comes_while_it_mines_a_keys_transactions_go_one_by_one(tmp_path: Path) -> None:
    with start_local("ganache", directory=tmp_path / "chain", block_time_s=1) as local:
        chain = Chain([local.url], KEYS[0], state_dir=tmp_path / "nonces")
        before: list[int] = []

        def sent(tx_hash: bytes) -> None:
            nonce = int(chain.rpc("eth_getTransactionByHash", "0x" + tx_hash.hex())["nonce"], 16)
            before.append(nonce - chain._sender()._count("latest"))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: chain._sender().send(RECEIVER, b"", 1, 21000, "A transfer", sent), range(4)))
    assert len(before) == 4
    assert max(before) <= 0, "how many of the key's transactions before it were not mined when it was sent"


def _check_stuck(timed: LocalChain, tmp_path: Path) -> None:
    fees = Fees(bump_after_s=0.2, tip_wei=GWEI)
    chain = Chain([timed.url], KEYS[0], fees=fees, state_dir=tmp_path / "nonces")
    hashes: list[bytes] = []
    enough = threading.Event()

    def seen(tx_hash: bytes) -> None:
        hashes.append(tx_hash)
        if len(hashes) >= 3:
            enough.set()

    with ThreadPoolExecutor(1) as pool:
        with stopped_mining(chain, timed.kind):
            sender = chain._sender()
            sent = pool.submit(sender.send, RECEIVER, b"", 7, None, "The transfer", seen)
            assert enough.wait(30)
        receipt = sent.result(timeout=30)
    assert receipt.tx_hash in hashes[1:]
    assert chain.balance(RECEIVER) == 7
    assert receipt.gas_price_wei <= fees.cap_wei


def test_a_successor_re_prices_what_its_crashed_predecessor_left_behind(tmp_path: Path) -> None:
    """A process dies with a transaction in flight that is priced below the base fee; the next one gets both mined."""
    with start_local("anvil", directory=tmp_path / "chain") as local:
        plain = Chain([local.url])
        fees = Fees(bump_after_s=0.3, bump_percent=100)
        with stopped_mining(plain, "anvil"):
            first = Chain([local.url], KEYS[0], state_dir=tmp_path / "nonces")._sender()
            first._broadcast_new(RECEIVER, b"", 1, 21000, "The transfer")  # and then it dies
            plain.rpc("anvil_setNextBlockBaseFeePerGas", hex(40 * GWEI))
        before = plain.block_number()
        receipt = Chain([local.url], KEYS[0], fees=fees, state_dir=tmp_path / "nonces").transfer(RECEIVER, 10)
        assert receipt.block_number > before
        assert plain.balance(RECEIVER) == 11


def test_what_is_abandoned_at_the_end_is_seen_through_by_the_next_start(tmp_path: Path) -> None:
    with start_local("anvil", directory=tmp_path / "chain") as local, ThreadPoolExecutor(1) as pool:
        ending, seen = Chain([local.url], KEYS[0], state_dir=tmp_path / "nonces"), threading.Event()
        with stopped_mining(ending, "anvil"):
            sent = pool.submit(ending._sender().send, RECEIVER, b"", 7, None, "The transfer", lambda _: seen.set())
            assert seen.wait(30)
            ending.abandon()
            with pytest.raises(TransactionStuck, match="nonce 0 waits"):
                sent.result(timeout=30)
        started = Chain([local.url], KEYS[0], state_dir=tmp_path / "nonces")
        started.settle()
        assert started.balance(RECEIVER) == 7
        assert started.transaction_count(KEYS[0].address) == 1


def submit_once(monkeypatch: pytest.MonkeyPatch, then: Callable[[], None]) -> None:
    """Send the first transaction as ever; of the second, `then` says what becomes of it once the node has it."""
    submit, count = Sender._submit, iter((lambda: None, then))

    def sent(sender: Sender, raw: str, tx_hash: str) -> None:
        submit(sender, raw, tx_hash)
        next(count, lambda: None)()

    monkeypatch.setattr(Sender, "_submit", sent)


def test_what_was_refused_leaves_its_nonce_to_the_next(timed: LocalChain, tmp_path: Path) -> None:
    chain = Chain([timed.url], KEYS[0], fees=Fees(give_up_s=9), state_dir=tmp_path / "nonces")
    with pytest.raises(InsufficientFunds):
        chain._sender()._broadcast_new(RECEIVER, b"", 10**30, 21000, "The transfer")
    assert chain.transfer(RECEIVER, 7).block_number > 0
    assert chain.balance(RECEIVER) == 7


def test_what_was_re_priced_just_before_a_kill_is_seen_through_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        pass

    def kill() -> None:
        shutil.copytree(tmp_path / "nonces", tmp_path / "killed")  # nothing is written any more
        raise Killed

    with start_local("anvil", directory=tmp_path / "chain") as local:
        ending = Chain([local.url], KEYS[0], fees=Fees(bump_after_s=0.2), state_dir=tmp_path / "nonces")
        submit_once(monkeypatch, kill)
        with stopped_mining(ending, "anvil"):
            with pytest.raises(Killed):
                ending.transfer(RECEIVER, 7)
            monkeypatch.setattr(sending, "_SPREADING_S", 0.0)
            leaving = Chain([local.url], KEYS[0], state_dir=tmp_path / "killed")
            leaving.abandon()
            with pytest.raises(TransactionStuck, match="nonce 0 waits"):
                leaving.settle()
        started = Chain([local.url], KEYS[0], state_dir=tmp_path / "killed")
        started.settle()
        assert started.balance(RECEIVER) == 7
        assert started.transaction_count(KEYS[0].address) == 1


def test_a_higher_price_whose_answer_was_lost_is_found_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start_local("anvil", directory=tmp_path / "chain") as local, ThreadPoolExecutor(1) as pool:
        chain, lost = Chain([local.url], KEYS[0], fees=Fees(bump_after_s=1), state_dir=tmp_path / "nonces"), []

        def lose() -> None:
            lost.append(True)
            raise RpcUnavailable("The chain cannot be reached.", "", "")

        submit_once(monkeypatch, lose)
        with stopped_mining(chain, "anvil"):
            sent = pool.submit(chain.transfer, RECEIVER, 7)
            wait_for(lambda: lost, what="a second price")
            chain.rpc("evm_mine")
            assert sent.result(timeout=30).block_number > 0
        assert chain.balance(RECEIVER) == 7


def test_a_refused_price_is_remembered_and_not_raised_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with start_local("anvil", directory=tmp_path / "chain") as local:
        fees = Fees(bump_after_s=0.1, give_up_s=1)
        chain = Chain([local.url], KEYS[0], fees=fees, state_dir=tmp_path / "nonces")
        sender, tried = chain._sender(), set[str]()
        with stopped_mining(chain, "anvil"):
            first = sender._broadcast_new(RECEIVER, b"", 7, 21000, "The transfer")

            def refuse(_: Sender, raw: str, tx_hash: str) -> None:
                tried.add(tx_hash)
                raise RpcReplyError(-32000, "insufficient funds for gas * price + value", None)

            with monkeypatch.context() as refused:
                refused.setattr(Sender, "_submit", refuse)
                with pytest.raises(TransactionStuck, match=first.hashes[0]):
                    sender._wait(first, "The transfer", None)
            with sender._nonces.locked() as record:
                (entry,) = record.in_flight.values()
            assert len(tried) == 1
            assert entry == replace(first, hashes=(*tried, *first.hashes))
            with sender._nonces.locked() as record:  # there is money for it now
                sender._resend(record, entry, lambda tx_hash: tried.remove("0x" + tx_hash.hex()))
                assert record.in_flight[0].hashes == (*first.hashes, *entry.hashes[:1])
                assert record.in_flight[0].max_fee > first.max_fee
            assert not tried
        chain.settle()
        assert chain.balance(RECEIVER) == 7


def test_what_another_sender_of_the_key_re_priced_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[str] = set()
    find = Sender._find_receipt

    def find_receipt(sender: Sender, sent: InFlight) -> object:
        asked.update(sent.hashes)
        return find(sender, sent)

    with start_local("anvil", directory=tmp_path / "chain") as local, ThreadPoolExecutor(1) as pool:
        chain = Chain([local.url], KEYS[0], fees=Fees(give_up_s=20), state_dir=tmp_path / "nonces")
        seen = threading.Event()
        with stopped_mining(chain, "anvil"):
            sent = pool.submit(chain._sender().send, RECEIVER, b"", 7, None, "The transfer", lambda _: seen.set())
            assert seen.wait(30)
            other = chain._sender()
            last = other._broadcast_new(RECEIVER, b"", 1, 21000, "Another transfer")
            other._bump(last, "Another transfer", None)
            with other._nonces.locked() as record:
                hashes = record.in_flight[0].hashes
            monkeypatch.setattr(Sender, "_find_receipt", find_receipt)
            wait_for(lambda: asked >= set(hashes), what="a question for the higher price")
        other._forget_up_to(last.nonce)
        assert sent.result(timeout=30).tx_hash.hex() == hashes[-1][2:]


def test_fees_stay_below_the_cap(timed: LocalChain, tmp_path: Path) -> None:
    low = Chain([timed.url], KEYS[0], fees=Fees(cap_wei=1), state_dir=tmp_path / "nonces")
    with pytest.raises(ChainError, match="above the cap of 1"):
        low.transfer(RECEIVER, 1)
    capped = Chain([timed.url], KEYS[0], fees=Fees(cap_wei=3 * GWEI // 2), state_dir=tmp_path / "nonces")
    assert capped.transfer(RECEIVER, 1).gas_price_wei <= 3 * GWEI // 2


def test_giving_up_names_the_transaction(timed: LocalChain, tmp_path: Path) -> None:
    chain = Chain([timed.url], KEYS[0], fees=Fees(give_up_s=0.3, bump_after_s=9), state_dir=tmp_path / "nonces")
    with stopped_mining(chain, timed.kind), pytest.raises(TransactionStuck, match=r"0x[0-9a-f]{64} with nonce 0 waits"):
        chain.transfer(RECEIVER, 1)
    wait_for(lambda: chain.transaction_count(KEYS[0].address) == 1, what="the transaction")


def test_a_chain_that_starts_anew_does_not_confuse_the_nonce_record(tmp_path: Path) -> None:
    for _ in range(2):
        with start_local("anvil", directory=tmp_path / "chain", block_time_s=None) as local:
            chain = Chain([local.url], KEYS[0], state_dir=tmp_path / "nonces")
            for _ in range(3):
                chain.transfer(RECEIVER, 1)
            assert chain.balance(RECEIVER) == 3


def test_refusals_come_by_name_before_any_gas_is_spent(world: World) -> None:
    before = world.run.chain.balance(KEYS[0].address)
    with pytest.raises(ContractError) as refused:
        world.run.campaign.deposit(11 * ETHER)
    assert refused.value.name == "CapExceeded"
    assert f"room {10 * ETHER}" in refused.value.why
    assert refused.value.fix
    assert world.run.chain.balance(KEYS[0].address) == before
    with pytest.raises(ContractError) as unknown:
        world.run.registry.index_of(KEYS[0].address)
    assert unknown.value.name == "UnknownProvider"


def test_a_revert_after_sending_comes_by_name(world: World) -> None:
    chain = world.run.chain
    call = world.run.campaign.make_call("refund")
    with pytest.raises(ContractError) as refused:
        chain.send(call, gas=200_000)
    assert refused.value.name == "NotFailed"


def test_too_little_money_is_said_so(world: World) -> None:
    with pytest.raises(InsufficientFunds, match="cannot pay"):
        world.run.chain.transfer(RECEIVER, 10**30)


def test_a_view_at_an_address_without_code_is_an_error(world: World) -> None:
    with pytest.raises(UsageError, match="no run at"):
        Run.at(world.run.chain, RECEIVER)
    with pytest.raises(UsageError, match="not a campaign"):
        Run.at(world.run.chain, world.run.addresses.oracle)


def test_the_next_endpoint_takes_over(timed: LocalChain) -> None:
    chain = Chain(["http://127.0.0.1:1", timed.url], timeout_s=2)
    assert chain.block_number() >= 0
    assert chain._endpoints.name == timed.url


def test_an_endpoint_of_another_chain_is_refused(timed: LocalChain) -> None:
    with pytest.raises(WrongChain, match="not chain 99"):
        Chain([timed.url], chain_id=99).block_number()


def test_no_endpoint_is_an_error_without_secrets() -> None:
    chain = Chain(["http://user:secret@127.0.0.1:1/token"], patience_s=0.2)
    with pytest.raises(RpcUnavailable) as refused:
        chain.block_number()
    assert "secret" not in str(refused.value) + repr(chain)
    assert "token" not in str(refused.value) + repr(chain)
    assert "http://127.0.0.1:1" in str(refused.value)
    assert refused.value.exit_code == 3


@pytest.mark.parametrize("urls", [[], ["ftp://x"], ["localhost:8545"], [""]])
def test_what_is_no_url_is_a_usage_error(urls: list[str]) -> None:
    with pytest.raises(UsageError):
        Chain(urls)


class _Garbage(http.server.BaseHTTPRequestHandler):
    answers: ClassVar[list[tuple[int, bytes]]] = []

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, body = self.answers.pop(0) if self.answers else (200, b"")
        if not body:
            result = "0x7a69" if request["method"] == "eth_chainId" else "0x10"
            body = json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}).encode()
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Quiet."""


def test_garbage_and_busy_answers_are_tried_again() -> None:
    busy = json.dumps({"jsonrpc": "2.0", "id": 1, "error": {"code": -32005, "message": "limit exceeded"}}).encode()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Garbage) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        _Garbage.answers = [(502, b"bad gateway"), (200, b"<html>"), (200, b"[]"), (429, b"slow down"), (200, busy)]
        chain = Chain([f"http://127.0.0.1:{server.server_port}"], patience_s=30)
        assert chain.block_number() == 16
        assert chain.chain_id == 31337
        server.shutdown()


def test_blocks_by_time(world: World) -> None:
    chain = world.run.chain
    start = chain.timestamp()
    for ahead in range(1, 40, 3):
        world.warp(start + 100 * ahead)
    blocks = [chain.block(n) for n in range(chain.block_number() + 1)]
    for wanted in (0, start, start + 700, start + 701, blocks[-2].timestamp, blocks[-1].timestamp - 1):
        expected = next(b for b in blocks if b.timestamp > wanted)
        assert chain.first_block_after(wanted, finalized=False) == expected
    assert chain.first_block_after(blocks[-1].timestamp, finalized=False) is None


def test_finality_follows_the_node_or_a_number_of_confirmations(world: World) -> None:
    chain = world.run.chain
    for _ in range(6):
        chain.rpc("evm_mine")
    latest = chain.block_number()
    assert chain.finalized_block().number in (latest, latest - 2)  # Ganache, Anvil with one slot an epoch
    assert Chain([world.url], confirmations=4).finalized_block().number == latest - 4


def test_logs_are_the_same_whatever_the_page(world: World) -> None:
    world.register(1, 2, 3)
    chain = world.run.chain
    addresses = list(world.run.contract_names)
    whole = list(chain.logs(addresses))
    assert len(whole) > 5
    assert [(log.block, log.log_index) for log in whole] == sorted((log.block, log.log_index) for log in whole)
    for page in (1, 2, 7):
        assert list(chain.logs(addresses, page=page)) == whole


class _Losing(http.server.BaseHTTPRequestHandler):
    """Passes everything on to a chain, and loses the answer to the first transaction."""

    target: ClassVar[str] = ""
    lost: ClassVar[list[bytes]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = requests.post(self.target, data=body, headers={"Content-Type": "application/json"}, timeout=30)
        if b"eth_sendRawTransaction" in body and not self.lost:
            self.lost.append(body)
            self.send_response(504)
            self.end_headers()
            return
        self.send_response(answer.status_code)
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, *args: object) -> None:
        """Quiet."""


class _Behind(http.server.BaseHTTPRequestHandler):
    """Passes all on to a chain, but for logs: those come from a node that has `blocks[0]` as its newest block."""

    target: ClassVar[str] = ""
    blocks: ClassVar[list[int]] = []

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        newest = self.blocks[0]
        if request["method"] == "eth_blockNumber":
            self.blocks[:-1] = self.blocks[1:]
            answer = {"jsonrpc": "2.0", "id": request["id"], "result": hex(newest)}
        else:
            answer = requests.post(self.target, json=request, timeout=30).json()
        if request["method"] == "eth_getLogs":
            answer["result"] = [log for log in answer["result"] if int(log["blockNumber"], 16) <= newest]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *args: object) -> None:
        """Quiet."""


def test_logs_of_blocks_that_a_node_lacks_are_asked_of_another_or_later(world: World) -> None:
    world.register(1, 2, 3)
    head = world.run.chain.block_number()
    whole = list(world.run.chain.logs(list(world.run.contract_names)))
    assert whole[-1].block == head
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Behind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url, _Behind.target = f"http://127.0.0.1:{server.server_port}", world.url
        for urls, patience_s, *blocks in (([url, world.url], 0, head - 1), ([url], 30, head - 1, head - 1, head)):
            _Behind.blocks = blocks
            behind = Chain(urls, patience_s=patience_s)
            assert list(behind.logs(list(world.run.contract_names), to_block=head)) == whole
        _Behind.blocks = [head - 1]
        with pytest.raises(RpcUnavailable, match=f"at block {head - 1} instead of {head}"):
            list(Chain([url], patience_s=0).logs(list(world.run.contract_names), to_block=head))
        server.shutdown()


def test_a_transaction_whose_answer_was_lost_is_not_sent_twice(timed: LocalChain, tmp_path: Path) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Losing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        _Losing.target, _Losing.lost = timed.url, []
        chain = Chain([f"http://127.0.0.1:{server.server_port}"], KEYS[0], state_dir=tmp_path / "nonces")
        chain.transfer(RECEIVER, 5)
        chain.transfer(RECEIVER, 1)
        assert _Losing.lost
        assert chain.balance(RECEIVER) == 6
        server.shutdown()


def test_an_rpc_that_fails_while_a_transaction_waits_is_waited_for(tmp_path: Path) -> None:
    """The chain is stopped and started again with its state while the sender waits for its receipt."""
    state = tmp_path / "state"
    with ThreadPoolExecutor(1) as pool:
        with start_local("anvil", directory=tmp_path / "a", state=state, block_time_s=1) as local:
            port = int(local.url.rpartition(":")[2])
            fees = Fees(bump_after_s=0.2, give_up_s=60)
            chain = Chain([local.url], KEYS[0], fees=fees, patience_s=0.2, state_dir=tmp_path / "nonces")
            chain.rpc("evm_setIntervalMining", 0)
            chain.rpc("evm_setAutomine", False)
            seen = threading.Event()
            sent = pool.submit(chain._sender().send, RECEIVER, b"", 3, None, "The transfer", lambda _: seen.set())
            assert seen.wait(30)
        with start_local("anvil", directory=tmp_path / "b", state=state, port=port):
            assert sent.result(timeout=60).block_number > 0
            assert chain.balance(RECEIVER) == 3


def test_an_allowance_that_falls_short_is_taken_back_first(anvil_url: str, tmp_path: Path) -> None:
    """Where it is not, a token that changes an allowance from nothing only can never be paid again."""
    token = deploy_token(anvil_url, "ZeroFirstToken", KEYS[0].address)
    world = make_world(anvil_url, tmp_path / "nonces", asset=token)
    asset = world.run.asset
    asset.allow(world.run.address, ETHER)
    world.run.campaign.deposit(3 * ETHER)
    assert world.run.campaign.contribution_of(KEYS[0].address) == 3 * ETHER
    assert asset.chain.call(asset.make_call("allowance", KEYS[0].address, world.run.address)) == (0,)
