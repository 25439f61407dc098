"""The run on a node: raw JSON-RPC over one connection, time set for each block, all views in one eth_call.

A call that the model refuses is only tried, in a block of its time, and must give one of the refused names; one that
the model allows is sent and must succeed. Gas is paid for real and booked in the model from the receipt, so that
balances agree to the wei.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from eth_abi.exceptions import DecodingError

from commonweight.chain.abi import Function, all_errors, creation_code, decode_values, interface, parse_interface
from commonweight.chain.deploy import IMPLEMENTATIONS
from commonweight.chain.reverts import revert_data
from commonweight.chain.rpc import RpcReplyError
from tests import solidity
from tests.ledger_model.calls import Call
from tests.ledger_model.parameters import T0

ROOT = Path(__file__).resolve().parents[2]
GAS = 8_000_000
DEPLOY_GAS = 25_000_000
GAS_PRICE = 10**10
BALANCE = 0xFFFF
Revert = tuple[str, tuple[object, ...]]


class Node:
    """An Anvil or a Ganache that mines on demand, whose accounts are unlocked."""

    def __init__(self, url: str, kind: str) -> None:
        place = urlsplit(url)
        self._socket = socket.create_connection((str(place.hostname), place.port), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = self._socket.makefile("rb")
        self.kind = kind
        self.accounts = [str(a) for a in self.rpc("eth_accounts")]
        self.chain_id = int(self.rpc("eth_chainId"), 16)
        self.time = 0

    def rpc(self, method: str, *params: object) -> Any:
        """One call. Raises RpcReplyError. Plain HTTP over one socket: an HTTP library takes longer than the node."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        head = f"POST / HTTP/1.1\r\nHost: node\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._socket.sendall(head.encode() + body)
        answer = json.loads(self._body())
        if "error" in answer:
            error = answer["error"]
            raise RpcReplyError(int(error.get("code", 0)), str(error.get("message", "")), error.get("data"))
        return answer["result"]

    def _body(self) -> bytes:
        size, chunked = 0, False
        assert b"200" in self._answers.readline()
        while (line := self._answers.readline().strip().lower()) != b"":
            name, _, value = line.partition(b":")
            size = int(value) if name == b"content-length" else size
            chunked = chunked or (name == b"transfer-encoding" and b"chunked" in value)
        if not chunked:
            return self._answers.read(size)
        parts = []
        while size := int(self._answers.readline(), 16):
            parts.append(self._answers.read(size))
            self._answers.readline()
        self._answers.readline()
        return b"".join(parts)

    def close(self) -> None:
        """Close the connection."""
        self._answers.close()
        self._socket.close()

    def latest(self) -> Mapping[str, Any]:
        """The head block."""
        return cast(Mapping[str, Any], self.rpc("eth_getBlockByNumber", "latest", False))

    def mine(self, time: int) -> None:
        """An empty block at a time."""
        self.rpc("evm_mine", time if self.kind == "ganache" else hex(time))
        self.time = time

    def send(
        self, sender: str, to: str | None, data: bytes, time: int, value: int = 0, gas: int = GAS
    ) -> Mapping[str, Any]:
        """Mine one transaction in a block of this time and return its receipt, whatever its status."""
        body = {
            "from": sender,
            "data": "0x" + data.hex(),
            "gas": hex(gas),
            "gasPrice": hex(GAS_PRICE),
            "value": hex(value),
        }
        if to is not None:
            body["to"] = to
        while True:
            if self.kind == "anvil":
                self.rpc("evm_setNextBlockTimestamp", time)
                receipt = self._receipt(self.rpc("eth_sendTransaction", body))
                break
            # Ganache's clock runs on: should a second pass between setting and mining, it is done again.
            snapshot = self.rpc("evm_snapshot")
            self.rpc("evm_setTime", time * 1000)
            receipt = self._receipt(self.rpc("eth_sendTransaction", body))
            if int(self.latest()["timestamp"], 16) == time:
                break
            self.rpc("evm_revert", snapshot)
        self.time = time
        return receipt

    def _receipt(self, tx: str) -> Mapping[str, Any]:
        while (receipt := self.rpc("eth_getTransactionReceipt", tx)) is None:
            pass
        return cast(Mapping[str, Any], receipt)

    def call(self, sender: str, to: str, data: bytes, value: int = 0) -> bytes:
        """eth_call on the head block. Raises RpcReplyError."""
        body = {"from": sender, "to": to, "data": "0x" + data.hex(), "gas": hex(GAS * 3), "value": hex(value)}
        return bytes.fromhex(self.rpc("eth_call", body, "latest")[2:])

    def deploy(self, sender: str, code: bytes, time: int) -> str:
        """A contract's address."""
        receipt = self.send(sender, None, code, time, gas=DEPLOY_GAS)
        assert int(receipt["status"], 16) == 1, "a deployment failed"
        return str(receipt["contractAddress"]).lower()


def compiled() -> dict[str, tuple[list[dict[str, Any]], bytes]]:
    """ABI and creation code of the batch reader and of the plain test token."""
    made = solidity.compiled(
        Path(__file__).with_name("Batch.sol"), ROOT / "contracts" / "mocks" / "Tokens.sol", optimized=True
    )
    names = ("Batch", "PlainToken")
    return {name: (made[name]["abi"], bytes.fromhex(made[name]["evm"]["bytecode"]["object"])) for name in names}


def decode_revert(data: bytes) -> Revert:
    """Name and arguments of what a call reverted with."""
    known = all_errors().get(data[:4])
    if known is None:
        return (f"unknown error 0x{data.hex()[:80]}", ())
    try:
        return (known.name, tuple(_plain(v) for v in decode_values(known.inputs, data[4:])))
    except DecodingError:
        return (known.name, ())


def _plain(value: object) -> object:
    return value.lower() if isinstance(value, str) and value.startswith("0x") else value


class Contracts:
    """A deployed run, its batch reader, and its token if it has one."""

    def __init__(self, node: Node) -> None:
        self.node = node
        made = compiled()
        self._token_code = made["PlainToken"][1]
        self._token_abi = parse_interface("PlainToken", made["PlainToken"][0])
        self.time = T0 - 1_000
        node.mine(self.time)
        self.crank = node.accounts[0]
        self.reader = self._deploy(made["Batch"][1])
        implementations = {part: self._deploy(interface(name).bytecode) for part, name in IMPLEMENTATIONS.items()}
        factory = interface("RunFactory")
        self.factory = self._deploy(creation_code(factory, (_Struct(implementations),)))
        self.addresses: dict[str, str] = {}
        self.token = ""
        self._encoded: dict[tuple[str, str, tuple[object, ...]], tuple[Function, bytes]] = {}

    def _deploy(self, code: bytes) -> str:
        self.time += 1
        return self.node.deploy(self.crank, code, self.time)

    def make_token(self, holders: Iterable[str], amount: int) -> str:
        """A plain token that each holder has the same of."""
        self.token = self._deploy(self._token_code)
        for holder in holders:
            self._token(self.crank, "mint", holder, amount)
        return self.token

    def _token(self, sender: str, name: str, *args: object) -> None:
        self.time += 1
        data = self._token_abi.function(name, len(args)).encode(args)
        receipt = self.node.send(sender, self.token, data, self.time)
        assert int(receipt["status"], 16) == 1

    def create(self, parameters: object) -> None:
        """Create the run, and let every contract of it take any actor's tokens."""
        self.time += 1
        function = interface("RunFactory").function("createRun", 1)
        receipt = self.node.send(self.crank, self.factory, function.encode((parameters,)), self.time, gas=DEPLOY_GAS)
        if int(receipt["status"], 16) != 1:
            raise AssertionError(self.why(self.crank, self.factory, function.encode((parameters,)), 0))
        event = interface("RunFactory").events["RunCreated"]
        log = next(e for e in receipt["logs"] if bytes.fromhex(e["topics"][0][2:]) == event.topic)
        topics = [bytes.fromhex(t[2:]) for t in log["topics"]]
        fields = event.decode(topics, bytes.fromhex(log["data"][2:]))
        self.addresses = {part: str(fields["addresses"][part]).lower() for part in IMPLEMENTATIONS}

    def approve(self, holders: Iterable[str], parts: Iterable[str]) -> None:
        """Let these contracts take tokens of these holders."""
        for holder in holders:
            for part in parts:
                self._token(holder, "approve", self.addresses[part], 2**256 - 1)

    # ------------------------------------------------------------------------------------------- calls

    def encode(self, contract: str, function: str, args: Sequence[object]) -> bytes:
        """Calldata."""
        return interface(IMPLEMENTATIONS[contract]).function(function, len(args)).encode(args)

    def send(self, call: Call, time: int) -> Mapping[str, Any]:
        """Do what the model allows. Raises AssertionError with the contract's reason if it refuses."""
        to, data = self.addresses[call.contract], self.encode(call.contract, call.function, call.args)
        receipt = self.node.send(call.sender, to, data, time, call.value)
        if int(receipt["status"], 16) != 1:
            raise AssertionError(
                f"the contract refuses what the model allows: {self.why(call.sender, to, data, call.value)}"
            )
        return receipt

    def attempt(self, call: Call, time: int) -> Revert | None:
        """Try what the model refuses, in a block of this time. Returns the contract's reason, None if it allows it."""
        self.node.mine(time)
        to, data = self.addresses[call.contract], self.encode(call.contract, call.function, call.args)
        return self.why(call.sender, to, data, call.value)

    def why(self, sender: str, to: str, data: bytes, value: int) -> Revert | None:
        """What a call on the head block reverts with, None if it does not."""
        try:
            self.node.call(sender, to, data, value)
        except RpcReplyError as reply:
            found = revert_data(reply)
            if found is None:
                raise
            return decode_revert(found)
        return None

    # ------------------------------------------------------------------------------------------- views

    def read(self, reads: Sequence[tuple[str, str, tuple[object, ...]]]) -> list[tuple[bool, bytes]]:
        """All reads at the head block, in one eth_call. ("", "balance", (address,)) is a balance of the asset."""
        body = b"".join(self._read(read) for read in reads)
        answer = self.node.call(self.crank, self.reader, body)
        out, at = [], 0
        for _ in reads:
            size = int.from_bytes(answer[at + 1 : at + 4], "big")
            out.append((answer[at] == 1, answer[at + 4 : at + 4 + size]))
            at += 4 + size
        return out

    def _read(self, read: tuple[str, str, tuple[object, ...]]) -> bytes:
        contract, _, args = read
        if not contract:
            address = bytes.fromhex(str(args[0])[2:])
            if not self.token:
                return address + BALANCE.to_bytes(2, "big")
            data = bytes.fromhex("70a08231") + address.rjust(32, b"\0")
            return bytes.fromhex(self.token[2:]) + len(data).to_bytes(2, "big") + data
        data = self._cached(read)[1]
        return bytes.fromhex(self.addresses[contract][2:]) + len(data).to_bytes(2, "big") + data

    def _cached(self, read: tuple[str, str, tuple[object, ...]]) -> tuple[Function, bytes]:
        if read not in self._encoded:
            contract, name, args = read
            function = interface(IMPLEMENTATIONS[contract]).function(name, len(args))
            self._encoded[read] = (function, function.encode(args))
        return self._encoded[read]

    def output_of(self, read: tuple[str, str, tuple[object, ...]]) -> Function:
        """The ABI of a read."""
        return self._cached(read)[0]


class _Struct:
    """A struct by its names."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self.__dict__.update(values)
