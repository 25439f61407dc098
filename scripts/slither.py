"""Run slither over the contracts and compare with tests/slither/exceptions.toml. Run it with `make slither`.

Every detector is on. A finding is accepted only where that file names its detector and its function, with a reason; an
entry that nothing needs any more is an error too. Exit status 1 if the two differ. The sources are compiled in one go,
by tools/solc, in a copy outside the checkout: below a foundry.toml slither would run forge and clear its artifacts.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SLITHER = ROOT / ".venv-slither" / "bin" / "slither"
EXCEPTIONS = ROOT / "tests" / "slither" / "exceptions.toml"
EVERYWHERE = "*"
# What may be excepted everywhere at once: matters of style, never of safety.
STYLE = {"Informational", "Optimization"}


@dataclass(frozen=True)
class Finding:
    """One result of a detector."""

    detector: str
    impact: str
    where: str
    description: str


def prepare(folder: Path) -> None:
    """Copy what is judged into `folder`, with one source that imports it all."""
    profile = tomllib.loads((ROOT / "foundry.toml").read_text())["profile"]["default"]
    shutil.copytree(ROOT / "contracts", folder / "contracts", ignore=shutil.ignore_patterns("mocks", ".cache"))
    (folder / "node_modules").symlink_to(ROOT / "node_modules", target_is_directory=True)
    units = sorted(path.relative_to(folder).as_posix() for path in (folder / "contracts").rglob("*.sol"))
    imports = "".join(f'import "./{unit}";\n' for unit in units)
    (folder / "All.sol").write_text(f"// SPDX-License-Identifier: Apache-2.0\npragma solidity 0.8.30;\n{imports}")
    options = f"--optimize --optimize-runs {profile['optimizer_runs']} --evm-version {profile['evm_version']}"
    config = {
        "solc": str(ROOT / profile["solc"]),
        "solc_args": options,
        "solc_remaps": (ROOT / "remappings.txt").read_text().split(),
        "compile_force_framework": "solc",
        "filter_paths": "node_modules",
        "disable_color": True,
    }
    (folder / "slither.config.json").write_text(json.dumps(config))


def run(folder: Path) -> list[Finding]:
    """Run slither in `folder`; raises SystemExit with its words if it fails."""
    report = folder / "report.json"
    done = subprocess.run(
        [str(SLITHER), "All.sol", "--json", str(report)], cwd=folder, capture_output=True, text=True, check=False
    )
    answer = json.loads(report.read_text()) if report.exists() else None
    if answer is None or not answer["success"]:
        raise SystemExit(f"{done.stdout}{done.stderr}\nerror: slither did not finish")
    return [
        Finding(result["check"], result["impact"], place(result["elements"]), result["description"].strip())
        for result in answer["results"].get("detectors", [])
    ]


def place(elements: list[dict[str, object]]) -> str:
    """`Contract.function` of the first thing that a result points at."""
    names: list[str] = []
    element: object = elements[0] if elements else None
    while isinstance(element, dict):
        if element.get("type") != "node":
            names.append(str(element.get("name")))
        fields = element.get("type_specific_fields")
        element = fields.get("parent") if isinstance(fields, dict) else None
    return ".".join(reversed(names)) if names else "?"


def main() -> int:
    """Compare findings and exceptions; returns the exit status."""
    listed: dict[tuple[str, str], bool] = {}
    for entry in tomllib.loads(EXCEPTIONS.read_text()).get("exception", []):
        if not str(entry["reason"]).strip():
            raise SystemExit(f"{EXCEPTIONS}: {entry['detector']} has no reason")
        for where in entry["where"]:
            listed[entry["detector"], where] = False
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name))
        findings = run(Path(name))
    new: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        exact = (finding.detector, finding.where)
        style = (finding.detector, EVERYWHERE)
        if exact in listed:
            listed[exact] = True
        elif style in listed and finding.impact in STYLE:
            listed[style] = True
        else:
            new[finding.detector].append(finding)
    unused = [key for key, used in listed.items() if not used]
    for detector, found in sorted(new.items()):
        for finding in found:
            print(f"{detector} ({finding.impact}) at {finding.where}")
            print("    " + finding.description.replace("\n", "\n    "))
    for detector, where in unused:
        print(f"excepted, but not found: {detector} at {where}")
    count = sum(map(len, new.values()))
    print(f"slither: {len(findings)} findings, {len(findings) - count} excepted with reasons, {count} not")
    return 1 if new or unused else 0


if __name__ == "__main__":
    sys.exit(main())
