"""`audit lineage`: checkpoints recomputed bit for bit, and by name what cannot be recomputed or is false."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import pytest

from commonweight.audit.lineage import lineage
from commonweight.exact.copies import Copy, Shown, copies
from commonweight.protocol.evidence import RoundFiles
from commonweight.protocol.records import Record
from commonweight.protocol.runconfig import RunConfig
from commonweight.store import Cid, FolderStore
from tests.audit.conftest import settings_of
from tests.audit.staging import Staged
from tests.audit.test_verify import by_signer, in_round

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
        assert ("copied-work", f"round {number}") in names
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
    assert verdicts["copied-work", "round 1"].verdict == "ok"
    assert verdicts["copied-work", "round 3"].verdict == "unavailable"
    for position in (0, 1):
        assert verdicts["attested-checkpoints", f"checkpoint {position}"].verdict == "unavailable"
        assert "not available" in verdicts["attested-checkpoints", f"checkpoint {position}"].detail


def test_a_payload_that_the_own_store_has_damaged_is_unavailable_and_convicts_nobody(run: Staged) -> None:
    cid = payload_cids(run, 3)[1]
    path = run.store.folder / "blocks" / cid[-2:] / cid
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    found = not_ok(run)
    assert found["rounds-recomputed", "round 3"][0] == "unavailable"
    assert cid in found["rounds-recomputed", "round 3"][1]
    assert ("rounds-recomputed", "round 4") not in found
    assert {verdict for verdict, _ in found.values()} == {"unavailable"}


def compared(
    staged: Staged, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[tuple[int, int, bytes]], Counter[str]]:  # fmt: skip
    """The samples by which likeness was judged, by round and index, and how often each payload was read."""
    seen, read, original = list[tuple[int, int, bytes]](), Counter[str](), FolderStore.read

    def looking(new: Sequence[Shown], old: Iterable[Shown], config: RunConfig) -> Mapping[int, Copy]:
        old = list(old)
        seen.extend((shown.commitment.round, shown.commitment.index, shown.sample.tobytes()) for shown in [*new, *old])
        return copies(new, old, config)

    def counting(store: FolderStore, cid: Cid, max_bytes: int) -> Iterator[bytes]:
        read[cid] += 1
        return original(store, cid, max_bytes)

    with monkeypatch.context() as patched:
        patched.setattr("commonweight.audit.lineage.copies", looking)
        patched.setattr(FolderStore, "read", counting)
        assert lineage(settings_of(staged)).verdict == "verified"
    return seen, Counter({cid: read[cid] for number in range(1, 5) for cid in payload_cids(staged, number)})


def test_payloads_are_sampled_once_for_all_rounds_in_which_they_are_compared(
    run: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, read = compared(run, monkeypatch)
    assert set(read.values()) == {4}, "checked, hashed, reduced, and sampled"
    monkeypatch.setattr("commonweight.audit.lineage._AHEAD", 0)  # as when another record was anchored before it
    again, more = compared(run, monkeypatch)
    assert again == seen
    assert [more[cid] for cid in payload_cids(run, 1)] == [4 + 3] * len(payload_cids(run, 1))


def test_without_the_store_nothing_is_verified(run: Staged, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    report = lineage(settings_of(run, store=tmp_path / "empty"))
    assert report.verdict == "incomplete"


def test_a_copy_that_was_credited_and_a_refusal_for_none_are_refuted(
    closed_run: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    def accuse(files: RoundFiles) -> RoundFiles:
        scores = {v.body["index"]: v for v in files.verdicts if v.body["check"] == "contribution"}
        reason = "a copy of provider 0's payload of round 3"
        false = by_signer(closed_run, scores[1], check="structure", outcome="fail", scores={}, reason=reason)
        cleared = by_signer(closed_run, scores[2], check="structure", outcome="pass", scores={}, reason="")
        return replace(files, verdicts=(*files.verdicts, false, cleared))

    closed_run.report(1, in_round(accuse))
    found = not_ok(closed_run)["copied-work", "round 3"]
    assert found[0] == "refuted"
    assert "was refused for a copy that its payload is not" in found[1]
    monkeypatch.setattr("commonweight.audit.lineage.copies", lambda new, old, config: {1: Copy(0, 2), 2: Copy(0, 2)})
    found = not_ok(closed_run)
    assert found["copied-work", "round 1"][0] == "refuted"
    assert "was credited for a copy of provider 0's payload of round 2" in found["copied-work", "round 1"][1]
    assert ("copied-work", "round 3") not in found, "a signer has looked at both there"
