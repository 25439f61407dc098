"""From a challenge to its end between real processes: a cheat is convicted, an honest provider acquitted."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from commonweight.chain.challenges import cases_of
from commonweight.chain.keys import create_keystore
from commonweight.protocol.dispute_documents import Judgement, Plea
from commonweight.store import raw_cid
from tests.chain.scenario import KEYS, SIGNERS
from tests.cli.conftest import User
from tests.cli.trained import Trained, trained_run
from tests.trainer.world import Process, free_port

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1800)]
HONEST, CHEAT, CHALLENGER = 0, 1, 9
PATIENCE_S = 1200


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[Trained]:
    with trained_run(tmp_path / "run", batch=1024) as run:
        yield run


class Signers:
    """Three signer processes; what they promise is read from their databases."""

    def __init__(self, staged: Trained, home: Path, user: User) -> None:
        self.home = home
        (home / "password").write_text("tests\n")
        ports = {key.address: f"127.0.0.1:{free_port()}" for key in SIGNERS}
        (home / "peers.json").write_text(json.dumps(ports))
        self.processes = []
        for number, key in enumerate(SIGNERS):
            keystore = home / f"signer-{number}.json"
            create_keystore(keystore, "tests", key=key, fast=True)
            command = user.command(
                "oracle", "start", "--run", staged.run.address, "--rpc", staged.world.url, "--store",
                staged.store.folder, "--keystore", keystore, "--transmitter", keystore, "--password-file",
                home / "password", "--listen", ports[key.address], "--peers", home / "peers.json", "--data-dir",
                home / f"signer-{number}", "--confirmations", 0,
            )  # fmt: skip
            self.processes.append(Process(f"signer-{number}", command, home / f"signer-{number}.log"))

    def promises(self, number: int) -> dict[str, bytes]:
        """Every word of a signer on a dispute, by slot."""
        path = self.home / f"signer-{number}" / "oracle.sqlite3"
        if not path.exists():
            return {}
        try:
            with sqlite3.connect(path) as db:
                rows = db.execute("SELECT slot, digest FROM promises WHERE slot LIKE 'dispute/%'").fetchall()
        except sqlite3.OperationalError:  # it is being made
            return {}
        return {str(slot): bytes(digest) for slot, digest in rows}

    def wait(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait for a condition."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            logs = [path.read_text()[-2000:] for path in sorted(self.home.glob("signer-*.log"))]
            assert time.monotonic() < deadline, "\n".join([what, *logs])
            time.sleep(0.1)


def test_a_conviction_and_an_acquittal(staged: Trained, tmp_path: Path) -> None:
    user = User(tmp_path, {"COMMONWEIGHT_STATE_DIR": str(tmp_path / "state")})
    signers = Signers(staged, tmp_path, user)
    run, disputes = staged.run, staged.run.disputes
    where = ("--run", run.address, "--rpc", staged.world.url, "--store", staged.store.folder)
    (tmp_path / "proof").mkdir()
    (tmp_path / "proof" / "why.txt").write_text("Round 2 was not trained.")
    for name, number in (("challenger", CHALLENGER), ("accused", CHEAT + 1)):
        create_keystore(tmp_path / f"{name}.json", "tests", key=KEYS[number], fast=True)

    def said(name: str, *command: object) -> dict[str, object]:
        keys = ("--keystore", tmp_path / f"{name}.json", "--password-file", tmp_path / "password", "--yes")
        return user.ok(*command, "--epoch", 0, "--evidence", tmp_path / "proof", *where, *keys)

    for index in (CHEAT, HONEST):
        challenged = said("challenger", "oracle", "challenge", "--provider", index)
    answered = said("accused", "provider", "answer", "--statement", "I did my work.")
    keys = ("--keystore", tmp_path / "challenger.json", "--password-file", tmp_path / "password", "--yes")
    doubted = ("--epoch", 0, "--provider", CHEAT, "--evidence", tmp_path / "proof")
    again = user.run("oracle", "challenge", *doubted, *where, *keys)
    assert again.code == 2
    assert "challenged before" in again.err
    plea = Plea.from_bytes(staged.store.get(raw_cid(bytes.fromhex(str(answered["evidence"]["sha256"])[2:]))))  # type: ignore[index]
    assert (plea.side, plea.index, plea.files[0].name) == ("answer", CHEAT, "why.txt")
    assert challenged["until"] == disputes.challenge_of(0, HONEST).until

    try:
        # Alone a signer can sign and find no quorum: killed there, it has signed and nobody has seen it.
        signers.processes[0].start()
        signers.wait("both words of one signer", lambda: len(signers.promises(0)) == 4)
        signers.processes[0].kill()
        words = signers.promises(0)
        assert not any(case.verdict for case in cases_of(run))
        for process in signers.processes:
            process.start()
        signers.wait("both cases are over", lambda: all(case.closed for case in cases_of(run)))
        assert signers.promises(0) == words
    finally:
        for process in signers.processes:
            process.kill()

    convicted, acquitted = cases_of(run)
    assert (convicted.index, convicted.state) == (CHEAT, "revoked")
    assert (acquitted.index, acquitted.state) == (HONEST, "acquitted")
    for case in (convicted, acquitted):
        assert case.verdict is not None
        judgement = Judgement.from_bytes(staged.store.get(raw_cid(case.verdict.evidence_sha256)))
        assert judgement.convicted is (case is convicted)
        for number in range(len(SIGNERS)):
            assert signers.promises(number).get(f"dispute/0/{case.index}", case.verdict.evidence_sha256) == (
                case.verdict.evidence_sha256
            )
    assert convicted.conviction is not None
    assert convicted.conviction.credits > 0
    shown = user.ok("audit", "challenges", "--run", run.address, "--rpc", staged.world.url)
    assert [c["state"] for c in shown["challenges"]] == ["revoked", "acquitted"]
    assert int(shown["challenges"][0]["debt_left"]) == run.distributor.debt_of(CHEAT)
    rechecked = user.run("audit", "recheck", "--epoch", 0, "--provider", CHEAT, *where, "--confirmations", 0, "--json")
    assert rechecked.code == 1
    assert rechecked.json["judgement"]["rounds"] == [{"round": 2, "outcome": "refuted"}]
