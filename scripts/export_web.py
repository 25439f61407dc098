"""Write what the web page needs of the contracts into commonweight/web/js/generated/.

`abi.js` holds the functions, events and structs that the page uses, with their selectors, cut from commonweight/abi/;
`explanations.js` every error of the contracts with the words of commonweight/chain/explanations.py, so that page and
command line say the same. Run `python scripts/export_web.py`, or with `--check` to learn whether the committed files
are fresh. No compiler is needed; `make abi` runs it after scripts/export_abi.py.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from commonweight.chain.explanations import EXPLANATIONS, kind_of
from commonweight.protocol.typed import keccak256

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "commonweight" / "abi"
TARGET = ROOT / "commonweight" / "web" / "js" / "generated"

FUNCTIONS: Mapping[str, Sequence[str]] = {
    "Campaign": (
        "addresses", "params", "createdBlock", "raised", "contributionOf", "failed", "depositsClosed",
        "milestonesMet", "unlockedEscrow", "reserved", "released", "wagesDue", "ended", "returnable", "unspentOf",
        "deposit", "depositWithPermit", "depositWithAuthorization", "refund", "claimUnspent", "payWages",
    ),
    "ProviderRegistry": (
        "providerCount", "providerAt", "indexOf", "indexOfKey", "register", "rotateKey", "setPayout", "setPeer",
        "addStake", "exit", "withdrawStake",
    ),
    "CreditOracle": ("epochInfo", "nextEpoch", "finishedAt", "signers", "quorum", "rotation"),
    "CreditLedger": ("latest",),
    "RevenueDistributor": (
        "capitalReceived", "capitalPaid", "computeReceived", "computePaid", "pendingCompute", "claimableCapital",
        "claimableCompute", "capitalClaimedBy", "claimedBy", "debtOf", "claimCapital", "claimCompute",
    ),
    "Disputes": ("openGames",),
    "ERC20": ("name", "symbol", "decimals", "balanceOf", "allowance", "approve"),
}  # fmt: skip
EVENTS: Mapping[str, Sequence[str]] = {
    "Campaign": ("Deposited", "Refunded", "MilestoneMissed", "UnspentReturned"),
    "ProviderRegistry": ("ProviderRegistered", "KeyRotated", "Banned", "Slashed", "ExitRequested"),
    "CreditOracle": (
        "RoundAnchored", "EpochClosed", "ReportSubmitted", "EpochFinal", "EpochVoided", "BondSlashed",
        "SignerSetChanged",
    ),
    "CheckpointRegistry": ("CheckpointAttested",),
    "RevenueDistributor": ("RevenueReceived", "CapitalReceived", "WagesReceived"),
    "Disputes": (
        "WrongLeafProved", "BadListProved", "GameOpened", "ReportUnanswered", "FraudByDefault", "CreditsChallenged",
        "Convicted",
    ),
}  # fmt: skip


def _view(name: str, inputs: str, outputs: str) -> dict[str, Any]:
    def items(types: str) -> list[dict[str, str]]:
        return [{"name": "", "type": kind} for kind in types.split()]

    return {"type": "function", "name": name, "inputs": items(inputs), "outputs": items(outputs)}


# How a token tells what it takes by signature: ERC-2612, ERC-3009, and ERC-5267 for the domain of both.
SIGNED = (
    _view("authorizationState", "address bytes32", "bool"),
    _view("receiveWithAuthorization", "address address uint256 uint256 uint256 bytes32 uint8 bytes32 bytes32", ""),
    _view("nonces", "address", "uint256"),
    _view("DOMAIN_SEPARATOR", "", "bytes32"),
    _view("version", "", "string"),
    {
        "type": "function",
        "name": "eip712Domain",
        "inputs": [],
        "outputs": [
            {"name": "fields", "type": "bytes1"},
            {"name": "name", "type": "string"},
            {"name": "version", "type": "string"},
            {"name": "chainId", "type": "uint256"},
            {"name": "verifyingContract", "type": "address"},
            {"name": "salt", "type": "bytes32"},
            {"name": "extensions", "type": "uint256[]"},
        ],
    },
)
HEADER = "// Written by scripts/export_web.py from commonweight/abi/ and chain/explanations.py. Do not edit.\n"


def load(contract: str) -> list[dict[str, Any]]:
    """The ABI of a contract."""
    found: list[dict[str, Any]] = json.loads((SOURCE / f"{contract}.json").read_text())["abi"]
    return found


def spelled(item: Mapping[str, Any]) -> str:
    """A parameter's type as signatures spell it: tuples by their components."""
    kind = str(item["type"])
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(spelled(c) for c in item['components'])}){kind.removeprefix('tuple')}"


def signature(entry: Mapping[str, Any]) -> str:
    """The signature that selectors and topics are made of."""
    return f"{entry['name']}({','.join(spelled(i) for i in entry['inputs'])})"


def compact(items: Iterable[Mapping[str, Any]]) -> list[list[Any]]:
    """Parameters as `[name, type]`, and `[name, type, components]` for structs."""
    return [
        [i["name"], i["type"], *([compact(i["components"])] if i["type"].startswith("tuple") else [])] for i in items
    ]


def entries(abi: Iterable[dict[str, Any]], kind: str, names: Sequence[str]) -> list[dict[str, Any]]:
    """The entries of a kind by name, each exactly once. Raises SystemExit for a name that is missing or overloaded."""
    found = {name: [e for e in abi if e["type"] == kind and e["name"] == name] for name in names}
    for name, several in found.items():
        if len(several) != 1:
            raise SystemExit(f"{kind} {name} occurs {len(several)} times; correct the lists in scripts/export_web.py")
    return [several[0] for several in found.values()]


def abi_module() -> str:
    """The text of abi.js."""
    functions: dict[str, list[Any]] = {}
    for contract, names in FUNCTIONS.items():
        abi = load(contract) + (list(SIGNED) if contract == "ERC20" else [])
        wanted = [*names, *(str(p["name"]) for p in SIGNED)] if contract == "ERC20" else names
        for entry in entries(abi, "function", wanted):
            selector = "0x" + keccak256(signature(entry).encode())[:4].hex()
            functions[f"{contract}.{entry['name']}"] = [selector, compact(entry["inputs"]), compact(entry["outputs"])]
    events: dict[str, list[Any]] = {}
    for contract, names in EVENTS.items():
        for entry in entries(load(contract), "event", names):
            topic = "0x" + keccak256(signature(entry).encode()).hex()
            indexed = "".join("1" if i["indexed"] else "0" for i in entry["inputs"])
            events[topic] = [f"{contract}.{entry['name']}", indexed, compact(entry["inputs"])]
    return HEADER + _export("FUNCTIONS", functions) + _export("EVENTS", events)


def explanations_module() -> str:
    """The text of explanations.js: selector -> [name, inputs, kinds of their values, why, what to do]."""
    errors: dict[str, list[Any]] = {}
    for path in sorted(SOURCE.glob("*.json")):
        for entry in load(path.stem):
            if entry["type"] == "error":
                selector = "0x" + keccak256(signature(entry).encode())[:4].hex()
                why, fix = EXPLANATIONS.get(entry["name"], ("", ""))
                kinds = [kind_of(entry["name"], i["name"]) for i in entry["inputs"]]
                errors[selector] = [entry["name"], compact(entry["inputs"]), kinds, why, fix]
    return HEADER + _export("ERRORS", dict(sorted(errors.items())))


def _export(name: str, value: Mapping[str, object]) -> str:
    lines = [
        f"  {json.dumps(key)}: {json.dumps(entry, separators=(',', ':'), ensure_ascii=False)},"
        for key, entry in value.items()
    ]
    return f"export const {name} = {{\n" + "\n".join(lines) + "\n};\n"


def write(*, check: bool) -> list[str]:
    """Write the files that are not fresh, or with `check` only name them."""
    TARGET.mkdir(parents=True, exist_ok=True)
    stale = []
    for name, text in (("abi.js", abi_module()), ("explanations.js", explanations_module())):
        path = TARGET / name
        if not path.exists() or path.read_text() != text:
            stale.append(name)
            if not check:
                path.write_text(text)
    return stale


def main() -> int:
    """Write the files, or with --check compare them. Exit 1 if --check finds a stale one."""
    parser = argparse.ArgumentParser(description="Write commonweight/web/js/generated/ from commonweight/abi/.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a committed file is stale")
    check = parser.parse_args().check
    stale = write(check=check)
    if check and stale:
        print(f"stale: {', '.join(stale)}; run python scripts/export_web.py", file=sys.stderr)
        return 1
    print(f"{len(stale)} file(s) written" if stale else "all files are fresh")
    return 0


if __name__ == "__main__":
    sys.exit(main())
