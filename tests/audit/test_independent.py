"""The run as a stranger's own program sees it, which imports nothing of ours: sections 4.3 and 6 of the
specification.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.audit.staging import Staged

pytestmark = [pytest.mark.chain, pytest.mark.timeout(600)]
STRANGER = Path(__file__).with_name("stranger.py")


def test_the_stranger_imports_nothing_of_ours() -> None:
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name) or ""
        for node in ast.walk(ast.parse(STRANGER.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert not {name for name in imported if name.split(".")[0] in ("commonweight", "oracle", "trainer", "tests")}


def test_the_stranger_finds_the_same_roots_and_credits(run: Staged) -> None:
    command = [sys.executable, str(STRANGER), run.world.url, str(run.store.folder), run.run.address]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    epochs = json.loads(found.stdout)
    assert [epoch["epoch"] for epoch in epochs] == [0, 1]
    for epoch in epochs:
        assert epoch["root_rebuilt"] == epoch["root_on_chain"]
        assert epoch["sum_rebuilt"] == epoch["sum_reported"]
        assert epoch["regenerated"] == epoch["listed"]
        assert epoch["leaves_equal"]
        assert epoch["listed"]
