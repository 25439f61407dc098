"""The command line as a user runs it: a process of its own with a clean environment and home."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from commonweight.chain.keys import create_keystore
from commonweight.cli.main import execute
from tests.chain.scenario import KEYS, World, first_world, make_world
from tests.cli.schema import command_of, differences, schemas

ROOT = Path(__file__).resolve().parent.parent.parent
PASSWORD = "tests"


@dataclass(frozen=True)
class Done:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object that stdout must be."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


class User:
    """Someone with a home, settings in the environment, and the program."""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        self.home = home
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "PYTHONPATH": str(ROOT),
            "TERM": "dumb",
            "COLUMNS": "120",
            **environment,
        }

    def command(self, *arguments: object) -> list[str]:
        """The command line for arguments."""
        return [sys.executable, "-m", "commonweight.cli.main", *(str(a) for a in arguments)]

    def run(self, *arguments: object, **environment: str) -> Done:
        """Run a command to its end, with nobody at the keyboard."""
        done = subprocess.run(
            self.command(*arguments),
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            cwd=self.home,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def ok(self, *arguments: object, **environment: str) -> dict[str, Any]:
        """Run a command with --json that must succeed and print what docs/cli.md says; its result."""
        done = self.run(*arguments, "--json", **environment)
        assert done.code == 0, done.out + done.err
        words = command_of([str(argument) for argument in arguments])
        assert words, f"docs/cli.md does not describe {arguments[:2]}"
        assert differences(schemas()[words], done.json) == []
        return done.json


class InProcess(User):
    """The same in this process, where the imports are paid for once."""

    def run(self, *arguments: object, **environment: str) -> Done:
        """Run a command to its end."""
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, {**self.environment, **environment}, clear=True),
            contextlib.chdir(self.home),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = execute([str(a) for a in arguments])
        return Done(code, out.getvalue(), err.getvalue())


@pytest.fixture
def user(tmp_path: Path) -> User:
    """A user with an empty home."""
    home = tmp_path / "home"
    home.mkdir()
    return User(home, {})


@pytest.fixture
def quick_user(user: User) -> InProcess:
    """The same in this process."""
    return InProcess(user.home, {})


@dataclass(frozen=True)
class Crowd:
    """A run, and a keystore per account of the scenario."""

    world: World
    user: User

    def keystore(self, number: int) -> Path:
        """The keystore of an account."""
        return self.user.home / f"{number}.json"

    def ok(self, number: int, *arguments: object) -> dict[str, Any]:
        """A command by account `number` that must succeed."""
        return self.user.ok(*arguments, "--keystore", self.keystore(number))

    def run(self, number: int, *arguments: object) -> Done:
        """A command by account `number`."""
        return self.user.run(*arguments, "--keystore", self.keystore(number))


def make_crowd(world: World, tmp_path: Path) -> Crowd:
    """Keystores and settings for a run."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "password").write_text(PASSWORD + "\n")
    for number, key in enumerate(KEYS):
        create_keystore(home / f"{number}.json", PASSWORD, key=key, fast=True)
    settings = {
        "COMMONWEIGHT_RPC": world.url,
        "COMMONWEIGHT_RUN": world.run.address,
        "COMMONWEIGHT_FACTORY": world.deployment.factory.address,
        "COMMONWEIGHT_PASSWORD_FILE": str(home / "password"),
        "COMMONWEIGHT_STATE_DIR": str(world.state_dir),
        "COMMONWEIGHT_STORE": str(home / "store"),
    }
    return Crowd(world, InProcess(home, settings))


@pytest.fixture
def crowd(chain_url: str, tmp_path: Path) -> Crowd:
    """A new run with users, on Anvil and on Ganache."""
    return make_crowd(first_world(chain_url, tmp_path / "nonces"), tmp_path)


@pytest.fixture
def crowd_with(anvil_url: str, tmp_path: Path) -> Callable[..., Crowd]:
    """Makes a run with other parameters, on Anvil."""
    return lambda **changes: make_crowd(make_world(anvil_url, tmp_path / "nonces", **changes), tmp_path)
