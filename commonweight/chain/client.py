"""One chain: reads with finality, logs in pages, and transactions that are sent until they are mined.

All methods block and are safe to call from several threads; from asyncio use `asyncio.to_thread`. A transaction is
simulated first, so that most refusals cost no gas and come with the contract's own error name.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from commonweight.chain import reverts
from commonweight.chain.abi import Function
from commonweight.chain.keys import Key
from commonweight.chain.nonces import NonceStore
from commonweight.chain.offline import Drafter
from commonweight.chain.rpc import Endpoints, RpcReplyError
from commonweight.chain.sending import Fees, Sender
from commonweight.chain.types import Block, BlockId, Log, Receipt, block_id, not_mined, parse_log, parse_receipt, unhex
from commonweight.chain.urls import mask_url
from commonweight.errors import NodeFailed, UsageError

LOG_PAGE_BLOCKS = 2000


@dataclass(frozen=True)
class Call:
    """A call of one contract function, not yet made."""

    address: str
    function: Function
    args: tuple[object, ...]

    @property
    def title(self) -> str:
        """How messages name it."""
        return f"{self.function.contract}.{self.function.name}"

    @property
    def data(self) -> bytes:
        """The calldata."""
        return self.function.encode(self.args)


class Chain:
    """A chain behind one or several RPC endpoints, with a key for sending if one is given.

    `chain_id` None takes what the first endpoint says. `confirmations` None trusts the node's `finalized` block; a
    number means that many blocks below the latest. `state_dir` holds nonce records (default: the user's state
    directory). With a `drafter` transactions are not sent but kept by it.
    """

    def __init__(
        self,
        rpc_urls: Sequence[str],
        key: Key | None = None,
        *,
        chain_id: int | None = None,
        fees: Fees | None = None,
        confirmations: int | None = None,
        timeout_s: float = 10.0,
        patience_s: float = 20.0,
        state_dir: Path | None = None,
        drafter: Drafter | None = None,
    ) -> None:
        self._endpoints = Endpoints(rpc_urls, chain_id=chain_id, timeout_s=timeout_s, patience_s=patience_s)
        self.rpc_urls = tuple(rpc_urls)
        self.key = key
        self.fees = fees or Fees()
        self.drafter = drafter
        self._confirmations = confirmations
        self._state_dir = state_dir or default_state_dir()
        self._abandoned = threading.Event()
        self._options: dict[str, Any] = {
            "confirmations": confirmations,
            "timeout_s": timeout_s,
            "patience_s": patience_s,
            "state_dir": state_dir,
        }

    def __repr__(self) -> str:
        return f"Chain({', '.join(mask_url(u) for u in self.rpc_urls)})"

    def with_key(self, key: Key | None) -> Chain:
        """The same chain for another sender."""
        return Chain(self.rpc_urls, key, chain_id=self.chain_id, fees=self.fees, **self._options)

    def with_fees(self, fees: Fees) -> Chain:
        """The same chain and sender with other fees."""
        return Chain(self.rpc_urls, self.key, chain_id=self.chain_id, fees=fees, **self._options)

    @property
    def chain_id(self) -> int:
        """The chain's id (EIP-155)."""
        return self._endpoints.chain_id()

    @property
    def address(self) -> str:
        """The sender's address. Raises UsageError if there is no key."""
        return self._need_key().address if self.drafter is None else self.drafter.sender

    def rpc(self, method: str, *params: object, title: str = "") -> Any:
        """A raw JSON-RPC call, called `title` in messages. Raises RpcUnavailable, or NodeFailed for a node's error."""
        try:
            return self._endpoints.request(method, params)
        except RpcReplyError as reply:
            raise reverts.explain(reply, title or method) from None

    # --- blocks ------------------------------------------------------------------------------------------------------

    def block(self, block: BlockId | bytes = "latest") -> Block:
        """A block by number, tag or 32-byte hash. Raises NodeFailed if the node does not have it."""
        if isinstance(block, bytes):
            body = self.rpc("eth_getBlockByHash", "0x" + block.hex(), False)
        else:
            body = self.rpc("eth_getBlockByNumber", block_id(block), False)
        if body is None:
            raise NodeFailed(
                f"The node has no block {block if not isinstance(block, bytes) else '0x' + block.hex()}.",
                "It is behind, or the block was replaced.",
                "Wait, or use another RPC address.",
            )
        return Block(
            int(body["number"], 16),
            unhex(body["hash"]),
            unhex(body["parentHash"]),
            int(body["timestamp"], 16),
            int(body.get("baseFeePerGas") or "0x0", 16),
            int(body["gasLimit"], 16),
        )

    def block_number(self) -> int:
        """The latest block's number."""
        return int(self.rpc("eth_blockNumber"), 16)

    def finalized_block(self) -> Block:
        """The newest block that is taken as final: the node's, or `confirmations` below the latest."""
        if self._confirmations is None:
            return self.block("finalized")
        return self.block(max(0, self.block_number() - self._confirmations))

    def timestamp(self) -> int:
        """The latest block's time, Unix seconds."""
        return self.block().timestamp

    def first_block_after(self, timestamp_s: int, *, finalized: bool = True) -> Block | None:
        """The first block with a time greater than `timestamp_s`, or None if there is no (final) one yet."""
        high = self.finalized_block() if finalized else self.block()
        if high.timestamp <= timestamp_s:
            return None
        below, step = high.number, 1
        while below > 0 and self.block(below := max(0, high.number - step)).timestamp > timestamp_s:
            step *= 2
        if below == 0 and (first := self.block(0)).timestamp > timestamp_s:
            return first
        low, found = below, high  # block(low) is not after, found is
        while found.number - low > 1:
            middle = self.block((low + found.number) // 2)
            low, found = (low, middle) if middle.timestamp > timestamp_s else (middle.number, found)
        return found

    # --- state -------------------------------------------------------------------------------------------------------

    def balance(self, address: str, block: BlockId = "latest") -> int:
        """An account's wei."""
        return int(self.rpc("eth_getBalance", address, block_id(block)), 16)

    def code(self, address: str, block: BlockId = "latest") -> bytes:
        """An account's code, empty for one without."""
        return unhex(self.rpc("eth_getCode", address, block_id(block)))

    def call(
        self, call: Call, *, block: BlockId = "latest", value: int = 0, sender: str | None = None
    ) -> tuple[Any, ...]:
        """Call a function without a transaction and decode its results. Raises ContractError with the contract's error
        name.
        """
        request = {"to": call.address, "data": "0x" + call.data.hex()}
        if value:
            request["value"] = hex(value)
        if sender or self.key or self.drafter:
            request["from"] = sender or self.address
        try:
            result = self._endpoints.request("eth_call", [request, block_id(block)])
        except RpcReplyError as reply:
            raise reverts.explain(reply, call.title) from None
        return call.function.decode(unhex(cast(str, result)))

    def logs(
        self,
        addresses: Sequence[str],
        topics: Sequence[Sequence[bytes] | None] = (),
        from_block: int = 0,
        to_block: int | None = None,
        *,
        page: int = LOG_PAGE_BLOCKS,
    ) -> Iterator[Log]:
        """Logs in chain order from `from_block` to `to_block`, both included (None: the latest at the start), page by
        page.

        `topics` lists the accepted values per place, None for any. A page that the node finds too large, or whose
        answer is too long, is halved. A node that does not have a page's last block yet is not asked for it: it would
        leave out what it does not know.
        """
        end = self.block_number() if to_block is None else to_block
        wanted = [None if t is None else ["0x" + v.hex() for v in t] for t in topics]
        start = from_block
        while start <= end:
            stop = min(end, start + page - 1)
            query = {"address": list(addresses), "topics": wanted, "fromBlock": hex(start), "toBlock": hex(stop)}
            try:
                found = self._endpoints.request("eth_getLogs", [query], up_to=stop)
            except RpcReplyError as reply:
                if stop == start:
                    raise NodeFailed(
                        "The logs of a block cannot be read.", str(reply), "Use another RPC address."
                    ) from None
                page = (stop - start + 1) // 2
                continue
            logs = [parse_log(entry) for entry in cast("list[dict[str, Any]]", found)]
            yield from sorted(logs, key=lambda log: (log.block, log.log_index))
            start = stop + 1

    # --- transactions ------------------------------------------------------------------------------------------------

    def send(
        self, call: Call, *, value: int = 0, gas: int | None = None, on_sent: Callable[[bytes], None] | None = None
    ) -> Receipt:
        """Send a call as a transaction and wait until it is mined.

        `on_sent` gets each hash as soon as the node has it. Raises ContractError if the contract refuses it,
        InsufficientFunds, TransactionStuck when it is not mined in `fees.give_up_s`.
        """
        if self.drafter is not None:
            return self._draft(self.drafter, call.function.contract, call.address, call.data, value, call.title)
        return self._sender().send(call.address, call.data, value, gas, call.title, on_sent)

    def settle(self) -> None:
        """Wait for whatever this key still has under way, also from before a crash. Raises TransactionStuck."""
        self._sender().settle()

    def abandon(self) -> None:
        """Wait for no transaction any more: whoever waits in another thread gets TransactionStuck at once.

        For the end of a program. What is under way stays on record, and the next start's `settle` sees to it.
        """
        self._abandoned.set()

    def transaction_count(self, address: str, block: BlockId = "latest") -> int:
        """How many transactions an account has had mined up to a block."""
        return int(self.rpc("eth_getTransactionCount", address, block_id(block)), 16)

    def transfer(self, to: str, amount_wei: int) -> Receipt:
        """Send ether."""
        if self.drafter is not None:
            return self._draft(self.drafter, "", to, b"", amount_wei, "The transfer")
        return self._sender().send(to, b"", amount_wei, None, "The transfer", None)

    def deploy(self, creation: bytes, title: str) -> Receipt:
        """Send creation code; the receipt has the contract's address."""
        return self._sender().send(None, creation, 0, None, f"The deployment of {title}", None)

    def receipt(self, tx_hash: bytes) -> Receipt | None:
        """A transaction's receipt if it is mined; also of one that reverted."""
        body = self.rpc("eth_getTransactionReceipt", "0x" + tx_hash.hex())
        return None if body is None else parse_receipt(body)

    def transaction_input(self, tx_hash: bytes) -> bytes | None:
        """The data that a transaction carried, None if the node does not know it."""
        body = self.rpc("eth_getTransactionByHash", "0x" + tx_hash.hex())
        return None if body is None else unhex(str(body["input"]))

    def begin_drafts(self, sender: str) -> Chain:
        """The same chain for writing transactions of `sender` down instead of sending them."""
        base, fees = self.block().base_fee_wei, self.fees
        count = int(self.rpc("eth_getTransactionCount", sender, "pending"), 16)
        max_fee = min(fees.cap_wei, 4 * base + fees.tip_wei)  # room for the time until it is signed and sent
        drafter = Drafter(sender, count, max_fee, min(fees.tip_wei, max_fee))
        return Chain(self.rpc_urls, None, chain_id=self.chain_id, fees=fees, drafter=drafter, **self._options)

    def _draft(self, drafter: Drafter, contract: str, to: str, data: bytes, value: int, title: str) -> Receipt:
        """Keep a transaction; the receipt is of block 0, which has none."""

        def estimate() -> int:
            request = {"from": drafter.sender, "to": to, "data": "0x" + data.hex(), "value": hex(value)}
            try:
                found = int(cast(str, self._endpoints.request("eth_estimateGas", [request])), 16)
            except RpcReplyError as reply:
                raise reverts.explain(reply, title) from None
            return found + found * self.fees.gas_margin_percent // 100

        drafter.add(contract, to, data, value, estimate)
        return not_mined()

    def _sender(self) -> Sender:
        key = self._need_key()
        nonces = NonceStore(self._state_dir, self.chain_id, self._endpoints.genesis, key.address)
        return Sender(self._endpoints, key, self.chain_id, self.fees, nonces, self._abandoned)

    def _need_key(self) -> Key:
        if self.key is None:
            raise UsageError(
                "A key is needed to send a transaction.",
                "None was given.",
                "Name a keystore by --keystore and its password by --password-file.",
            )
        return self.key


def default_state_dir() -> Path:
    """Where nonce records are kept: under XDG_STATE_HOME or ~/.local/state."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "commonweight" / "nonces"
