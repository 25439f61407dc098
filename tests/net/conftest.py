"""Servers in processes of their own."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.net.serving import RUN, SERVER_KEY

Start = Callable[..., str]


@pytest.fixture
def serve() -> Iterator[Start]:
    """Start a server process with the given limits; returns its host:port."""
    processes: list[subprocess.Popen[str]] = []

    def start(key: bytes = SERVER_KEY, run: str = RUN, **limits: object) -> str:
        root = Path(__file__).parents[2]
        command = [sys.executable, "-m", "tests.net.serving", key.hex(), run, json.dumps(limits)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=root)
        processes.append(process)
        assert process.stdout is not None
        return f"127.0.0.1:{int(process.stdout.readline())}"

    yield start
    for process in processes:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
