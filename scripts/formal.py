"""Prove arithmetic and tree code of the contracts for every input in range. Run it with `make formal`.

Two provers, each for what it can: halmos runs the bytecode of tests/formal/*Checks.sol with symbolic arguments (trees
and lists: no product of unknowns), and the compiler's own SMTChecker proves the assertions of tests/formal/*Proofs.sol
over the integers (products and quotients of unknowns). Exit status 1 unless every assertion is proved: an answer of
"might happen" counts as much against it as a counterexample. docs/analysis.md says what is proved and what is not.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from export_abi import closure, load_profile, optimized_throughout
from mutants.compiler import Compiler

ROOT = Path(__file__).resolve().parent.parent
FORMAL = ROOT / "tests" / "formal"
HALMOS = ROOT / ".venv-formal" / "bin" / "halmos"
# What the SMTChecker reads in place of what is written, since shifts and the bit tricks of OpenZeppelin's Math take it
# from the integers to bit vectors, where it gets stuck. SubstitutionChecks.sol proves each pair equal, by halmos, where
# the right one does not overflow, and that it does not is proved along with the assertions.
SHIFTS = ((re.compile(r"<< SCALE_BITS\b"), "* 2 ** SCALE_BITS"), (re.compile(r">> SCALE_BITS\b"), "/ 2 ** SCALE_BITS"))
MATH = "@openzeppelin/contracts/utils/math/Math.sol"
MATH_MODEL = (FORMAL / "MathModel.sol").read_text()
PROVED, UNSUPPORTED = "2961", "5724"
ASSERTION = re.compile(r"^\s*assert\(", re.MULTILINE)


def halmos() -> bool:
    """Run every check_ function; True if all pass."""
    forge = next((ROOT / "node_modules" / "@foundry-rs").glob("forge-*/bin/forge*"), None)
    if forge is None or not HALMOS.exists():
        raise SystemExit("error: no forge or no halmos: run `make formal`")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(ROOT / "contracts", folder / "contracts", ignore=shutil.ignore_patterns("mocks", ".cache"))
        (folder / "tests" / "formal").mkdir(parents=True)
        for source in FORMAL.glob("*Checks.sol"):
            shutil.copy(source, folder / "tests" / "formal")
        config = optimized_throughout()
        config = config.replace('src = "contracts"', 'src = "tests/formal"').replace("tests/forge", "tests/formal")
        (folder / "foundry.toml").write_text(config)
        shutil.copy(ROOT / "remappings.txt", folder)
        for link in ("node_modules", "tools"):
            (folder / link).symlink_to(ROOT / link, target_is_directory=True)
        environment = {**os.environ, "PATH": f"{forge.parent}{os.pathsep}{os.environ['PATH']}"}
        command = [str(HALMOS), "--loop", "24", "--solver", "z3", "--solver-timeout-assertion", "600s", "--no-status"]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    results = re.findall(r"\[(PASS|FAIL|TIMEOUT|ERROR)\]\S* (\w+)", done.stdout)
    for result, check in results:
        print(f"halmos      {result:8} {check}")
    expected = sum(len(re.findall(r"function check_", path.read_text())) for path in FORMAL.glob("*Checks.sol"))
    if done.returncode != 0 or len(results) != expected:
        print(done.stdout[-6000:] + done.stderr[-2000:], file=sys.stderr)
        return False
    return all(result == "PASS" for result, _ in results)


def smt_checker(path: Path, compiler: Compiler) -> bool:
    """Prove the assertions, and the absence of overflow, in one file; True if all of them are proved."""
    unit = path.relative_to(ROOT).as_posix()
    sources: dict[str, str] = {}
    needs = closure(unit, sources)
    _, settings = load_profile()
    for pattern, replacement in SHIFTS:
        sources = {name: pattern.sub(replacement, text) for name, text in sources.items()}
    settings["modelChecker"] = {
        "engine": "bmc",
        "targets": ["assert", "overflow", "underflow", "divByZero"],
        "contracts": {unit: [path.stem]},
        "showProvedSafe": True,
        "showUnproved": True,
    }
    settings["outputSelection"] = {unit: {path.stem: ["abi"]}}
    texts = {name: {"content": MATH_MODEL if name == MATH else sources[name]} for name in needs}
    answer = compiler.ask({"language": "Solidity", "sources": texts, "settings": settings})
    proved, open_ = 0, []
    messages = answer.get("errors", [])
    for message in messages if isinstance(messages, list) else []:
        if message["errorCode"] == PROVED:
            proved += 1
        elif message["severity"] != "info" and message["errorCode"] != UNSUPPORTED:
            open_.append(str(message["formattedMessage"]))
    for text in open_:
        print(text, file=sys.stderr)
    fine = not open_ and proved >= len(ASSERTION.findall(sources[unit]))
    print(f"SMTChecker  {'PASS' if fine else 'FAIL':8} {path.stem}: {proved} proved, {len(open_)} not")
    return fine


def main() -> int:
    """Run both provers; returns the exit status."""
    began = time.monotonic()
    fine = halmos()
    compiler = Compiler()
    try:
        for path in sorted(FORMAL.glob("*Proofs.sol")):
            fine = smt_checker(path, compiler) and fine
    finally:
        compiler.close()
    print(f"{'all proved' if fine else 'not all proved'} in {time.monotonic() - began:.0f} s")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
