"""A local chain lives exactly as long as it should."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from commonweight.chain.client import Chain
from commonweight.chain.keys import Key
from commonweight.chain.local import Kind, dev_accounts, pid_runs, start_local, stop_pid
from commonweight.errors import ChainError

pytestmark = pytest.mark.chain
KINDS: tuple[Kind, ...] = ("anvil", "ganache")
RECEIVER = "0x00000000000000000000000000000000000A11CE"

_PARENT = """
import sys, time
from pathlib import Path
from commonweight.chain.local import start_local
chain = start_local(sys.argv[1], directory=Path(sys.argv[2]))
print(chain.pid, flush=True)
time.sleep(600)
"""


def start_parent(kind: Kind, folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """A process that has started a chain, and the chain's process id."""
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, kind, str(folder)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    return parent, int(parent.stdout.readline())


def wait_gone(pid: int) -> None:
    """Return when the process has ended; the test's timeout is the limit."""
    gone = threading.Event()
    while pid_runs(pid):
        gone.wait(0.02)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_chain_dies_with_its_parent_however_that_dies(kind: Kind, end: signal.Signals, tmp_path: Path) -> None:
    parent, pid = start_parent(kind, tmp_path)
    assert pid_runs(pid)
    parent.send_signal(end)
    parent.communicate(timeout=30)
    wait_gone(pid)


@pytest.mark.parametrize("kind", KINDS)
def test_a_chain_started_in_a_thread_that_ends_goes_on(kind: Kind, tmp_path: Path) -> None:
    started = []
    thread = threading.Thread(target=lambda: started.append(start_local(kind, directory=tmp_path)))
    thread.start()
    thread.join()
    with started[0] as chain:
        assert Chain([chain.url]).chain_id == chain.chain_id
        assert chain.alive()
    assert not chain.alive()


@pytest.mark.parametrize("kind", KINDS)
def test_stopping_ends_the_process_and_can_be_repeated(kind: Kind, tmp_path: Path) -> None:
    chain = start_local(kind, directory=tmp_path)
    chain.stop()
    assert not pid_runs(chain.pid)
    chain.stop()
    assert (tmp_path / f"{kind}.log").is_file()


@pytest.mark.parametrize("kind", KINDS)
def test_state_survives_a_restart(kind: Kind, tmp_path: Path) -> None:
    for round_number in (1, 2):
        with start_local(kind, directory=tmp_path, state=tmp_path / "state", block_time_s=None) as local:
            chain = Chain([local.url], Key.from_hex(local.accounts[0].key), state_dir=tmp_path / "nonces")
            chain.transfer(RECEIVER, 1)
            assert chain.balance(RECEIVER) == round_number


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_come_by_the_timer(kind: Kind, tmp_path: Path) -> None:
    with start_local(kind, directory=tmp_path) as local:
        chain = Chain([local.url])
        start = chain.block_number()
        pause = threading.Event()
        while chain.block_number() < start + 2:
            pause.wait(0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_accounts_are_those_of_the_development_phrase_and_funded(kind: Kind, tmp_path: Path) -> None:
    with start_local(kind, directory=tmp_path, accounts=3) as local:
        assert local.accounts == dev_accounts(3)
        assert local.accounts[0].address == "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
        chain = Chain([local.url])
        assert [chain.balance(a.address) for a in local.accounts] == [10_000 * 10**18] * 3


def test_a_detached_chain_stays_until_it_is_stopped_by_its_process_id(tmp_path: Path) -> None:
    code = _PARENT.replace("directory=Path(sys.argv[2])", "directory=Path(sys.argv[2]), detached=True")
    code = code.replace("time.sleep(600)", "")
    done = subprocess.run([sys.executable, "-c", code, "anvil", str(tmp_path)], stdout=subprocess.PIPE, check=True)
    pid = int(done.stdout)
    assert pid_runs(pid)
    assert stop_pid(pid)
    assert not pid_runs(pid)
    assert not stop_pid(pid)


def test_a_taken_port_is_an_error(tmp_path: Path) -> None:
    with start_local("anvil", directory=tmp_path / "first") as first:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(ChainError, match="cannot listen on port") as refused:
            start_local("anvil", directory=tmp_path / "second", port=port)
        assert "in use" in refused.value.why
        assert first.alive()


def test_no_key_shows_in_the_representation_of_an_account() -> None:
    account = dev_accounts(1)[0]
    assert account.key not in repr(account)
    assert account.key.removeprefix("0x") not in repr(Key.from_hex(account.key))
