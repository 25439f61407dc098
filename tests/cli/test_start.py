"""The program starts at once: `--help` imports nothing heavy, for every group and command."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.cli.conftest import User

pytestmark = pytest.mark.unit
# Each costs a tenth of a second or more to import, torch and web3 a whole one.
HEAVY = (
    "torch", "transformers", "tokenizers", "safetensors", "web3", "eth_account", "numpy", "httpx", "requests",
    "fastapi", "uvicorn", "cryptography", "trainer.train", "oracle.service", "inference.server",
)  # fmt: skip
GROUPS = {
    "run": {"template", "create", "list", "show", "estimate"},
    "fund": {"deposit", "refund", "claim", "position"},
    "provider": {"register", "start", "status", "credits", "claim", "exit", "doctor", "pause", "resume", "prepare"},
    "oracle": {"start", "status", "check", "bond"},
    "infer": {"serve", "settle", "ask", "channel"},
    "audit": {"verify", "deployment", "lineage", "replay", "proof", "check-proof", "export"},
    "data": {"prepare"},
    "key": {"new", "show"},
    "dev": {"up", "down", "reset", "status"},
    "tx": {"show", "sign", "send"},
    "config": {"view", "template"},
}

_PROBE = f"""
import json, sys
from commonweight.cli.main import execute
codes = [execute(words) for words in json.loads(sys.argv[1])]
print(json.dumps({{"codes": codes, "loaded": [name for name in {HEAVY!r} if name in sys.modules]}}))
"""


def shown(user: User, *lines: list[str]) -> str:
    """What command lines print, one after the other in a process of their own, which imports nothing heavy for it."""
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, json.dumps(lines)],
        env=user.environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    text, _, last = done.stdout.rstrip().rpartition("\n")
    assert json.loads(last) == {"codes": [0] * len(lines), "loaded": []}
    return text


def test_help_shows_every_group(user: User) -> None:
    text = shown(user, ["--help"])
    assert all(f" {group} " in text for group in (*GROUPS, "version", "dashboard", "doctor"))


def test_help_of_a_group_shows_every_command(user: User) -> None:
    text = shown(user, *([group, "--help"] for group in GROUPS))
    for group, help_ in zip(GROUPS, text.split("Usage: commonweight ")[1:], strict=True):
        assert help_.startswith(group)
        found = {line.split()[1] for line in help_.partition("Commands")[2].splitlines() if line.startswith("│ ")}
        assert GROUPS[group] <= found


def test_help_of_every_command_names_json(user: User) -> None:
    words = [[group, command, "--help"] for group, commands in GROUPS.items() for command in sorted(commands)]
    words += [["infer", "channel", command, "--help"] for command in ("open", "show", "withdraw")]
    words += [["dashboard", "--help"], ["doctor", "--help"], ["version"], ["--version"]]
    # All but the group `channel`, the template (which is a file), the services, which write logs, and the versions.
    without = {"channel", "template", "start", "serve"}
    expected = sum(line[-1] == "--help" and line[-2] not in without for line in words)
    assert shown(user, *words).count("--json") >= expected


def test_the_version_is_the_packages(user: User) -> None:
    from commonweight import __version__

    assert user.run("--version").out == __version__ + "\n"
    assert user.run("version").out == __version__ + "\n"
    assert user.ok("version") == {"version": __version__}


def test_the_package_is_a_program(user: User) -> None:
    command = [sys.executable, "-m", "commonweight", "config", "view", "--role", "king"]
    done = subprocess.run(command, env=user.environment, capture_output=True, text=True, check=False)
    assert (done.returncode, "There is no role king" in done.stderr) == (2, True)


def test_no_command_shows_the_help_and_ends_with_2(user: User) -> None:
    for arguments in ((), ("fund",), ("infer", "channel")):
        done = user.run(*arguments)
        assert done.code == 2
        assert "Usage: commonweight" in done.out + done.err
