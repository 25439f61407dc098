"""Sends one transaction until it is mined: estimate, price, sign, broadcast, wait, re-price when it is stuck.

Fees follow EIP-1559: twice the base fee plus a tip, never above the cap. A transaction that is not mined in
`bump_after_s` is sent again under the same nonce for at least `bump_percent` more, until the cap. If an older
transaction from the same key holds it up, that one is re-priced. Ganache mines whatever it is given, replaced or
repeated, so there only what it does not know is sent again; and it forgets one that comes while it mines the one before
from the same key, so there a key's transactions go one by one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

from commonweight.chain import reverts
from commonweight.chain.keys import Key
from commonweight.chain.nonces import InFlight, NonceStore, Record
from commonweight.chain.rpc import Endpoints, RpcReplyError
from commonweight.chain.types import Receipt, parse_receipt
from commonweight.errors import ChainError, RpcUnavailable, TransactionStuck

_POLL_S = 0.05
_LONGEST_POLL_S = 1.0
_SPREADING_S = 30.0
_KNOWN = ("already known", "already imported", "known transaction", "transaction already", "alreadyknown")
_BELOW_BASE = (
    "less than block base fee",
    "less than the base fee",
    "lower than the current base fee",
    "fee cap too low",
)
_NONCE_TAKEN = (
    "nonce too low",
    "replacement transaction underpriced",
    "nonce is too low",
    "incorrect nonce",
    "correct nonce",
    "nonce too high",
    "replacement fee too low",
)


@dataclass(frozen=True)
class Fees:
    """What a sender is ready to pay and how long it waits. Fees in wei per gas, times in seconds."""

    cap_wei: int = 500 * 10**9
    tip_wei: int = 10**9
    gas_margin_percent: int = 25
    bump_after_s: float = 30.0
    bump_percent: int = 15
    give_up_s: float = 600.0


class Sender:
    """Sends from one key on one chain. Once `abandoned` is set it waits for nothing any more."""

    def __init__(
        self, endpoints: Endpoints, key: Key, chain_id: int, fees: Fees, nonces: NonceStore, abandoned: threading.Event
    ) -> None:
        self._endpoints = endpoints
        self._key = key
        self._chain_id = chain_id
        self._fees = fees
        self._nonces = nonces
        self._abandoned = abandoned

    def send(
        self,
        to: str | None,
        data: bytes,
        value: int,
        gas: int | None,
        title: str,
        on_sent: Callable[[bytes], None] | None,
    ) -> Receipt:
        """Send and wait; see `Chain.send`."""
        limit = gas or self._estimate(to, data, value, title)
        sent = self._broadcast_new(to, data, value, limit, title)
        if on_sent is not None:
            on_sent(bytes.fromhex(sent.hashes[0][2:]))
        body = self._wait(sent, title, on_sent)
        self._forget_up_to(sent.nonce)
        if int(body["status"], 16) == 1:
            return parse_receipt(body)
        raise self._revert_reason(sent, body, title)

    def settle(self) -> None:
        """Wait until nothing that this key has sent is under way any more; what is stuck is re-priced.

        Whoever sends after it, having looked at the chain in between, sends nothing twice, also after a crash: what
        the node does not know half a minute after it was signed was never sent, and its nonce is taken again.
        """
        while True:
            with self._nonces.locked() as record:
                self._forget_mined(record)
                entry = record.in_flight.get(min(record.in_flight, default=-1))
            if entry is None:
                return
            if any(self._known(tx_hash) for tx_hash in entry.hashes):
                self._wait(entry, "A transaction from before", None)
                self._forget_up_to(entry.nonce)
            else:
                self._pause(_LONGEST_POLL_S, "A transaction from before", entry)

    def _estimate(self, to: str | None, data: bytes, value: int, title: str) -> int:
        request = self._request(to, data, value)
        try:
            found = int(cast(str, self._endpoints.request("eth_estimateGas", [request])), 16)
        except RpcReplyError as reply:
            raise reverts.explain(reply, title) from None
        return found + found * self._fees.gas_margin_percent // 100

    def _request(self, to: str | None, data: bytes, value: int) -> dict[str, str]:
        request = {"from": self._key.address, "data": "0x" + data.hex(), "value": hex(value)}
        return request if to is None else {**request, "to": to}

    def _prices(self, title: str) -> tuple[int, int]:
        """(max fee, tip) for a new transaction."""
        block = cast("dict[str, Any]", self._endpoints.request("eth_getBlockByNumber", ["latest", False]))
        base = int(block.get("baseFeePerGas") or "0x0", 16)
        if base >= self._fees.cap_wei:
            raise ChainError(
                f"{title} was not sent.",
                f"The base fee is {base} wei per gas, above the cap of {self._fees.cap_wei}",
                "Wait until the fee has fallen, or raise the cap by COMMONWEIGHT_MAX_FEE_GWEI.",
            )
        max_fee = min(self._fees.cap_wei, 2 * base + self._fees.tip_wei)
        return max_fee, min(self._fees.tip_wei, max_fee)

    # --- broadcasting ------------------------------------------------------------------------------------------------

    def _broadcast_new(self, to: str | None, data: bytes, value: int, gas: int, title: str) -> InFlight:
        start = time.monotonic()
        while (sent := self._broadcast_in_turn(to, data, value, gas, title)) is None:
            if self._abandoned.wait(_POLL_S) or time.monotonic() - start > self._fees.give_up_s:
                raise TransactionStuck(
                    f"{title} was not sent.",
                    "An earlier transaction of the same key is not mined yet",
                    "Look at that transaction before you try again.",
                )
        return sent

    def _broadcast_in_turn(self, to: str | None, data: bytes, value: int, gas: int, title: str) -> InFlight | None:
        """None while it has to wait for the key's transactions before it."""
        with self._nonces.locked() as record:
            self._forget_mined(record)
            nonce = max(self._count("pending"), record.next_nonce)
            if not self._endpoints.replaces and nonce > self._count("latest"):
                return None  # Ganache never mines one that comes while it mines the one before
            max_fee, tip = self._prices(title)
            for _ in range(20):
                made = InFlight(nonce, to, "0x" + data.hex(), value, gas, max_fee, tip, (), time.time())
                raw, tx_hash = self._sign(made, max_fee, tip)
                made = made.repriced(max_fee, tip, tx_hash, time.time())
                record.in_flight[nonce] = made
                record.save()  # before it is sent: a crash in between leaves no nonce that nobody knows of
                try:
                    self._submit(raw, tx_hash)
                except RpcUnavailable:
                    return made  # perhaps it was taken: waiting finds out, and sends it again if not
                except RpcReplyError as reply:
                    del record.in_flight[nonce]
                    if any(hint in reply.message.lower() for hint in _BELOW_BASE) and max_fee < self._fees.cap_wei:
                        max_fee = min(self._fees.cap_wei, 2 * max_fee)  # the base fee rose meanwhile
                        continue
                    if not any(hint in reply.message.lower() for hint in _NONCE_TAKEN):
                        raise reverts.explain(reply, title) from None
                    nonce = max(self._count("pending"), nonce + ("too high" not in reply.message.lower()))
                    continue
                return made
        raise ChainError(
            f"{title} was not sent.",
            "Another program uses the same key at the same time and takes every nonce",
            "Give each program a key of its own.",
        )

    def _forget_mined(self, record: Record) -> None:
        mined = self._count("latest")
        for nonce, entry in list(record.in_flight.items()):
            # A node can have taken one and not show it: before it has spread to it, or while it is being mined.
            young = time.time() - entry.sent_at < _SPREADING_S
            if nonce < mined or not (young or any(self._known(h) for h in entry.hashes)):
                del record.in_flight[nonce]

    def _forget_up_to(self, nonce: int) -> None:
        with self._nonces.locked() as record:
            for earlier in [n for n in record.in_flight if n <= nonce]:
                del record.in_flight[earlier]

    def _known(self, tx_hash: str) -> bool:
        return self._endpoints.request("eth_getTransactionByHash", [tx_hash]) is not None

    def _count(self, tag: str) -> int:
        return int(cast(str, self._endpoints.request("eth_getTransactionCount", [self._key.address, tag])), 16)

    def _sign(self, entry: InFlight, max_fee: int, tip: int) -> tuple[str, str]:
        from eth_account import Account

        fields: dict[str, Any] = {
            "type": 2,
            "chainId": self._chain_id,
            "nonce": entry.nonce,
            "data": entry.data,
            "value": entry.value,
            "gas": entry.gas,
            "maxFeePerGas": max_fee,
            "maxPriorityFeePerGas": tip,
        }
        if entry.to is not None:
            fields["to"] = bytes.fromhex(entry.to[2:])
        signed = Account.sign_transaction(fields, self._key.private_key)
        return "0x" + bytes(signed.raw_transaction).hex(), "0x" + bytes(signed.hash).hex()

    def _submit(self, raw: str, tx_hash: str) -> None:
        """Hand a signed transaction to the node; a node that knows it already is as good."""
        try:
            self._endpoints.request("eth_sendRawTransaction", [raw], once=True)
        except RpcUnavailable:  # it may have been taken before the answer was lost: look before sending it again
            if self._endpoints.replaces and not self._known(tx_hash):
                self._endpoints.request("eth_sendRawTransaction", [raw], once=True)
        except RpcReplyError as reply:
            if not any(hint in reply.message.lower() for hint in _KNOWN) and not self._known(tx_hash):
                raise

    # --- waiting -----------------------------------------------------------------------------------------------------

    def _wait(self, sent: InFlight, title: str, on_sent: Callable[[bytes], None] | None) -> dict[str, Any]:
        start = last_bump = time.monotonic()
        pause = _POLL_S
        while True:
            now = time.monotonic()
            sent = self._under_all_hashes(sent)
            try:
                body = self._find_receipt(sent)
                if body is not None:
                    return body
                if now - last_bump > self._fees.bump_after_s:
                    last_bump = now
                    sent = self._bump(sent, title, on_sent)
            except RpcUnavailable:
                if now - start > self._fees.give_up_s:
                    raise
            if now - start > self._fees.give_up_s:
                raise TransactionStuck(
                    f"{title} was sent and is not mined after {self._fees.give_up_s:.0f} s.",
                    f"Transaction {sent.hashes[-1]} with nonce {sent.nonce} waits; the fee cap may be too low",
                    "Look at the transaction before you try again; raise the cap by COMMONWEIGHT_MAX_FEE_GWEI.",
                )
            self._pause(pause, title, sent)
            pause = min(_LONGEST_POLL_S, pause * 1.3)

    def _pause(self, seconds: float, title: str, sent: InFlight) -> None:
        """Raises TransactionStuck when nobody waits any more."""
        if self._abandoned.wait(seconds):
            raise TransactionStuck(
                f"{title} was sent and is not mined yet, and this program ends.",
                f"Transaction {sent.hashes[-1]} with nonce {sent.nonce} waits",
                "The next start waits for it, at a higher fee if need be.",
            )

    def _under_all_hashes(self, sent: InFlight) -> InFlight:
        """With those under which another sender, whose transaction waits for it, has sent it again meanwhile."""
        with self._nonces.locked() as record:
            known = record.in_flight.get(sent.nonce, sent)
        return known if set(sent.hashes) <= set(known.hashes) else sent

    def _find_receipt(self, sent: InFlight) -> dict[str, Any] | None:
        for tx_hash in reversed(sent.hashes):
            body = self._endpoints.request("eth_getTransactionReceipt", [tx_hash])
            if body is not None:
                return cast("dict[str, Any]", body)
        return None

    def _bump(self, sent: InFlight, title: str, on_sent: Callable[[bytes], None] | None) -> InFlight:
        """Re-price whatever holds the queue up: the lowest of our transactions that is not mined."""
        with self._nonces.locked() as record:
            mined = self._count("latest")
            current = record.in_flight.get(sent.nonce, sent)
            if mined > sent.nonce and self._find_receipt(current) is None:
                raise TransactionStuck(
                    f"{title} was sent, but another transaction with its nonce {sent.nonce} was mined instead.",
                    "Another program uses the same key",
                    "Check what the key has sent, then try again; give each program a key of its own.",
                )
            record.in_flight[sent.nonce] = current
            blocking = record.in_flight.get(mined, current)
            for entry in dict.fromkeys((blocking.nonce, current.nonce)):
                self._resend(record, record.in_flight[entry], on_sent if entry == sent.nonce else None)
            return record.in_flight[sent.nonce]

    def _resend(self, record: Record, entry: InFlight, on_sent: Callable[[bytes], None] | None) -> None:
        if not self._endpoints.replaces and any(self._known(h) for h in entry.hashes):
            return
        percent = 100 + self._fees.bump_percent
        block = cast("dict[str, Any]", self._endpoints.request("eth_getBlockByNumber", ["latest", False]))
        base = int(block.get("baseFeePerGas") or "0x0", 16)
        tip = -(-entry.tip * percent // 100)
        max_fee = max(-(-entry.max_fee * percent // 100), 2 * base + tip)
        if max_fee > self._fees.cap_wei or not self._endpoints.replaces:
            max_fee, tip = entry.max_fee, entry.tip  # the very same again, in case the node has dropped it
        raw, tx_hash = self._sign(entry, max_fee, tip)
        raised = (max_fee, tip) != (entry.max_fee, entry.tip)
        if raised:
            record.in_flight[entry.nonce] = entry.repriced(max_fee, tip, tx_hash, time.time())
            record.save()  # before it is sent: a crash in between leaves no hash that nobody knows of
        try:
            self._submit(raw, tx_hash)
        except RpcUnavailable:
            pass  # perhaps it was taken: waiting finds out
        except RpcReplyError as reply:
            if raised:  # another node may have it all the same, but the next price goes by what was taken
                refused = () if tx_hash in entry.hashes else (tx_hash,)
                record.in_flight[entry.nonce] = replace(entry, hashes=(*refused, *entry.hashes))
            if any(hint in reply.message.lower() for hint in (*_NONCE_TAKEN, *_BELOW_BASE, "insufficient funds")):
                return  # mined meanwhile, or not affordable yet: the variants already sent still count
            raise reverts.explain(reply, "Sending again") from None
        if raised and on_sent is not None:
            on_sent(bytes.fromhex(tx_hash[2:]))

    def _revert_reason(self, sent: InFlight, body: dict[str, Any], title: str) -> Exception:
        request = self._request(sent.to, bytes.fromhex(sent.data[2:]), sent.value)
        try:
            self._endpoints.request("eth_call", [{**request, "gas": hex(sent.gas)}, body["blockNumber"]])
        except RpcReplyError as reply:
            return reverts.explain(reply, title)
        return ChainError(
            f"{title} was mined and failed.",
            f"Transaction {body['transactionHash']} used {int(body['gasUsed'], 16)} of {sent.gas} gas",
            "Try again.",
        )
