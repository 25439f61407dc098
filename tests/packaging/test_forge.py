"""A forge run that fails must fail the target that started it: npm's own launcher would report success."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.unit
def test_forge_ends_with_its_own_status(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "foundry.toml").write_text(
        f'[profile.default]\nsrc = "src"\nsolc = "{ROOT / "tools" / "solc" / "solc-v0.8.30"}"\noffline = true\n'
    )
    source = tmp_path / "src" / "A.sol"
    command = [str(ROOT / "tools" / "forge.sh"), "build", "--root", str(tmp_path)]
    source.write_text("// SPDX-License-Identifier: Apache-2.0\npragma solidity 0.8.30;\ncontract A {}\n")
    assert subprocess.run(command, capture_output=True).returncode == 0
    source.write_text("contract A is B {}\n")
    assert subprocess.run(command, capture_output=True).returncode != 0
