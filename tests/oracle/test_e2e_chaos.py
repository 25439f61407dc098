"""Signers killed at every step of their cycle: one report per epoch, never two signatures, no receipt lost."""

import json
import random
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass, field
from itertools import cycle
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
BLOWS = 5
ENOUGH_S = 2400.0
"""No blows after that, though there are points where nobody has died."""
PATIENCE_S = 75.0
MORE, LATER = 4, 12
LONG = {"last_epoch": 120, "later": 30}


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
    """Strikes one signer after the other, so that the others remain a quorum: first from outside, whatever it does, and
    then by its own hand, again and again as it comes back, at whichever fatal point it comes to first.
    """

    net: Network
    dice: random.Random
    kills: int = 0
    struck: set[str] = field(default_factory=set)

    def start(self, number: int, fatal: dict[str, int]) -> None:
        signer = self.net.signers[number]
        rest = signer.argv[signer.argv.index("oracle") :]
        signer.argv = [sys.executable, "-m", "tests.oracle.crashing", json.dumps(fatal), str(self._told), *rest]
        signer.start()

    def strike(self, number: int) -> None:
        """Some blows, and then its peace; where no fatal point is reached in time, one more from outside."""
        signer = self.net.signers[number]
        assert signer.alive, self.net.report()
        self._blow(number)
        for blow in range(1, BLOWS):
            told = self._last_words()
            self.start(number, self._fatal(again=blow % 2 == 0))
            assert signer.process is not None
            try:
                ended = signer.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self._blow(number)
                break
            assert ended == -9, self.net.report()  # it died of the blow and of nothing else
            assert len(self._last_words()) == len(told) + 1
            self.struck.add(self._last_words()[-1])
            self.kills += 1
        back = len(self.net.said(number, "listening"))
        self.start(number, {})
        self.net.wait("it is back", lambda: len(self.net.said(number, "listening")) > back, 240)

    def _blow(self, number: int) -> None:
        self.net.kill_signer(number, restart=False)
        self.kills += 1

    def _fatal(self, again: bool) -> dict[str, int]:
        """All points where nobody has died yet; or some others, at a later passage."""
        if again:
            return {
                p: self.dice.randint(2, LATER)
                for p in self.dice.sample(sorted(self.struck), min(MORE, len(self.struck)))
            }
        return {point: 1 for point in POINTS if point not in self.struck}

    @property
    def _told(self) -> Path:
        return self.net.folder / "last-words"

    def _last_words(self) -> list[str]:
        return self._told.read_text().splitlines() if self._told.exists() else []


def test_kill_nine_at_every_step(tmp_path: Path, data_dir: Path) -> None:
    with Network(tmp_path, data_dir, params=LONG) as net:
        reaper, turns = Reaper(net, random.Random(7)), cycle(range(3))
        for number in range(3):
            reaper.start(number, {})
        members = [net.add(f"member-{n}") for n in range(3)]
        net.recorded(240, 1)
        until = time.monotonic() + ENOUGH_S
        while reaper.kills < KILLS or (reaper.struck != set(POINTS) and time.monotonic() < until):
            reaper.strike(next(turns))
            print(f"{reaper.kills} kills, {len(reaper.struck)} points, epochs credited: {net.credited()}", flush=True)
        done = len(net.credited())
        net.wait_credited(done + 2, 600)
        print(f"{reaper.kills} kills, {len(reaper.struck)} of {len(POINTS)} points, {done} epochs credited meanwhile")
        print("not reached:", sorted(set(POINTS) - reaper.struck))
        no_second_word(net)
        net.same_checkpoints(*members)
        for signer in net.signers:
            signer.end(60)
        no_lost_receipt(net)
