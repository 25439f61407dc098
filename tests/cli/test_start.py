"""The program starts at once: `--help` imports nothing heavy, for every group and command."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import User

pytestmark = pytest.mark.unit
HEAVY = (
    "torch",
    "web3",
    "numpy",
    "fastapi",
    "uvicorn",
    "eth_account",
    "httpx",
    "requests",
    "safetensors",
    "cryptography",
)
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

_PROBE = """
import json, sys
from commonweight.cli.main import execute
print(json.dumps({"code": execute(sys.argv[1:]), "modules": sorted({m.partition(".")[0] for m in sys.modules})}))
"""


def probe(user: User, *arguments: str) -> tuple[int, set[str], str]:
    """Exit code, top modules imported, and the output of a command line."""
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-c", _PROBE, *arguments], env=user.environment, capture_output=True, text=True, check=True
    )
    text, _, last = done.stdout.rstrip().rpartition("\n")
    found = json.loads(last)
    return found["code"], set(found["modules"]), text


def test_help_shows_every_group(user: User) -> None:
    code, modules, text = probe(user, "--help")
    assert code == 0
    assert not modules & set(HEAVY)
    assert all(f" {group} " in text for group in (*GROUPS, "version", "dashboard", "doctor"))


@pytest.mark.parametrize("group", GROUPS)
def test_help_of_a_group_shows_every_command(user: User, group: str) -> None:
    code, modules, text = probe(user, group, "--help")
    assert code == 0
    assert not modules & set(HEAVY)
    shown = {line.split()[1] for line in text.partition("Commands")[2].splitlines() if line.startswith("│ ")}
    assert GROUPS[group] <= shown


_ALL = """
import json, sys
from commonweight.cli.main import execute
codes = [execute(words) for words in json.loads(sys.argv[1])]
print(json.dumps({"codes": codes, "modules": sorted({m.partition(".")[0] for m in sys.modules})}))
"""


def test_help_of_every_command_imports_nothing_heavy_and_names_json(user: User) -> None:
    import subprocess
    import sys

    words = [[group, command, "--help"] for group, commands in GROUPS.items() for command in sorted(commands)]
    words += [["infer", "channel", command, "--help"] for command in ("open", "show", "withdraw")]
    words += [["dashboard", "--help"], ["doctor", "--help"]]
    done = subprocess.run(
        [sys.executable, "-c", _ALL, json.dumps(words)],
        env=user.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    text, _, last = done.stdout.rstrip().rpartition("\n")
    found = json.loads(last)
    assert found["codes"] == [0] * len(words)
    assert not set(found["modules"]) & set(HEAVY)
    # All but the group `channel`, the template (which is a file) and the services, which write logs.
    without = {"channel", "template", "start", "serve"}
    assert text.count("--json") >= sum(command[-2] not in without for command in words)


def test_the_version_is_the_packages(user: User) -> None:
    from commonweight import __version__

    assert user.run("--version").out == __version__ + "\n"
    assert user.run("version").out == __version__ + "\n"
    assert user.ok("version") == {"version": __version__}


def test_the_package_is_a_program(user: User) -> None:
    import subprocess
    import sys

    command = [sys.executable, "-m", "commonweight", "config", "view", "--role", "king"]
    done = subprocess.run(command, env=user.environment, capture_output=True, text=True, check=False)
    assert (done.returncode, "There is no role king" in done.stderr) == (2, True)


def test_no_command_shows_the_help_and_ends_with_2(user: User) -> None:
    for arguments in ((), ("fund",), ("infer", "channel")):
        done = user.run(*arguments)
        assert done.code == 2
        assert "Usage: commonweight" in done.out + done.err
