"""The watcher as its operator runs it: a process of its own, killed in the middle of a game, more than once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from commonweight.chain.events import GameOpened
from commonweight.chain.keys import create_keystore
from commonweight.chain.local import start_local
from commonweight.chain.structs import EpochState
from tests.audit.corrupt import WATCHER, Corrupt, swap
from tests.chain.scenario import ETHER, KEYS

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Corrupt]:
    with start_local("anvil", directory=tmp_path / "chain", block_time_s=None) as chain:
        yield Corrupt.start(chain.url, tmp_path, answer_time=600, report_span=3600, epoch_length=36_000)


class Operator:
    """Starts and kills a watcher that keeps its folder."""

    def __init__(self, run: Corrupt, home: Path) -> None:
        self.run = run
        self.log = home / "watch.log"
        (home / "password").write_text("tests\n")
        create_keystore(home / "key.json", "tests", key=KEYS[WATCHER], fast=True)
        self.command = [
            sys.executable, "-m", "commonweight.cli.main", "audit", "watch", "--run", run.world.run.address,
            "--rpc", f"http://127.0.0.1:1,{run.world.url}", "--store", str(home / "store"),
            "--keystore", str(home / "key.json"), "--password-file", str(home / "password"),
            "--data-dir", str(home / "data"),
        ]  # fmt: skip
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT),
            "COMMONWEIGHT_STATE_DIR": str(home / "state"),
        }  # fmt: skip

    def start(self, *more: str) -> subprocess.Popen[bytes]:
        """Start it."""
        with self.log.open("ab") as log:
            return subprocess.Popen([*self.command, *more], env=self.environment, stderr=log, stdout=log)

    @contextmanager
    def killed_when(self, condition: Callable[[], bool]) -> Iterator[None]:
        """Run it until the condition holds, do what is inside, and kill it at once."""
        process = self.start()
        try:
            self.wait(condition)
            yield
        finally:
            process.kill()
            process.wait()

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition."""
        deadline = time.monotonic() + 200
        while not condition():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def lines(self) -> list[dict[str, object]]:
        """What all of them logged."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


def test_killed_in_the_middle_of_a_game_it_doubles_nothing_and_wins(run: Corrupt, tmp_path: Path) -> None:
    run.file(swap(5, 0, 33))
    operator, chain, disputes = Operator(run, tmp_path), run.world.run.chain, run.world.run.disputes
    account = KEYS[WATCHER].address

    def pending() -> bool:
        return chain.transaction_count(account, "pending") > chain.transaction_count(account)

    chain.rpc("evm_setAutomine", False)
    with operator.killed_when(pending):  # the game is sent and not mined
        pass
    with operator.killed_when(lambda: len(operator.lines()) > 2 or operator.log.read_text().count("watching") > 1):
        assert chain.transaction_count(account, "pending") == chain.transaction_count(account) + 1
    chain.rpc("evm_mine")
    chain.rpc("evm_setAutomine", True)
    assert disputes.open_games() == 1
    run.answer_all()
    with operator.killed_when(lambda: disputes.game_at(1).level == 1):
        pass
    run.answer_all()
    process = operator.start()
    operator.wait(lambda: run.state() == EpochState.VOID and disputes.open_games() == 0 and run.owed() == 0)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 1  # a report was false
    assert len(list(run.world.run.events_of(GameOpened))) == 1
    assert sorted(run.bonds()) == [0, 0, ETHER]
    assert run.world.run.asset.balance_of(account) > 10_000 * ETHER + ETHER // 6
    assert all("password" not in str(line) for line in operator.lines())


def test_without_a_key_it_ends_with_one_and_prints_a_command_that_works(run: Corrupt, tmp_path: Path) -> None:
    run.file(swap(5, 0, 33))
    operator = Operator(run, tmp_path)
    key_at = operator.command.index("--keystore")
    with_key = operator.command[key_at : key_at + 4]
    operator.command[key_at : key_at + 4] = []
    assert operator.start("--once").wait(200) == 1
    (asked,) = [line for line in operator.lines() if line["event"] == "a key is needed"]
    assert asked["move"] == "OpenGame"
    printed = str(asked["command"]).split()
    printed[printed.index("--keystore") + 1] = with_key[1]
    command = [sys.executable, "-m", "commonweight.cli.main", *printed[1:], *with_key[2:]]
    assert subprocess.run(command, env=operator.environment, check=False).returncode == 1
    assert run.world.run.disputes.open_games() == 1


def test_a_run_without_reports_is_all_right(run: Corrupt, tmp_path: Path) -> None:
    assert Operator(run, tmp_path).start("--once").wait(200) == 0


def test_no_node_is_incomplete(run: Corrupt, tmp_path: Path) -> None:
    operator = Operator(run, tmp_path)
    operator.command[operator.command.index("--rpc") + 1] = "http://127.0.0.1:1"
    operator.environment["COMMONWEIGHT_PATIENCE_S"] = "1"
    assert operator.start("--once").wait(200) == 3
