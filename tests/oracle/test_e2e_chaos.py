"""Signers killed again and again at any moment: one report per epoch, never two signatures, no receipt lost."""

import random
import sqlite3
from pathlib import Path

import pytest

from commonweight.protocol.documents import Signed
from commonweight.protocol.records import Receipt, Record
from tests.oracle.network import Network
from tests.trainer.conftest import data_dir as data_dir

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1200)]
KILLS = 40


def documents(folder: Path, kind: str) -> list[Signed]:
    with sqlite3.connect(folder / "oracle.sqlite3") as db:
        rows = db.execute("SELECT signed FROM documents WHERE kind=? ORDER BY seq", (kind,)).fetchall()
    return [Signed.from_bytes(row[0]) for row in rows]


def test_kill_nine_at_random(tmp_path: Path, data_dir: Path) -> None:
    dice = random.Random(7)
    with Network(tmp_path, data_dir, params={"epoch_length": 90, "report_span": 70, "last_epoch": 9}) as net:
        net.start_signers()
        members = [net.add(f"member-{n}") for n in range(3)]
        net.recorded(240, 1)
        for _ in range(KILLS):
            victim = dice.randrange(3)
            seen = len(net.said(victim, "listening"))
            net.kill_signer(victim)
            net.wait("it is back", lambda v=victim, s=seen: len(net.said(v, "listening")) > s, 120)
            phases, more = len(net.said(0, "phase")), dice.randrange(3)
            net.wait("something moves", lambda p=phases, m=more: len(net.said(0, "phase")) > p + m, 120)
        net.wait_credited(2, 400)
        assert all(len(found) == 1 for found in net.reports().values())
        net.same_checkpoints(*members)
        for signer in net.signers:
            signer.end()
        for number in range(3):
            folder = net.folder / f"oracle-{number}"
            receipts = [Receipt.from_body(s.body) for s in documents(folder, "receipt")]
            own = [(r.round, r.index) for r in receipts]
            records = {Record.from_body(s.body).round: Record.from_body(s.body) for s in documents(folder, "record")}
            for receipt in receipts:
                record = records.get(receipt.round)
                if record is None:
                    continue
                named = {e.commitment for e in (*record.counted, *record.refused, *record.missing)}
                assert receipt.commitment in named, f"a receipt of round {receipt.round} was lost"
            assert own
