"""The demo as its user runs it: a whole life of a run, and Ctrl-C at moments of every kind.

It is the end-to-end test of everything at once: the demo itself fails unless both auditors verify, six rounds are
recorded, the liar is banned and the model has learned.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.e2e
PATIENCE_S = 700
"""A demo takes three minutes on a machine of its own; here it shares two cores with the other tests."""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A place from which the demo runs on this source tree, with a build folder of its own."""
    for entry in ROOT.iterdir():
        if entry.name != "build":
            (tmp_path / entry.name).symlink_to(entry)
    (tmp_path / "scripts").unlink()
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    return tmp_path


def start(checkout: Path, mark: str, **environment: str) -> subprocess.Popen[bytes]:
    """The demo in a process group of its own, its output in a file, its children marked by an environment variable."""
    with (checkout / "demo.out").open("wb") as out:
        return subprocess.Popen(
            [sys.executable, str(checkout / "scripts" / "demo.py")],
            cwd=checkout,
            env={**os.environ, "MARK_OF_THE_TEST": mark, **environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def marked(mark: str) -> set[int]:
    """Processes that inherited the mark."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if f"MARK_OF_THE_TEST={mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.add(int(entry.name))
            except OSError:  # it ended while we looked, or is not ours
                continue
    return found


def plays_to_the_end(checkout: Path, mark: str, **environment: str) -> None:
    """Run a whole demo and see it succeed."""
    status = start(checkout, mark, **environment).wait(PATIENCE_S)
    output = (checkout / "demo.out").read_text()
    assert status == 0, output[-6000:]
    assert "audit verify: verified" in output
    assert "audit lineage: verified" in output
    assert not marked(mark)


@pytest.mark.timeout(PATIENCE_S + 20)
def test_demo_succeeds_and_leaves_no_process(checkout: Path) -> None:
    plays_to_the_end(checkout, "whole")


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE_S + 20)
def test_demo_on_ganache(checkout: Path) -> None:
    plays_to_the_end(checkout, "ganache", CHAIN="ganache")


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE_S + 20)
def test_demo_with_an_ipfs_node(checkout: Path, ipfs_url: str) -> None:
    plays_to_the_end(checkout, "ipfs", IPFS=ipfs_url)


@pytest.mark.timeout(180)
def test_a_second_demo_of_a_checkout_says_why_it_stops(checkout: Path) -> None:
    (checkout / "build" / "demo").mkdir(parents=True)
    with (checkout / "build" / "demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert start(checkout, "second").wait(150) == 1
    assert "Another demo runs" in (checkout / "demo.out").read_text()


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("moment", "number"),
    [("Funding", signal.SIGINT), pytest.param("is banned", signal.SIGTERM, marks=pytest.mark.slow)],
)
def test_an_interrupted_demo_leaves_no_process(checkout: Path, moment: str, number: signal.Signals) -> None:
    demo = start(checkout, moment)
    wait_for(lambda: moment in (checkout / "demo.out").read_text(), 240, moment)
    assert len(marked(moment)) > 1
    demo.send_signal(number)
    assert demo.wait(120) == 130
    assert not marked(moment)


@pytest.mark.timeout(400)
def test_a_demo_killed_without_warning_leaves_no_process(checkout: Path) -> None:
    demo = start(checkout, "killed")
    wait_for(lambda: len(marked("killed")) > 8, 240, "the providers to start")
    demo.kill()
    demo.wait()
    wait_for(lambda: not marked("killed"), 120, "the children to end")
