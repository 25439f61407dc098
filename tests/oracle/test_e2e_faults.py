"""What can go wrong around signers, with real processes: each run still credits its epochs, and each of them once."""

import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from commonweight.audit.settings import AuditSettings
from commonweight.audit.verify import verify
from commonweight.chain.ledger_view import LedgerView
from tests.oracle.faulty_rpc import FAULTS, FaultyRpc
from tests.oracle.network import Network
from tests.oracle.test_e2e_chaos import no_lost_receipt, no_second_word
from tests.trainer.conftest import data_dir as data_dir

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1800)]

PARAMS = {"epoch_length": 75, "report_span": 58, "last_epoch": 40, "later": 30}
DISK_MIB = 24


def afflict(net: Network, number: int, name: str) -> None:
    signer = net.signers[number]
    rest = signer.argv[signer.argv.index("oracle") :]
    signer.argv = [sys.executable, "-m", "tests.oracle.afflicted", name, *rest]


def use_rpc(net: Network, number: int, url: str) -> None:
    argv = net.signers[number].argv
    argv[argv.index("--rpc") + 1] = url


def sound(net: Network, epochs: int = 2, timeout_s: float = 600) -> None:
    """Epochs go on being credited, honest members are paid, nobody signed twice, no receipt is lost."""
    net.wait_credited(len(net.credited()) + epochs, timeout_s)
    no_second_word(net)
    view = LedgerView.of(net.run)
    assert all(view.leaf(net.index(member)) is not None for member in net.providers.values())
    net.same_checkpoints(*net.providers.values())
    for signer in net.signers:
        if signer.alive:
            signer.end(60)
    no_lost_receipt(net)


@pytest.fixture
def net(tmp_path: Path, data_dir: Path) -> Iterator[Network]:
    with Network(tmp_path, data_dir, params=PARAMS) as net:
        yield net


def members(net: Network, count: int = 3) -> None:
    for number in range(count):
        net.add(f"member-{number}")


def test_one_signer_corrupt_and_one_slow(net: Network) -> None:
    afflict(net, 1, "corrupt")
    afflict(net, 2, "slow")
    net.start_signers()
    members(net)
    net.recorded(240, 2)
    net.wait("the lie is told", lambda: net.said(1, "verdict", outcome="fail"), 300)
    sound(net)


def test_clocks_apart(net: Network) -> None:
    afflict(net, 1, "clock+4")
    afflict(net, 2, "clock-4")
    net.start_signers()
    members(net)
    sound(net)


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault])
def test_an_rpc_that_cannot_be_relied_on(net: Network, fault: str) -> None:
    """One signer's only node goes wrong for a while and recovers; the others go on meanwhile."""
    with FaultyRpc(net.local.url) as rpc:
        use_rpc(net, 2, rpc.url)
        net.start_signers()
        members(net)
        net.recorded(240, 1)
        rpc.fault, asked = fault, rpc.asked
        net.wait_credited(len(net.credited()) + 1, 400)
        assert rpc.asked > asked
        rpc.fault = ""
        again = len(net.said(2, "verdict"))
        net.wait("it takes part again", lambda: len(net.said(2, "verdict")) > again, 240)
        sound(net, 1)


def test_a_reorganisation_deeper_than_the_confirmations(net: Network) -> None:
    for signer in net.signers:
        signer.argv += ["--confirmations", "1"]
    net.start_signers()
    members(net)
    net.recorded(240, 2)
    for _ in range(3):
        net.chain().rpc("anvil_reorg", 4, [])
        # the blocks are made anew in no time, which sets the node's clock back by as much
        net.chain().rpc("evm_setTime", int(time.time()))
        done = len(net.said(0, "recorded"))
        net.wait("rounds go on", lambda d=done: len(net.said(0, "recorded")) > d, 240)
    sound(net)


def test_a_store_that_loses_files(net: Network) -> None:
    """Blocks vanish all the time, but for the run's own description, which every start needs."""
    blocks, dice = net.store_dir / "blocks", random.Random(3)
    kept = {path for path in blocks.rglob("*") if path.is_file()}

    def lose() -> None:
        for path in blocks.rglob("*"):
            if path.is_file() and path not in kept and dice.random() < 0.02:
                path.unlink(missing_ok=True)

    net.start_signers()
    members(net)
    net.recorded(240, 1)
    with every(3.0, lose):
        net.recorded(300, 6)
    sound(net)


def test_a_disk_that_is_full_and_is_mended(net: Network) -> None:
    folder = net.folder / "oracle-1"
    with small_disk(folder):
        net.start_signers()
        members(net)
        net.recorded(240, 1)
        ballast = folder / "ballast"
        with ballast.open("wb") as stream:
            try:
                while True:
                    stream.write(bytes(1 << 16))
            except OSError:
                pass
        net.wait("it says so", lambda: "free space" in net.signers[1].log.read_text(errors="replace"), 300)
        net.recorded(240, len(net.said(0, "recorded")) + 2)
        ballast.unlink()
        if not net.signers[1].alive:
            net.signers[1].start()
        again = len(net.said(1, "verdict"))
        net.wait("it takes part again", lambda: len(net.said(1, "verdict")) > again, 300)
        sound(net)
        net.signers[1].kill()


def test_a_dead_signer_changes_nothing_and_the_audit_holds(net: Network) -> None:
    net.start_signers()
    members(net)
    net.recorded(240, 1)
    net.kill_signer(2, restart=False)
    sound(net)
    found = verify(AuditSettings(net.run.address, (net.local.url,), str(net.store_dir)))
    assert found.verdict == "verified", [c for c in found.checks if c.verdict != "ok"]


@contextmanager
def every(seconds: float, work: Callable[[], None]) -> Iterator[None]:
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(seconds):
            work()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of DISK_MIB in memory; the test is skipped where none may be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = shutil.which("mount")
    arguments = ["-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder)]
    if mount is None or subprocess.run([mount, *arguments], capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here: run as root, or in a container that may mount")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)
