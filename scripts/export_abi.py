"""Compile the contracts and write one JSON file each into commonweight/abi/.

Run `python scripts/export_abi.py` after a change of a contract, or with `--check` to learn whether the committed files
are what the sources compile to. With `--standard-json FOLDER` it writes the compiler's whole input for each contract
there, which block explorers take for source verification (`make standard-json`). The compiler is the one that
foundry.toml names (npm solc behind native solc's command line), driven through its standard JSON with foundry.toml's
settings, so that forge, Brownie, Ape and the wheel agree. A file holds `abi`, `bytecode`, `deployedBytecode`,
`immutableReferences` and `sourceSha256`, the sha256 of the canonical JSON of compiler settings and of every source that
the contract needs, as canonical JSON itself.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "commonweight" / "abi"
CONTRACTS = (
    "RunFactory",
    "Campaign",
    "ProviderRegistry",
    "CreditOracle",
    "CreditLedger",
    "CheckpointRegistry",
    "RevenueDistributor",
    "InferencePayments",
    "Disputes",
)
# The asset of a run may be any ERC-20: its ABI only, under the name that callers look for.
TOKEN_SOURCE = "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol"
TOKEN_CONTRACT, TOKEN_FILE = "IERC20Metadata", "ERC20"
TESTS_PROFILE = re.compile(r"^additional_compiler_profiles.*?^\]\n", re.MULTILINE | re.DOTALL)
IMPORT = re.compile(r'import\s+(?:[^"\';]*\sfrom\s+)?["\']([^"\']+)["\']\s*;')

Settings = dict[str, object]


def canonical(value: object) -> str:
    """JSON with sorted keys and no white space: RFC 8785 for the ASCII strings and small integers used here."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def optimized_throughout() -> str:
    """foundry.toml without the profile that leaves tests unoptimized, for those whose tests hold what is looked at: a
    library's code is in the contract that tests it.
    """
    config, found = TESTS_PROFILE.subn("", (ROOT / "foundry.toml").read_text())
    assert found == 1
    return config


def load_profile() -> tuple[Path, Settings]:
    """Read compiler path and settings from foundry.toml's default profile."""
    profile = tomllib.loads((ROOT / "foundry.toml").read_text())["profile"]["default"]
    settings: Settings = {
        "optimizer": {"enabled": profile["optimizer"], "runs": profile["optimizer_runs"]},
        "evmVersion": profile["evm_version"],
        "viaIR": profile["via_ir"],
        "metadata": {"bytecodeHash": profile["bytecode_hash"], "appendCBOR": profile["cbor_metadata"]},
        "outputSelection": {
            "*": {
                "*": [
                    "abi",
                    "evm.bytecode.object",
                    "evm.deployedBytecode.object",
                    "evm.deployedBytecode.immutableReferences",
                ]
            }
        },
    }
    return ROOT / str(profile["solc"]), settings


def source_path(unit: str) -> Path:
    """The file behind a source unit name: the project's own or an npm package's."""
    return ROOT / "node_modules" / unit if unit.startswith("@") else ROOT / unit


def resolve(importer: str, target: str) -> str:
    """The source unit name that an import statement in `importer` means."""
    if not target.startswith("."):
        return target
    parts = importer.split("/")[:-1]
    for step in target.split("/"):
        if step == "..":
            parts.pop()
        elif step != ".":
            parts.append(step)
    return "/".join(parts)


def closure(unit: str, sources: dict[str, str]) -> frozenset[str]:
    """All source units that `unit` needs, itself included; fills `sources` with their text."""
    found: set[str] = set()
    queue = [unit]
    while queue:
        name = queue.pop()
        if name in found:
            continue
        found.add(name)
        sources[name] = source_path(name).read_text()
        queue.extend(resolve(name, target) for target in IMPORT.findall(sources[name]))
    return frozenset(found)


def standard_json() -> dict[str, str]:
    """The compiler's whole input for each contract alone: file name -> content."""
    _, settings = load_profile()
    files: dict[str, str] = {}
    for name in CONTRACTS:
        sources: dict[str, str] = {}
        closure(f"contracts/{name}.sol", sources)
        content = {unit: {"content": sources[unit]} for unit in sorted(sources)}
        files[f"{name}.json"] = canonical({"language": "Solidity", "sources": content, "settings": settings})
    return files


def compile_all() -> dict[str, str]:
    """Compile and return file name -> file content. Raises SystemExit with the compiler's messages if it fails."""
    compiler, settings = load_profile()
    sources: dict[str, str] = {}
    units = {name: f"contracts/{name}.sol" for name in CONTRACTS}
    needs = {unit: closure(unit, sources) for unit in [*units.values(), TOKEN_SOURCE]}
    request = {
        "language": "Solidity",
        "sources": {name: {"content": sources[name]} for name in sorted(sources)},
        "settings": settings,
    }
    done = subprocess.run(
        [str(compiler), "--standard-json"], input=canonical(request), capture_output=True, text=True, check=True
    )
    answer = json.loads(done.stdout)
    errors = [e["formattedMessage"] for e in answer.get("errors", ()) if e["severity"] == "error"]
    if errors:
        raise SystemExit("\n".join(errors))
    files: dict[str, str] = {}
    wanted = [(name, unit, name) for name, unit in units.items()] + [(TOKEN_FILE, TOKEN_SOURCE, TOKEN_CONTRACT)]
    for file, unit, contract in wanted:
        output = answer["contracts"][unit][contract]
        binding = {"settings": settings, "sources": {name: sources[name] for name in needs[unit]}}
        files[f"{file}.json"] = canonical(
            {
                "abi": output["abi"],
                "bytecode": "0x" + output["evm"]["bytecode"]["object"],
                "deployedBytecode": "0x" + output["evm"]["deployedBytecode"]["object"],
                "immutableReferences": output["evm"]["deployedBytecode"].get("immutableReferences", {}),
                "sourceSha256": hashlib.sha256(canonical(binding).encode()).hexdigest(),
            }
        )
    return files


def main() -> int:
    """Write the files, or with --check compare them. Exit 1 if --check finds a stale one."""
    parser = argparse.ArgumentParser(description="Write commonweight/abi/ from the contracts' sources.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a committed file is stale")
    inputs = "write the compiler's input for each contract there instead"
    parser.add_argument("--standard-json", type=Path, metavar="FOLDER", help=inputs)
    options = parser.parse_args()
    if options.standard_json is not None:
        options.standard_json.mkdir(parents=True, exist_ok=True)
        for name, content in standard_json().items():
            (options.standard_json / name).write_text(content)
        print(f"{len(CONTRACTS)} files in {options.standard_json}")
        return 0
    check = options.check
    TARGET.mkdir(parents=True, exist_ok=True)
    stale = []
    for name, content in compile_all().items():
        path = TARGET / name
        if path.exists() and path.read_text() == content:
            continue
        stale.append(name)
        if not check:
            path.write_text(content)
    if check and stale:
        print(f"stale: {', '.join(sorted(stale))}; run python scripts/export_abi.py", file=sys.stderr)
        return 1
    print(f"{len(stale)} file(s) written" if stale else "all files are fresh")
    return 0


if __name__ == "__main__":
    sys.exit(main())
