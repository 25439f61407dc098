"""Reverts in plain words: finds the revert data in a node's error, decodes it by the ABIs, and says what to do about
it.
"""

from __future__ import annotations

import re

from commonweight.chain.abi import all_errors, decode_values, snake
from commonweight.chain.explanations import EXPLANATIONS, Kind, kind_of
from commonweight.chain.rpc import RpcReplyError
from commonweight.errors import CommonweightError, ContractError, InsufficientFunds, NodeFailed
from commonweight.quantities import when

_ERROR_STRING = bytes.fromhex("08c379a0")  # Error(string)
_PANIC = bytes.fromhex("4e487b71")  # Panic(uint256)
_PANICS = {
    0x01: "assertion failed",
    0x11: "arithmetic overflow or underflow",
    0x12: "division by zero",
    0x32: "index out of bounds",
}
_REVERT_HINTS = ("revert", "invalid opcode", "vm exception", "out of gas")


def revert_data(reply: RpcReplyError) -> bytes | None:
    """The bytes that a call reverted with, wherever a node puts them; b"" for a revert without data; None if it is no
    revert.
    """
    found = _hex_in(reply.data)
    if found is not None:
        return found
    embedded = re.search(r"custom error (0x[0-9a-fA-F]{8,})", reply.message)
    if embedded:
        return bytes.fromhex(embedded[1][2:])
    return b"" if reply.code == 3 or any(h in reply.message.lower() for h in _REVERT_HINTS) else None


def explain(reply: RpcReplyError, what: str) -> CommonweightError:
    """The error to raise for a node's error reply; `what` names the call."""
    lowered = reply.message.lower()
    if "insufficient funds" in lowered or "insufficientfunds" in lowered or "doesn't have enough funds" in lowered:
        return InsufficientFunds(
            f"{what} was not sent.",
            "The account cannot pay for it and for the gas.",
            "Put funds into the account and try again.",
        )
    data = revert_data(reply)
    if data is None:
        return NodeFailed(f"{what} failed.", str(reply), "Try again, or use another RPC address.")
    return explain_revert(data, what, reply.message)


def explain_revert(data: bytes, what: str, message: str = "") -> ContractError:
    """The error for revert data."""
    selector, body = data[:4], data[4:]
    try:
        if selector == _ERROR_STRING:
            text = str(decode_values(({"type": "string"},), body)[0])
            return ContractError("Error", f"{what} was refused by the contract.", text, "")
        if selector == _PANIC:
            code = int(decode_values(({"type": "uint256"},), body)[0])
            return ContractError(
                "Panic",
                f"{what} was refused by the contract.",
                f"Panic {code:#x}: {_PANICS.get(code, 'see the Solidity manual')}.",
                "Check the values given.",
            )
        known = all_errors().get(selector)
        if known is not None:
            values = decode_values(known.inputs, body)
            shown = ", ".join(
                f"{snake(i['name'])} {_show(v, kind_of(known.name, i['name']))}"
                for i, v in zip(known.inputs, values, strict=True)
            )
            why, fix = EXPLANATIONS.get(known.name, ("", ""))
            reason = f"{known.name}" + (f" ({shown})" if shown else "") + (f": {why}" if why else "")
            return ContractError(known.name, f"{what} was refused by the contract.", reason, fix)
    except NodeFailed:
        return ContractError(
            "Unknown",
            f"{what} was refused by the contract.",
            f"Its reason cannot be read: 0x{data.hex()}",
            "Check that contract and program versions match.",
        )
    if not data:
        why = "It gave no reason" + (f" ({message})" if message else "")
        return ContractError(
            "NoReason", f"{what} was refused by the contract.", why, "Check the address, the values and the gas."
        )
    return ContractError(
        "Unknown",
        f"{what} was refused by the contract.",
        f"Unknown error 0x{selector.hex()}",
        "Check that contract and program versions match.",
    )


def _hex_in(data: object, levels: int = 4) -> bytes | None:
    if isinstance(data, str) and re.fullmatch(r"0x(?:[0-9a-fA-F]{2})*", data):
        return bytes.fromhex(data[2:])
    if isinstance(data, str):  # "Reverted 0x..." of some nodes
        embedded = re.search(r"0x(?:[0-9a-fA-F]{2}){4,}", data)
        return bytes.fromhex(embedded[0][2:]) if embedded else None
    if isinstance(data, dict) and levels:
        for name in ("data", "result", "returnData"):
            if name in data and (found := _hex_in(data[name], levels - 1)) is not None:
                return found
        for value in data.values():  # Ganache may key the details by the transaction's hash
            if isinstance(value, dict) and (found := _hex_in(value, levels - 1)) is not None:
                return found
    return None


def _show(value: object, kind: Kind) -> str:
    if isinstance(value, int) and kind == "time":
        return when(value)
    if kind == "amount":
        return f"{value} smallest units"
    if not isinstance(value, bytes):
        return str(value)
    text = value.rstrip(b"\0")
    return text.decode() if text and text.isascii() and text.decode().isprintable() else "0x" + value.hex()
