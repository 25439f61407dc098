"""A corrupt quorum that leaves out what is anchored, goes back, or draws early: named by the audits, and what an honest
run has of the kind is not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from commonweight.audit.findings import AuditReport
from commonweight.audit.lineage import lineage
from commonweight.audit.verify import verify
from commonweight.chain.local import start_local
from commonweight.protocol.evidence import Evaluation, Evidence
from commonweight.protocol.fields import digest_bytes
from commonweight.protocol.records import LeftOut, Plan, Record, sign_body
from tests.audit.conftest import settings_of
from tests.audit.staging import Staged, stage
from tests.audit.test_verify import problems
from tests.chain.scenario import SIGNERS

pytestmark = [pytest.mark.chain, pytest.mark.timeout(600)]


def detail(report: AuditReport, name: str, subject: str = "") -> str:
    return next(check.detail for check in report.checks if (check.name, check.subject) == (name, subject))


def void(staged: Staged, *epochs: int) -> None:
    for epoch in epochs:
        staged.world.close(epoch)
        staged.world.warp(staged.run.oracle.epoch_info(epoch).closed_at + staged.run.params.report_span + 1)
        staged.run.oracle.void_epoch(epoch)


def carried(staged: Staged, *numbers: int) -> dict[int, dict[str, object]]:
    """What epoch 1 has of these rounds, and what it leaves for later, as fields of a staged run."""
    epoch, anchors = staged.rounds[1], staged.anchors[1]
    now = {n: files for n, files in epoch.items() if n in numbers}
    later = {n: files for n, files in epoch.items() if n not in numbers}
    return {
        1: {"rounds": now, "anchors": [a for a in anchors if a.round in now]},
        2: {"rounds": later, "anchors": [a for a in anchors if a.round in later]},
    }


def put(staged: Staged, epoch: int, parts: dict[str, object]) -> None:
    for name, value in parts.items():
        setattr(staged, name, {**getattr(staged, name), epoch: value})


def test_an_anchored_round_that_no_report_takes_is_named_until_the_end_and_unavailable_then(
    closed_run: Staged,
) -> None:
    put(closed_run, 1, carried(closed_run, 3)[1])
    closed_run.report(1)
    closed_run.world.finalize(1)
    report = verify(settings_of(closed_run))
    assert problems(report) == {}, "it may be carried over"
    assert detail(report, "anchored-rounds") == "3 checked; in no report yet: 4"
    void(closed_run, 2, 3)
    report = verify(settings_of(closed_run))
    assert problems(report) == {("anchored-rounds", ""): "unavailable"}
    assert "round 4" in detail(report, "anchored-rounds")


@pytest.mark.parametrize("taken", [(3,), ()], ids=["one round carried over", "an epoch without work"])
def test_rounds_carried_over_to_a_later_report_are_verified(closed_run: Staged, taken: tuple[int, ...]) -> None:
    parts = carried(closed_run, *taken)
    put(closed_run, 1, parts[1])
    closed_run.report(1)
    closed_run.world.finalize(1)
    assert problems(verify(settings_of(closed_run))) == {}
    closed_run.world.close(2)
    put(closed_run, 2, parts[2])
    closed_run.report(2)
    closed_run.world.finalize(2)
    void(closed_run, 3)
    assert problems(verify(settings_of(closed_run))) == {}
    assert problems(lineage(settings_of(closed_run))) == {}


@pytest.mark.parametrize(
    ("takes_over", "recorded", "verdict"),
    [(True, False, "verified"), (False, False, "incomplete"), (True, True, "incomplete")],
    ids=["given up by a change of coordinator", "by the same coordinator", "though it had a record"],
)
def test_a_round_that_a_later_one_passes_over_is_named(
    anvil_url: str, tmp_path: Path, takes_over: bool, recorded: bool, verdict: str
) -> None:
    staged = stage(anvil_url, tmp_path)
    staged.play_round(0, 1)
    staged.play_round(0, 2, recorded=False)
    if recorded:
        now = staged.run.chain.timestamp()
        staged.world.by(6).oracle.anchor_round(2, now - 1, bytes(32), 2, b"\x0f" * 32)
    staged.coordinator = SIGNERS[1] if takes_over else SIGNERS[0]
    staged.play_round(0, 3)
    staged.world.close(0)
    staged.report(0)
    report = verify(settings_of(staged))
    assert report.verdict == verdict
    assert set(problems(report)) <= {("anchored-rounds", "")}
    assert "round 2" in detail(report, "anchored-rounds")
    assert lineage(settings_of(staged)).verdict == "verified"


def test_a_second_record_that_counts_nobody_hides_no_commitments(closed_run: Staged) -> None:
    files = closed_run.rounds[1][4]
    plan, true = Plan.from_body(files.plan.body), Record.from_body(files.record.body)
    missing = tuple(LeftOut(index, None, "no-commitment", None) for index in plan.indices)
    false = replace(
        true, counted=(), results=(), links=(), checkpoint=plan.base, checkpoint_cid=plan.base_cid, missing=missing
    )
    signed = sign_body(false, SIGNERS[0].private_key, closed_run.run.oracle.domain())
    now = closed_run.run.chain.timestamp()
    closed_run.world.by(5).oracle.anchor_round(4, now - 1, bytes(32), 4, digest_bytes(signed.digest))
    empty = replace(files, record=signed, commitments=(), receipts=(), results=(), verdicts=(), manifest=None)
    closed_run.rounds = {**closed_run.rounds, 1: {**closed_run.rounds[1], 4: empty}}
    closed_run.anchors = {**closed_run.anchors, 1: closed_run.anchors[1][:1]}
    closed_run.report(1)
    report = verify(settings_of(closed_run))
    assert problems(report) == {("anchored-work", "epoch 1"): "unavailable"}
    assert "round 4" in detail(report, "anchored-work", "epoch 1")


def test_a_record_anchored_before_the_published_one_is_named(closed_run: Staged) -> None:
    """It may be junk that any signer anchored, so that it refutes nothing."""
    second = closed_run.rounds[1][4]
    again = replace(Record.from_body(second.record.body), missing=(LeftOut(3, None, "silent", None),))
    signed = sign_body(again, SIGNERS[0].private_key, closed_run.run.oracle.domain())
    now = closed_run.run.chain.timestamp()
    closed_run.world.by(5).oracle.anchor_round(4, now - 1, bytes(32), 4, digest_bytes(signed.digest))
    closed_run.rounds = {**closed_run.rounds, 1: {**closed_run.rounds[1], 4: replace(second, record=signed)}}
    closed_run.report(1)
    report = verify(settings_of(closed_run))
    assert problems(report) == {}
    told = detail(report, "anchored-work", "epoch 1")
    assert f"{second.record.digest}, anchored before the record of round 4" in told


def back_to(number: int) -> Callable[[Staged], Callable[[Evidence], Evidence]]:
    """The evaluation of an epoch's report is of a checkpoint that was there before."""

    def of(staged: Staged) -> Callable[[Evidence], Evidence]:
        old = Record.from_body(staged.rounds[0][number].record.body)
        lie = Evaluation(number, old.checkpoint, old.checkpoint_cid, 2_000_000, 1000)
        return lambda evidence: replace(evidence, evaluation=lie)

    return of


@pytest.mark.parametrize("number", [1, 2])
def test_a_report_that_attests_less_than_its_rounds_make_is_refuted(closed_run: Staged, number: int) -> None:
    closed_run.report(1, back_to(number)(closed_run))
    closed_run.world.finalize(1)
    assert problems(verify(settings_of(closed_run))) == {("evaluation", "epoch 1"): "refuted"}
    assert problems(lineage(settings_of(closed_run))) == {("attested-checkpoints", "epoch 1"): "refuted"}


def test_a_draw_before_the_anchor_is_refuted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan says that its anchor window ends at once, so that the seed is known before anything is anchored."""
    true = Staged._plan

    def early(self: Staged, epoch: int, number: int, deadline: int) -> Plan:
        plan = true(self, epoch, number, deadline)
        return replace(plan, anchor_by_ms=plan.commit_by_ms + 1)

    monkeypatch.setattr(Staged, "_plan", early)
    with start_local("anvil", directory=tmp_path / "chain", block_time_s=None) as chain:
        staged = stage(chain.url, tmp_path)
        staged.play_epoch(0)
        staged.report(0)
        assert problems(verify(settings_of(staged))) == {("replay-draws", "epoch 0"): "refuted"}
