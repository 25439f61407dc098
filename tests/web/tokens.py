"""Tokens for the tests of paying with one."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import rpc
from tests.solidity import compiled
from tests.waiting import wait_for

SOURCE = Path(__file__).with_name("Tokens.sol")


def deploy_token(url: str, name: str, holder: str) -> str:
    """Deploy a token of Tokens.sol; all of it belongs to `holder`."""
    code = compiled(SOURCE)[name]["evm"]["bytecode"]["object"]
    data = f"0x{code}{holder[2:].lower().rjust(64, '0')}"
    sent = rpc(url, "eth_sendTransaction", {"from": holder, "data": data, "gas": hex(5_000_000)})
    # Anvil answers before it has mined.
    receipt = wait_for(lambda: rpc(url, "eth_getTransactionReceipt", sent), what="the token's receipt")
    assert isinstance(receipt, dict)
    assert receipt["status"] == "0x1"
    return str(receipt["contractAddress"])
