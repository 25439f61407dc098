"""The compiler kept loaded, and what a mutated source makes of the contracts that need it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from export_abi import closure, load_profile

ROOT = Path(__file__).resolve().parent.parent.parent
# solcjs never gives its memory back, so that its process is changed now and then.
COMPILES_PER_PROCESS = 200
DEPLOYABLE = re.compile(r"^(?:contract) (\w+)", re.MULTILINE)
LIBRARY = re.compile(r"^library (\w+)", re.MULTILINE)

# Creation and runtime code by (source unit, contract).
Bytecodes = dict[tuple[str, str], tuple[str, str]]


class CompileError(Exception):
    """What the compiler refuses: a stillborn mutant."""


class Compiler:
    """One Node process that answers standard-JSON requests, one at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._done = 0

    def ask(self, request: Mapping[str, object]) -> dict[str, object]:
        """The compiler's answer to one standard-JSON request."""
        if self._process is None or self._done >= COMPILES_PER_PROCESS:
            self.close()
            server = str(ROOT / "tools" / "solc" / "server.cjs")
            self._process = subprocess.Popen(
                ["node", server], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
        self._done += 1
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the compiler was started without pipes")
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            status = process.wait()
            self._process = None
            raise RuntimeError(f"the compiler's process ended with status {status}")
        answer: dict[str, object] = json.loads(line)
        return answer

    def compile(self, sources: Mapping[str, str], selection: Mapping[str, object]) -> dict[str, object]:
        """The answer to a request with the project's settings; raises CompileError with the compiler's messages."""
        _, settings = load_profile()
        request = {
            "language": "Solidity",
            "sources": {name: {"content": text} for name, text in sorted(sources.items())},
            "settings": {**settings, "outputSelection": selection},
        }
        answer = self.ask(request)
        errors = answer.get("errors", [])
        if not isinstance(errors, list):
            raise CompileError(f"unexpected answer: {errors}")
        fatal = [str(error["formattedMessage"]) for error in errors if error["severity"] == "error"]
        if fatal:
            raise CompileError("\n".join(fatal))
        return answer

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdin and self._process.stdout:
                self._process.stdin.close()
                self._process.stdout.close()
        self._process, self._done = None, 0


@dataclass(frozen=True)
class Sources:
    """The contracts and tests as they are now: the text of each unit, and which units each one needs."""

    text: dict[str, str]
    needs: dict[str, frozenset[str]]
    mutable: tuple[str, ...]
    tests: tuple[str, ...]

    @classmethod
    def load(cls) -> Sources:
        """Read contracts/ and tests/forge from the working tree."""

        def below(folder: str, pattern: str) -> tuple[str, ...]:
            return tuple(sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / folder).glob(pattern)))

        mutable = below("contracts", "*.sol") + below("contracts/libraries", "*.sol")
        tests = below("tests/forge", "**/*.sol")
        text: dict[str, str] = {}
        needs = {unit: closure(unit, text) for unit in (*mutable, *tests)}
        return cls(text, needs, mutable, tests)

    def targets(self, unit: str) -> list[str]:
        """The units whose contracts carry code of `unit`: deployable contracts, and tests that call it as a library."""
        contracts = [name for name in self.mutable if unit in self.needs[name] and DEPLOYABLE.search(self.text[name])]
        called = LIBRARY.findall(self.text[unit])
        calls = re.compile(rf"\b(?:{'|'.join(called)})\.[a-z]\w*\(") if called else None
        return contracts + [
            name for name in self.tests if calls and unit in self.needs[name] and calls.search(self.text[name])
        ]

    def build(self, compiler: Compiler, units: list[str], changed: Mapping[str, str]) -> Bytecodes:
        """Compile the contracts of `units` with the texts in `changed` in place of the real ones."""
        wanted = frozenset[str]().union(*(self.needs[unit] for unit in units))
        sources = {name: changed.get(name, self.text[name]) for name in wanted}
        parts = ["evm.bytecode.object", "evm.deployedBytecode.object"]
        answer = compiler.compile(sources, {unit: {"*": parts} for unit in units})
        contracts = answer["contracts"]
        codes: Bytecodes = {}
        if isinstance(contracts, dict):
            for unit, found in contracts.items():
                for name, contract in found.items():
                    evm = contract["evm"]
                    if evm["bytecode"]["object"]:
                        codes[unit, name] = ("0x" + evm["bytecode"]["object"], "0x" + evm["deployedBytecode"]["object"])
        return codes

    def trees(self, compiler: Compiler) -> dict[str, dict[str, object]]:
        """The syntax tree of each mutable unit."""
        wanted = frozenset[str]().union(*(self.needs[unit] for unit in self.mutable))
        answer = compiler.compile({name: self.text[name] for name in wanted}, {"*": {"": ["ast"]}})
        found = answer["sources"]
        if not isinstance(found, dict):
            raise CompileError("the compiler gave no syntax trees")
        return {unit: found[unit]["ast"] for unit in self.mutable}
