"""With a person at a terminal: questions, passwords that are asked for and never shown, completion."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Callable, Sequence

import pytest

from tests.chain.scenario import ETHER, KEYS
from tests.cli.conftest import PASSWORD, Crowd, User


def at_terminal(user: User, arguments: Sequence[object], answers: dict[str, str]) -> tuple[int, str]:
    """Run a command on a terminal of its own; type each answer when its question has appeared. Code and screen."""
    master, slave = pty.openpty()
    done = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *user.command(*arguments)], env=user.environment, cwd=user.home,
        stdin=slave, stdout=slave, stderr=slave, close_fds=True,
    )  # fmt: skip
    os.close(slave)
    screen, waiting, deadline = "", list(answers.items()), time.monotonic() + 120
    try:
        while time.monotonic() < deadline:
            if select.select([master], [], [], 0.2)[0]:
                try:
                    screen += os.read(master, 65536).decode()
                except OSError:  # the other side is closed
                    break
            if waiting and waiting[0][0] in screen.rpartition("\r\n")[2]:
                os.write(master, waiting.pop(0)[1].encode() + b"\n")
                screen += "\r\n"
        return done.wait(30), screen
    finally:
        done.kill()
        os.close(master)


@pytest.mark.chain
@pytest.mark.slow
def test_it_asks_before_paying_and_takes_no_for_an_answer(crowd_with: Callable[..., Crowd]) -> None:
    crowd = crowd_with()
    user = User(crowd.user.home, {k: v for k, v in crowd.user.environment.items() if "PASSWORD" not in k})
    deposit = ("fund", "deposit", "1", "--keystore", crowd.keystore(8))
    question, password = "[y/N]", f"Password of {crowd.keystore(8)}"
    code, screen = at_terminal(user, deposit, {password: PASSWORD, question: "n"})
    assert code == 2, screen
    assert "Nothing was done" in screen
    assert crowd.world.run.campaign.raised() == 0
    code, screen = at_terminal(user, deposit, {password: PASSWORD, question: "y"})
    assert code == 0, screen
    assert "Deposit 1 ETH into" in screen
    assert crowd.world.run.campaign.contribution_of(KEYS[8].address) == ETHER
    assert PASSWORD not in screen.replace("/tests", "")


@pytest.mark.unit
def test_a_new_password_is_asked_for_twice_and_not_shown(user: User) -> None:
    answers = {"New password for key.json": "a secret", "Once more": "another"}
    code, screen = at_terminal(user, ("key", "new", "key.json", "--fast"), answers)
    assert code == 1
    assert "differ" in screen
    assert not (user.home / "key.json").exists()
    code, screen = at_terminal(user, ("key", "new", "key.json", "--fast"), {**answers, "Once more": "a secret"})
    assert code == 0, screen
    assert "secret" not in screen
    assert (user.home / "key.json").stat().st_mode & 0o077 == 0


@pytest.mark.unit
def test_the_shell_completes_commands_and_options(user: User) -> None:
    def completed(line: str) -> set[str]:
        environment = {"_COMMONWEIGHT_COMPLETE": "complete_bash", "COMP_WORDS": line}
        return set(user.run(**environment, COMP_CWORD=str(len(line.split()) - 1)).out.split())

    assert completed("commonweight prov") == {"provider"}
    assert completed("commonweight provider re") == {"register", "resume"}
    assert "--unsigned" in completed("commonweight fund deposit --u")
