"""Files that are generated or resolved and then committed are what their sources say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
LOCKS = ("package-lock.json", "tools/ipfs-node/package-lock.json")
PINS = ("constraints.txt", "tests/brownie/constraints.txt", "tests/ape/constraints.txt")


@pytest.mark.unit
def test_the_abis_are_what_the_contracts_compile_to() -> None:
    command = [sys.executable, "scripts/export_abi.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, f"{done.stderr}\nRun `make abi` and commit the result."


@pytest.mark.unit
def test_a_compilers_input_for_an_explorer_gives_the_committed_code(tmp_path: Path) -> None:
    command = [sys.executable, "scripts/export_abi.py", "--standard-json", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    committed = {path.stem for path in (ROOT / "commonweight" / "abi").glob("*.json")} - {"ERC20"}
    assert {path.stem for path in tmp_path.glob("*.json")} == committed
    name = "CheckpointRegistry"
    solc = [str(ROOT / "tools" / "solc" / "solc-v0.8.30"), "--standard-json"]
    request = (tmp_path / f"{name}.json").read_text()
    done = subprocess.run(solc, input=request, check=True, capture_output=True, text=True)
    code = json.loads(done.stdout)["contracts"][f"contracts/{name}.sol"][name]["evm"]["bytecode"]["object"]
    assert json.loads((ROOT / "commonweight" / "abi" / f"{name}.json").read_text())["bytecode"] == "0x" + code


@pytest.mark.chain
def test_the_gas_snapshot_is_what_the_contracts_use() -> None:
    command = [sys.executable, "scripts/gas_snapshot.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\nRun `make gas` and commit the result."


@pytest.mark.unit
@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_names_exact_versions_and_no_registry(lock: str) -> None:
    entries = json.loads((ROOT / lock).read_text())["packages"]
    manifest = json.loads((ROOT / lock).with_name("package.json").read_text())
    wanted = {**manifest.get("dependencies", {}), **manifest.get("devDependencies", {})}
    assert {name: entries[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    assert not [name for name, entry in entries.items() if "resolved" in entry]
    unchecked = {name for name, entry in entries.items() if name and "integrity" not in entry}
    # Builds of the chain for other systems, which npm leaves alone where this lock file is made.
    assert {name for name in unchecked if not name.startswith("node_modules/@foundry-rs/")} == set()


@pytest.mark.unit
@pytest.mark.parametrize("pins", PINS)
def test_constraints_pin_one_exact_version_each(pins: str) -> None:
    lines = [line for line in (ROOT / pins).read_text().splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line)] == []
    names = [re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in lines]
    assert len(names) == len(set(names))


@pytest.mark.unit
def test_every_direct_requirement_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    names = {re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~ ]", line)[0]).lower() for line in asked} - {"commonweight"}
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    assert names <= {re.sub(r"[-_.]+", "-", name).lower() for name in pinned}
