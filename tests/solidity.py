"""Contracts that only tests have, compiled once: the answer is kept in build/ by the digest of all that was asked."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from scripts.export_abi import IMPORT, resolve

ROOT = Path(__file__).resolve().parents[1]
SOLC = ROOT / "tools" / "solc" / "solc-v0.8.30"
KEPT = ROOT / "build" / "tests"


@cache
def compiled(*paths: Path, optimized: bool = False) -> Mapping[str, Any]:
    """What the compiler says of each contract of these files, by its name: `abi` and `evm.bytecode.object`."""
    units = {path.name: path for path in paths}
    settings = {
        "evmVersion": "shanghai",
        "optimizer": {"enabled": optimized},
        "outputSelection": {name: {"*": ["abi", "evm.bytecode.object"]} for name in units},
    }
    request = json.dumps({"language": "Solidity", "sources": _with_imports(units), "settings": settings})
    kept = KEPT / f"{hashlib.sha256(f'{SOLC.name} {request}'.encode()).hexdigest()}.json"
    if not kept.exists():
        done = subprocess.run([SOLC, "--standard-json"], input=request, capture_output=True, text=True, check=True)
        answer = json.loads(done.stdout)
        assert [e["formattedMessage"] for e in answer.get("errors", ()) if e["severity"] == "error"] == []
        KEPT.mkdir(parents=True, exist_ok=True)
        new = kept.with_suffix(f".{uuid4()}")  # another process may be at it
        new.write_text(json.dumps({name: answer["contracts"][name] for name in units}))
        new.replace(kept)
    return {name: body for file in json.loads(kept.read_text()).values() for name, body in file.items()}


def _with_imports(units: Mapping[str, Path]) -> dict[str, dict[str, str]]:
    """The text of source units and of what they import from packages."""
    sources: dict[str, dict[str, str]] = {}
    wanted = dict(units)
    while wanted:
        name, path = wanted.popitem()
        sources[name] = {"content": path.read_text()}
        for imported in IMPORT.findall(sources[name]["content"]):
            unit = resolve(name, imported)
            if unit not in sources:
                wanted[unit] = ROOT / "node_modules" / unit
    return dict(sorted(sources.items()))
