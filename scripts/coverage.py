"""Line and branch coverage of the contracts by their forge tests: `make coverage`.

Prints a table and ends with status 1 unless every line is reached and every branch is taken, or the branch is listed
with its reason in tests/forge/coverage-exceptions.md as `contracts/Name.sol:LINE`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXCEPTIONS = ROOT / "tests" / "forge" / "coverage-exceptions.md"
# Coverage compiles without the optimiser, so that code outgrows the limit. Random sequences reach nothing for sure.
LEFT_OUT = ("--no-match-test", "implementationsFitTheCodeSizeLimit", "--no-match-path", "tests/forge/invariant/*")


@dataclass
class FileCoverage:
    """Hits by line, and by (line, block, branch)."""

    lines: dict[int, int] = field(default_factory=dict)
    branches: dict[tuple[int, str, str], int] = field(default_factory=dict)

    @property
    def missed_lines(self) -> list[int]:
        return sorted(line for line, hits in self.lines.items() if hits == 0)

    @property
    def missed_branches(self) -> list[int]:
        return sorted({line for (line, _, _), hits in self.branches.items() if hits == 0})


def measure() -> str:
    """Runs the tests and returns their lcov report. Ends the program if a test fails."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "lcov.info"
        output = ["--report", "lcov", "--report-file", str(report)]
        command = [str(ROOT / "tools" / "forge.sh"), "coverage", *output, *LEFT_OUT]
        environment = {**os.environ, "FOUNDRY_FUZZ_RUNS": "16"}
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
        if done.returncode != 0 or not report.exists():
            sys.exit(f"{done.stdout}{done.stderr}error: the tests failed, so there is nothing to measure.")
        return report.read_text()


def parse(report: str) -> dict[str, FileCoverage]:
    """What an lcov report says of contracts/, mocks aside."""
    files: dict[str, FileCoverage] = defaultdict(FileCoverage)
    name = ""
    for line in report.splitlines():
        kind, _, rest = line.partition(":")
        if kind == "SF":
            name = rest
        if not name.startswith("contracts/") or name.startswith("contracts/mocks/"):
            continue
        if kind == "DA":
            number, hits = rest.split(",")[:2]
            files[name].lines[int(number)] = int(hits)
        elif kind == "BRDA":
            number, block, branch, hits = rest.split(",")
            files[name].branches[int(number), block, branch] = 0 if hits == "-" else int(hits)
    return dict(files)


def exceptions() -> set[str]:
    """The places whose branches need not be taken."""
    return set(re.findall(r"`(contracts/[\w/]+\.sol:\d+)`", EXCEPTIONS.read_text()))


def main() -> int:
    """Measures, prints, and tells by its result whether anything is missed."""
    files = parse(measure())
    allowed, used, failures = exceptions(), set(), []
    print(f"{'':44}{'lines':>12}{'branches':>12}")
    for name, found in sorted(files.items()):
        lines, branches = len(found.lines), len(found.branches)
        taken = sum(1 for hits in found.branches.values() if hits)
        print(f"{name:44}{f'{lines - len(found.missed_lines)}/{lines}':>12}{f'{taken}/{branches}':>12}")
        failures += [f"{name}:{line} is not reached" for line in found.missed_lines]
        for place in (f"{name}:{line}" for line in found.missed_branches):
            if place in allowed:
                used.add(place)
            else:
                failures.append(f"{place} has a branch that no test takes")
    failures += [f"{place} is listed in {EXCEPTIONS.name} but is covered" for place in sorted(allowed - used)]
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    return 1 if failures or not files else 0


if __name__ == "__main__":
    sys.exit(main())
