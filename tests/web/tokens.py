"""Tokens for the browser tests, compiled once a session."""

from __future__ import annotations

import json
import subprocess
import time
from functools import cache
from pathlib import Path
from typing import Any

from tests.conftest import ROOT, rpc

_MINED_S = 20.0
SOURCE = Path(__file__).with_name("Tokens.sol")


def deploy_token(url: str, name: str, holder: str) -> str:
    """Deploy a token of Tokens.sol; all of it belongs to `holder`."""
    data = f"0x{_compiled()[name]}{holder[2:].lower().rjust(64, '0')}"
    sent = rpc(url, "eth_sendTransaction", {"from": holder, "data": data, "gas": hex(5_000_000)})
    until = time.monotonic() + _MINED_S
    while (receipt := rpc(url, "eth_getTransactionReceipt", sent)) is None:  # Anvil answers before it has mined
        assert time.monotonic() < until, "the token is not deployed"
        time.sleep(0.02)
    assert isinstance(receipt, dict)
    assert receipt["status"] == "0x1"
    return str(receipt["contractAddress"])


@cache
def _compiled() -> dict[str, str]:
    sources: dict[str, Any] = {}
    queue = [("Tokens.sol", SOURCE)]
    for path in (ROOT / "node_modules" / "@openzeppelin" / "contracts").rglob("*.sol"):
        queue.append((path.relative_to(ROOT / "node_modules").as_posix(), path))
    text = {name: path.read_text() for name, path in queue}
    wanted = ["Tokens.sol"]
    while wanted:
        name = wanted.pop()
        if name not in sources:
            sources[name] = {"content": text[name]}
            wanted.extend(_imports(name, text[name]))
    settings = {"evmVersion": "shanghai", "outputSelection": {"Tokens.sol": {"*": ["evm.bytecode.object"]}}}
    request = json.dumps({"language": "Solidity", "sources": sources, "settings": settings})
    command = [str(ROOT / "tools" / "solc" / "solc-v0.8.30"), "--standard-json"]
    done = subprocess.run(command, input=request, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    errors = [e["formattedMessage"] for e in answer.get("errors", ()) if e["severity"] == "error"]
    assert errors == []
    contracts = answer["contracts"]["Tokens.sol"]
    return {name: contract["evm"]["bytecode"]["object"] for name, contract in contracts.items()}


def _imports(name: str, text: str) -> list[str]:
    from scripts.export_abi import IMPORT, resolve

    return [resolve(name, target) for target in IMPORT.findall(text)]
