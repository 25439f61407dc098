"""docs/cli.md, docs/errors.md and the kept help texts are what the program is."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from functools import cache

import pytest

from commonweight import errors
from tests.cli.conftest import ROOT
from tests.cli.schema import TYPES, differences, schemas

pytestmark = pytest.mark.unit
PAGE = (ROOT / "docs" / "cli.md").read_text()


@cache
def options() -> dict[tuple[str, ...], set[str]]:
    """The options of every command, and of every group of them, by its words."""
    spec = importlib.util.spec_from_file_location("export_cli_docs", ROOT / "scripts" / "export_cli_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    root, found = module.program(), {}
    for words in module.tree(root):
        command = root
        for word in words:
            command = command.commands[word]
        found[words] = {name for p in command.params for name in p.opts} | {"--help"}
    return found


def commands() -> dict[tuple[str, ...], bool]:
    """Every command with whether it takes --json."""
    known = options()
    groups = {words[:place] for words in known for place in range(len(words))}
    return {words: "--json" in names for words, names in known.items() if words not in groups}


def test_help_texts_and_the_errors_page_are_fresh() -> None:
    command = [sys.executable, "scripts/export_cli_docs.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT), "PATH": ""})
    assert done.returncode == 0, f"{done.stdout}{done.stderr}Look at them, run `make cli-docs` and commit the result."


def test_every_json_answer_is_documented_and_every_documented_command_is_there() -> None:
    taking = {words for words, takes in commands().items() if takes}
    assert taking == set(schemas()) - {("COMMAND", "--unsigned"), ("provider", "credits", "--explain")}
    without = {words for words, takes in commands().items() if not takes}
    services = {("provider", "start"), ("oracle", "start"), ("infer", "serve"), ("audit", "watch")}
    assert without == services | {("run", "template"), ("config", "template")}


def test_a_schema_knows_its_types_and_finds_what_differs() -> None:
    def names(schema: object) -> set[str]:
        if isinstance(schema, str):
            return {schema.removesuffix("?")}
        return set().union(*map(names, schema.values() if isinstance(schema, dict) else schema))

    assert set().union(*map(names, schemas().values())) <= set(TYPES)
    schema = {"a": "integer", "b?": "text", "c": ["amount"], "d": "time?"}
    assert differences(schema, {"a": 1, "c": ["5"], "d": None}) == []
    assert len(differences(schema, {"a": True, "b": None, "c": ["05"], "e": 1})) == 5


def test_the_table_of_exit_codes_is_the_errors_own() -> None:
    rows = re.findall(r"^\| ([0-9]+) \|[^|]*\|(.*)\|$", PAGE, re.MULTILINE)
    told = {name: int(code) for code, names in rows for name in re.findall(r"`(\w+)`", names)}
    classes = {n: c for n, c in vars(errors).items() if isinstance(c, type) and issubclass(c, errors.CommonweightError)}
    assert told == {n: c.exit_code for n, c in classes.items() if c.exit_code != 1}
    assert {int(code) for code, _ in rows} == {0, 1, 2, 3, 70, 130}
