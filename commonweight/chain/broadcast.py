"""Sends transactions that were signed elsewhere, in order, each until it is mined. Doing it again changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable

from commonweight.chain.client import Chain
from commonweight.chain.offline import Draft, Signed
from commonweight.chain.types import Receipt, parse_receipt
from commonweight.errors import ChainError, TransactionStuck, WrongChain

_POLL_S = 0.2
_KNOWN = ("already known", "already imported", "known transaction", "transaction already", "alreadyknown")


def broadcast(
    chain: Chain, signed: Signed, on_mined: Callable[[int, Receipt], None], *, give_up_s: float = 600.0
) -> tuple[Receipt, ...]:
    """Send what is not mined yet; `on_mined` gets each place and receipt.

    Raises WrongChain, ContractError by the contract's own name for one that reverted, ChainError when another
    transaction took a nonce, TransactionStuck when one is not mined in time.
    """
    plan = signed.unsigned
    if chain.chain_id != plan.chain_id:
        raise WrongChain(
            f"The transactions are for chain {plan.chain_id}, not chain {chain.chain_id}.",
            "They were written for another chain",
            "Name an RPC address of that chain by --rpc.",
        )
    receipts = []
    for place, (draft, raw, tx_hash) in enumerate(zip(plan.drafts, signed.raw, signed.hashes(), strict=True)):
        if not _mined(chain, tx_hash):
            _submit(chain, plan.sender, draft, raw, tx_hash)
        body = _wait(chain, plan.sender, draft, tx_hash, give_up_s)
        if int(body["status"], 16) != 1:
            raise _reason(chain, plan.sender, draft, body)
        receipt = parse_receipt(body)
        on_mined(place, receipt)
        receipts.append(receipt)
    return tuple(receipts)


def _mined(chain: Chain, tx_hash: bytes) -> dict[str, str] | None:
    found = chain.rpc("eth_getTransactionReceipt", "0x" + tx_hash.hex())
    return found if isinstance(found, dict) else None


def _submit(chain: Chain, sender: str, draft: Draft, raw: bytes, tx_hash: bytes) -> None:
    if chain.rpc("eth_getTransactionByHash", "0x" + tx_hash.hex()) is not None:
        return
    _refuse_taken(chain, sender, draft)
    try:
        chain.rpc("eth_sendRawTransaction", "0x" + raw.hex())
    except ChainError as error:
        if not any(hint in str(error).lower() for hint in _KNOWN):
            raise


def _refuse_taken(chain: Chain, sender: str, draft: Draft) -> None:
    if int(chain.rpc("eth_getTransactionCount", sender, "latest"), 16) > draft.nonce:
        raise ChainError(
            f"Another transaction of {sender} has taken nonce {draft.nonce}.",
            "The account has sent something else since this was written; this one can never be mined",
            "Write it again with --unsigned, sign and send the new one.",
        )


def _wait(chain: Chain, sender: str, draft: Draft, tx_hash: bytes, give_up_s: float) -> dict[str, str]:
    end = time.monotonic() + give_up_s
    while (body := _mined(chain, tx_hash)) is None:
        if time.monotonic() > end:
            raise TransactionStuck(
                f"{draft.calls.partition('(')[0]} was sent and is not mined after {give_up_s:.0f} s.",
                f"Transaction 0x{tx_hash.hex()} with nonce {draft.nonce} waits, for an earlier nonce or a higher fee",
                "Send the same file again later, or write it anew for the price of now.",
            )
        time.sleep(_POLL_S)
        if _mined(chain, tx_hash) is None:
            _refuse_taken_unless_ours(chain, sender, draft, tx_hash)
    return body


def _refuse_taken_unless_ours(chain: Chain, sender: str, draft: Draft, tx_hash: bytes) -> None:
    try:
        _refuse_taken(chain, sender, draft)
    except ChainError:
        if _mined(chain, tx_hash) is None:
            raise


def _reason(chain: Chain, sender: str, draft: Draft, body: dict[str, str]) -> Exception:
    request = {"from": sender, "to": draft.to, "data": "0x" + draft.data.hex(), "value": hex(draft.value)}
    title = draft.calls.partition("(")[0]
    try:
        chain.rpc("eth_call", {**request, "gas": hex(draft.gas)}, body["blockNumber"], title=title)
    except ChainError as error:
        return error
    return ChainError(
        f"{title} was mined and failed.", f"Transaction {body['transactionHash']}", "Write it again and send that."
    )
