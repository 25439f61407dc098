"""tools/solc runs npm's compiler behind native solc's command line, as forge, py-solc-x, Brownie and Ape call it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SOLC = ROOT / "tools" / "solc" / "solc-v0.8.30"
IMPORTING = '// SPDX-License-Identifier: Apache-2.0\npragma solidity 0.8.30;\nimport "%s"; contract A is B {}\n'
SOURCE = "// SPDX-License-Identifier: Apache-2.0\npragma solidity 0.8.30;\ncontract A { function f() external {} }\n"

pytestmark = pytest.mark.unit


def solc(*arguments: str, given: str = "", folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(SOLC), *arguments], input=given, capture_output=True, text=True, cwd=folder)


def test_version_reads_as_native_solc_prints_it() -> None:
    assert "\nVersion: 0.8.30+commit.73712a01" in solc("--version").stdout


def test_standard_json_reads_imports_from_base_and_include_paths(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "B.sol").write_text(SOURCE.replace("contract A", "contract B"))
    asked = {
        "language": "Solidity",
        "sources": {"A.sol": {"content": IMPORTING % "B.sol"}},
        "settings": {"outputSelection": {"*": {"*": ["evm.bytecode.object", "abi"]}}},
    }
    done = solc("--base-path", ".", "--include-path", "lib", "--allow-paths", ".", "--standard-json",
                given=json.dumps(asked), folder=tmp_path)  # fmt: skip
    contract = json.loads(done.stdout)["contracts"]["A.sol"]["A"]
    assert [entry["name"] for entry in contract["abi"]] == ["f"]
    assert contract["evm"]["bytecode"]["object"].startswith("60")


def test_combined_json_names_units_relative_to_the_folder_and_takes_remappings(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "B.sol").write_text(SOURCE.replace("contract A", "contract B"))
    (tmp_path / "A.sol").write_text(IMPORTING % "far/B.sol")
    done = solc("--combined-json", "abi,bin,srcmap-runtime,hashes,ast", "far/=deep/", "A.sol", folder=tmp_path)
    answer = json.loads(done.stdout)
    assert set(answer["contracts"]) == {"A.sol:A", "deep/B.sol:B"}
    assert answer["contracts"]["A.sol:A"]["hashes"] == {"f()": "26121ff0"}
    assert answer["sourceList"] == ["A.sol", "deep/B.sol"]
    assert answer["sources"]["A.sol"]["AST"]["nodeType"] == "SourceUnit"


def test_a_source_that_does_not_compile_ends_with_1_and_says_where() -> None:
    done = solc("--combined-json", "abi", "-", given=SOURCE.replace("external", "extrnal"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "<stdin>:3:" in done.stderr


def test_an_unknown_option_is_refused() -> None:
    done = solc("--no-such-option")
    assert done.returncode == 1
    assert "--no-such-option" in done.stderr
