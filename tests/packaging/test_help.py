"""`--help` answers at once: it imports nothing heavy, whatever command it is asked about."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# Each costs a tenth of a second or more to import, torch and web3 a whole one.
HEAVY = (
    "torch", "transformers", "tokenizers", "safetensors", "web3", "eth_account", "numpy", "httpx",
    "fastapi", "uvicorn", "cryptography", "trainer.train", "oracle.service", "inference.server",
)  # fmt: skip
PROBE = f"""
import json, sys
from commonweight.cli.main import app
code = None
try:
    code = app()
except SystemExit as end:
    code = end.code
loaded = [name for name in {HEAVY!r} if name in sys.modules]
print(json.dumps({{"code": code, "loaded": loaded}}), file=sys.stderr)
"""
COMMANDS = ("", "run", "fund", "provider", "oracle", "infer", "audit", "data", "key", "dev", "config")


def probe(*arguments: str) -> tuple[str, dict[str, object]]:
    done = subprocess.run([sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True)
    assert done.stderr, done.stdout
    return done.stdout, json.loads(done.stderr.splitlines()[-1])


@pytest.mark.unit
@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_nothing_heavy(command: str) -> None:
    shown, ended = probe(*command.split(), "--help")
    assert "Usage:" in shown
    assert not ended["code"]
    assert ended["loaded"] == []


@pytest.mark.unit
def test_version_imports_nothing_heavy() -> None:
    shown, ended = probe("--version")
    assert shown.strip()
    assert ended["loaded"] == []
