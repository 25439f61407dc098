"""Mutants are what the operators say, keep their names, and are judged once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from mutants.compiler import CompileError, Compiler, Sources
from mutants.operators import Mutant, mutate
from mutants.record import Judged, Record

pytestmark = pytest.mark.unit

SOURCE = """// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;
contract Box {
    error Full(uint256 room);
    event Put(uint256 amount, uint256 total);
    uint256 internal constant LIMIT = 10;
    uint256 public total;
    modifier open() { if (total == 99) revert Full(0); _; }
    function put(uint256 amount, bool twice) external open returns (bool) {
        if (amount == 0 || amount > LIMIT) revert Full(LIMIT - total);
        for (uint256 i = 0; i < 3; ++i) total += amount;
        if (twice && amount != 1) total = total - 1;
        emit Put(amount, total);
        return twice ? total >= 5 : false;
    }
}
"""


@pytest.fixture(scope="module")
def compiler() -> Iterator[Compiler]:
    compiler = Compiler()
    yield compiler
    compiler.close()


def mutants_of(compiler: Compiler, source: str) -> list[Mutant]:
    answer = compiler.compile({"Box.sol": source}, {"*": {"": ["ast"]}})
    return mutate("Box.sol", source, answer["sources"]["Box.sol"]["ast"])


def test_operators(compiler: Compiler) -> None:
    made = {(mutant.operator, mutant.after) for mutant in mutants_of(compiler, SOURCE)}
    assert made >= {
        ("constant", "uint256 internal constant LIMIT = 11"),
        ("modifier", "function put(uint256 amount, bool twice) external returns (bool)"),
        ("clause", "if (amount == 0"),
        ("clause", "if (amount > LIMIT"),
        ("boundary", "if (amount == 0 || amount >= LIMIT"),
        ("guard", "if (false"),
        ("condition", "if (false"),
        ("clause", "if (twice"),
        ("assignment", "total -= amount"),
        ("assignment", "total = amount"),
        ("removal", "{}"),
        ("operand", "total = total"),
        ("arithmetic", "total = total + 1"),
        ("swap", "emit Put(total, amount)"),
        ("branch", "return total >= 5"),
        ("verdict", "return false"),
    }


def test_nothing_in_the_arguments_of_errors_nor_in_the_step_of_a_loop(compiler: Compiler) -> None:
    for mutant in mutants_of(compiler, SOURCE):
        assert "revert Full(LIMIT - total)" in mutant.content
        assert "++i)" in mutant.content


def test_what_the_clauses_imply_is_left_out(compiler: Compiler) -> None:
    line = next(number for number, text in enumerate(SOURCE.splitlines(), 1) if "amount == 0 ||" in text)
    mine = [mutant for mutant in mutants_of(compiler, SOURCE) if mutant.line == line]
    assert not [mutant for mutant in mine if mutant.operator in ("guard", "equality")]


def test_every_mutant_differs_and_has_a_name_of_its_own(compiler: Compiler) -> None:
    mutants = mutants_of(compiler, SOURCE)
    assert len({mutant.content for mutant in mutants} | {SOURCE}) == len(mutants) + 1
    assert len({mutant.id for mutant in mutants}) == len(mutants)


def test_names_outlive_changes_elsewhere(compiler: Compiler) -> None:
    moved = SOURCE.replace("contract Box {", "contract Box {\n    // A remark.\n    uint256 internal other;\n")
    before, after = mutants_of(compiler, SOURCE), mutants_of(compiler, moved)
    assert [mutant.id for mutant in before] == [mutant.id for mutant in after]


def test_a_mutant_that_does_not_compile_is_told_from_one_that_does(compiler: Compiler) -> None:
    with pytest.raises(CompileError, match="Undeclared identifier"):
        mutants_of(compiler, SOURCE.replace("LIMIT - total", "nothing"))


def test_a_library_is_tried_in_every_contract_that_carries_it() -> None:
    sources = Sources.load()
    targets = set(sources.targets("contracts/libraries/SumTree.sol"))
    assert {"contracts/CreditLedger.sol", "contracts/Disputes.sol"} <= targets
    assert sources.targets("contracts/RootGame.sol") == ["contracts/Disputes.sol"]


def test_a_killed_run_loses_only_the_line_that_it_was_writing(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    record = Record(path)
    record.add(Judged("a", "1", "killed"))
    record.add(Judged("b", "1", "survived"))
    with path.open("a") as file:
        file.write('{"id": "c", "outc')
    again = Record(path)
    again.add(Judged("d", "1", "killed"))
    assert [judged.id for judged in Record(path).all()] == ["a", "b", "d"]
