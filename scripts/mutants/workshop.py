"""Private copies of the project in which the tests meet a mutated contract.

The tests load contracts from forge's artifacts by name, and forge rebuilds only what a changed source asks for. So a
mutant is put to the test by writing its bytecode into the copy's artifacts: nothing is compiled but the mutant. Three
things keep a mutant from surviving because it was never run: before the first one, the compiler kept loaded must give
forge's own bytecode; a contract that cannot be deployed must fail the tests; and after each run the artifacts must
still hold the mutant.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from export_abi import optimized_throughout

from mutants.compiler import ROOT, Bytecodes

FORGE = ROOT / "tools" / "forge.sh"
TIME_LIMIT_S = 600.0
# A failing test's line, or for an invariant the lines down to its name, with the sequence of calls in between.
FAILURE = re.compile(r"^\[FAIL.*?\b(\w+)\([\w\[\],]*\) \((?:gas|runs):", re.MULTILINE | re.DOTALL)
SUITE = re.compile(r"^(?:Ran|Running) \d+ tests? for ([^\s:]+):(\w+)", re.MULTILINE)
# Always reverts on creation.
FATAL = ("0x60006000fd", "0x60006000fd")


class WorkshopError(Exception):
    """The machinery itself did not do what it must; no mutant is judged by it."""


@dataclass(frozen=True)
class Verdict:
    """Which test failed first, or that none did."""

    killer: str | None


@dataclass
class Workshop:
    """One copy of contracts and tests with artifacts of its own; used by one worker at a time."""

    folder: Path
    _clean: dict[Path, str] = field(default_factory=dict)

    @classmethod
    def make(cls, folder: Path) -> Workshop:
        """Copy the project into `folder`, afresh but for artifacts that are still right, and build it."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("contracts", "tests"):
            shutil.rmtree(folder / name, ignore_errors=True)
        shutil.copytree(ROOT / "contracts", folder / "contracts", ignore=shutil.ignore_patterns(".cache"))
        shutil.copytree(ROOT / "tests" / "forge", folder / "tests" / "forge")
        (folder / "foundry.toml").write_text(optimized_throughout())
        shutil.copy(ROOT / "remappings.txt", folder)
        for name in ("node_modules", "tools"):
            if not (folder / name).is_symlink():
                (folder / name).symlink_to(ROOT / name, target_is_directory=True)
        # An interrupted run may have left a mutant in the artifacts, which forge would take for clean.
        mark = folder / "clean"
        if not mark.exists():
            shutil.rmtree(folder / "out", ignore_errors=True)
            shutil.rmtree(folder / "cache", ignore_errors=True)
        shop = cls(folder)
        shop._run("build")
        mark.touch()
        return shop

    def copy(self, folder: Path) -> Workshop:
        """Another workshop with the same artifacts."""
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.folder, folder, symlinks=True)
        return Workshop(folder)

    def _artifact(self, unit: str, contract: str) -> Path:
        path = self.folder / "out" / Path(unit).name / f"{contract}.json"
        if not path.exists():
            raise WorkshopError(f"{path} is missing: two sources of one name?")
        return path

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(FORGE), *arguments, "--root", str(self.folder)]
        # Nobody reads a counterexample here, so none is made shorter.
        environment = {**os.environ, "NO_COLOR": "1", "FOUNDRY_INVARIANT_SHRINK_RUN_LIMIT": "0"}
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            cwd=self.folder,
            start_new_session=True,
        ) as process:
            try:
                output, _ = process.communicate(timeout=TIME_LIMIT_S)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        if arguments[0] == "build" and process.returncode != 0:
            raise WorkshopError(output)
        return subprocess.CompletedProcess(command, process.returncode, output, "")

    def expect(self, codes: Bytecodes) -> None:
        """Raise unless forge's artifacts hold exactly these bytecodes."""
        for (unit, contract), (creation, runtime) in codes.items():
            artifact = json.loads(self._artifact(unit, contract).read_text())
            if (artifact["bytecode"]["object"], artifact["deployedBytecode"]["object"]) != (creation, runtime):
                raise WorkshopError(f"the artifact of {contract} is not what was put there or compiled")

    def put(self, codes: Bytecodes) -> None:
        """Write bytecodes into the artifacts."""
        (self.folder / "clean").unlink(missing_ok=True)
        for (unit, contract), (creation, runtime) in codes.items():
            path = self._artifact(unit, contract)
            text = self._clean.setdefault(path, path.read_text())
            artifact = json.loads(text)
            artifact["bytecode"]["object"], artifact["deployedBytecode"]["object"] = creation, runtime
            path.write_text(json.dumps(artifact))

    def restore(self) -> None:
        """Undo every `put`."""
        for path, text in self._clean.items():
            path.write_text(text)
        self._clean.clear()
        (self.folder / "clean").touch()

    def test(self, selections: list[list[str]]) -> Verdict:
        """Run the selections of tests in turn, up to the first failure."""
        for selection in selections:
            try:
                done = self._run("test", "--jobs", "1", "--fail-fast", *selection)
            except subprocess.TimeoutExpired:
                return Verdict("(time limit)")
            if done.returncode == 0:
                if not SUITE.search(done.stdout):
                    raise WorkshopError(f"no test ran for {selection}:\n{done.stdout[-2000:]}")
                continue
            failed = FAILURE.search(done.stdout)
            if failed is None:
                raise WorkshopError(f"forge failed without a failing test:\n{done.stdout[-4000:]}")
            suites = [match for match in SUITE.finditer(done.stdout) if match.start() < failed.start()]
            place = f"{suites[-1][1]}:{suites[-1][2]}" if suites else "?"
            return Verdict(f"{place}.{failed[1]}")
        return Verdict(None)

    def try_out(self, codes: Bytecodes, selections: list[list[str]]) -> Verdict:
        """Put bytecodes, test, make sure that they are what was tested, and undo."""
        self.put(codes)
        try:
            verdict = self.test(selections)
            self.expect(codes)
            return verdict
        finally:
            self.restore()
