"""`audit lineage`: checkpoints recomputed bit for bit, and by name what cannot be recomputed or is false."""

from __future__ import annotations

import pytest

from commonweight.audit.lineage import lineage
from commonweight.protocol.records import Record
from tests.audit.conftest import settings_of
from tests.audit.staging import Staged

pytestmark = [pytest.mark.chain, pytest.mark.timeout(600)]


def not_ok(staged: Staged) -> dict[tuple[str, str], tuple[str, str]]:
    report = lineage(settings_of(staged))
    return {(c.name, c.subject): (c.verdict, c.detail) for c in report.checks if c.verdict != "ok"}


def payload_cids(staged: Staged, number: int) -> list[str]:
    files = staged.rounds[(number - 1) // 2][number]
    return [entry.payload_cid for entry in Record.from_body(files.record.body).counted]


def test_a_true_run_is_verified(run: Staged) -> None:
    report = lineage(settings_of(run))
    assert [check for check in report.checks if check.verdict != "ok"] == []
    assert (report.verdict, report.exit_code) == ("verified", 0)
    names = [(check.name, check.subject) for check in report.checks]
    for number in range(1, 5):
        assert ("rounds-recomputed", f"round {number}") in names
    assert ("attested-checkpoints", "checkpoint 1") in names


def test_a_lost_payload_makes_its_round_unavailable_and_not_the_next(run: Staged) -> None:
    lost = payload_cids(run, 2)[0]
    (run.store.folder / "blocks" / lost[-2:] / lost).unlink()
    report = lineage(settings_of(run))
    verdicts = {(check.name, check.subject): check for check in report.checks}
    assert report.verdict == "incomplete"
    assert report.exit_code == 3
    gone = verdicts["rounds-recomputed", "round 2"]
    assert gone.verdict == "unavailable"
    assert lost in gone.detail
    assert verdicts["rounds-recomputed", "round 1"].verdict == "ok"
    assert verdicts["rounds-recomputed", "round 3"].verdict == "ok"
    for position in (0, 1):
        assert verdicts["attested-checkpoints", f"checkpoint {position}"].verdict == "unavailable"
        assert "not available" in verdicts["attested-checkpoints", f"checkpoint {position}"].detail


def test_an_altered_payload_is_refuted(run: Staged) -> None:
    cid = payload_cids(run, 3)[1]
    path = run.store.folder / "blocks" / cid[-2:] / cid
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    assert not_ok(run)["rounds-recomputed", "round 3"][0] == "refuted"


def test_without_the_store_nothing_is_verified(run: Staged, tmp_path) -> None:
    report = lineage(settings_of(run, store=tmp_path / "empty"))
    assert report.verdict == "incomplete"
