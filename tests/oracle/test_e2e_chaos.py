"""Signers killed at every step of their cycle: one report per epoch, never two signatures, no receipt lost."""

import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from commonweight.protocol.documents import Signed
from commonweight.protocol.fields import digest_bytes
from commonweight.protocol.records import Anchor, Receipt, Record
from tests.oracle.crashing import POINTS
from tests.oracle.network import Network
from tests.trainer.conftest import data_dir as data_dir

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(3600)]

KILLS = 100
PATIENCE_S = 40.0
COORDINATORS = ("Coordinator.", "Closing.", "Learning.")
OTHERS = ("Collecting.anchor_own",)
LONG = {"epoch_length": 75, "report_span": 58, "last_epoch": 80, "later": 30}


def documents(folder: Path, kind: str) -> list[Signed]:
    with sqlite3.connect(folder / "oracle.sqlite3") as db:
        rows = db.execute("SELECT signed FROM documents WHERE kind=? ORDER BY seq", (kind,)).fetchall()
    return [Signed.from_bytes(row[0]) for row in rows]


def no_second_word(net: Network) -> None:
    """No signer has signed two reports for an epoch and attempt, and the chain has one report an epoch."""
    assert all(len(found) == 1 for found in net.reports().values())
    for number in range(len(net.signers)):
        digests: dict[tuple[int, int], set[str]] = {}
        for line in net.said(number, "signed"):
            digests.setdefault((line["epoch"], line["attempt"]), set()).add(line["digest"])
        assert all(len(found) == 1 for found in digests.values()), digests


def no_lost_receipt(net: Network) -> None:
    """Whatever a signer has receipted and somebody has anchored, the round's record names."""
    folders = [net.folder / f"oracle-{number}" for number in range(len(net.signers))]
    receipts = [Receipt.from_body(s.body) for folder in folders for s in documents(folder, "receipt")]
    anchors = [Anchor.from_body(s.body) for folder in folders for s in documents(folder, "anchor")]
    on_chain = {
        digest
        for a in anchors
        if net.run.oracle.is_anchored(a.round, a.deadline, digest_bytes(a.root))
        for digest in a.commitments
    }
    records = {r.round: r for r in (Record.from_body(s.body) for s in documents(folders[0], "record"))}
    assert receipts
    assert on_chain
    for receipt in receipts:
        record = records.get(receipt.round)
        if record is not None and receipt.commitment in on_chain:
            named = {e.commitment for e in (*record.counted, *record.refused, *record.missing)}
            assert receipt.commitment in named, f"a receipt of round {receipt.round} was lost"


@dataclass
class Reaper:
    """Strikes one signer after the other, so that the others remain a quorum: first from outside, at any moment, and
    then, as it comes back, by its own hand at a named point.
    """

    net: Network
    dice: random.Random
    kills: int = 0
    struck: set[str] = field(default_factory=set)
    left: dict[int, Iterator[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number in range(len(self.net.signers)):
            self.left[number] = self._points(number)

    def _points(self, number: int) -> Iterator[str]:
        others = OTHERS if number == 0 else COORDINATORS
        mine = [point for point in POINTS if not any(name in point for name in others)]
        while True:
            self.dice.shuffle(mine)
            yield from sorted(mine, key=lambda point: point in self.struck)

    def start(self, number: int, point: str = POINTS[0], nth: int = 0) -> None:
        signer = self.net.signers[number]
        rest = signer.argv[signer.argv.index("oracle") :]
        signer.argv = [sys.executable, "-m", "tests.oracle.crashing", point, str(nth), *rest]
        signer.start()

    def strike(self, number: int) -> None:
        """Twice; a point that is not reached in time is struck from outside."""
        signer, point = self.net.signers[number], next(self.left[number])
        self.net.kill_signer(number, restart=False)
        self.start(number, point, self.dice.choice((1, 1, 2, 3, 5)))
        assert signer.process is not None
        try:
            ended = signer.process.wait(PATIENCE_S)
            assert ended == -9, self.net.report()  # it died of the blow and of nothing else
            self.struck.add(point)
        except subprocess.TimeoutExpired:
            self.net.kill_signer(number, restart=False)
        self.kills += 2
        back = len(self.net.said(number, "listening"))
        self.start(number)
        self.net.wait("it is back", lambda: len(self.net.said(number, "listening")) > back, 240)


def test_kill_nine_at_every_step(tmp_path: Path, data_dir: Path) -> None:
    with Network(tmp_path, data_dir, params=LONG) as net:
        reaper = Reaper(net, random.Random(7))
        for number in range(3):
            reaper.start(number)
        members = [net.add(f"member-{n}") for n in range(3)]
        net.recorded(240, 1)
        while reaper.kills < KILLS:
            reaper.strike(reaper.kills // 2 % 3)
        done = len(net.credited())
        net.wait_credited(done + 2, 600)
        print(f"{reaper.kills} kills, {len(reaper.struck)} of {len(POINTS)} points, {done} epochs credited meanwhile")
        print("not reached:", sorted(set(POINTS) - reaper.struck))
        no_second_word(net)
        net.same_checkpoints(*members)
        for signer in net.signers:
            signer.end(60)
        no_lost_receipt(net)
