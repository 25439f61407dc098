"""Servers in processes of their own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.launcher import Forked, Launcher
from tests.net.serving import RUN, SERVER_KEY
from tests.waiting import wait_for

Start = Callable[..., str]


@pytest.fixture(scope="session")
def launcher() -> Iterator[Launcher]:
    """What forks the servers."""
    found = Launcher("tests.net.serving:serve")
    yield found
    found.close()


@pytest.fixture
def serve(launcher: Launcher, tmp_path: Path) -> Iterator[Start]:
    """Start a server process with the given limits; returns its host:port."""
    processes: list[Forked] = []

    def start(key: bytes = SERVER_KEY, run: str = RUN, **limits: object) -> str:
        log = tmp_path / f"server-{len(processes)}.log"
        processes.append(launcher.start({"key": key.hex(), "run": run, "limits": limits}, log))
        said = wait_for(lambda: log.exists() and log.read_text(), what="the server's port")
        return f"127.0.0.1:{int(said)}"

    yield start
    for process in processes:
        process.kill()
