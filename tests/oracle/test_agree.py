"""Agreement: three signers with the same documents sign the same report, and none signs what it cannot recompute."""

from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from commonweight.errors import RuleBroken
from commonweight.protocol.canonical import loads_object
from commonweight.protocol.documents import Report, Signed
from commonweight.protocol.evidence import Evidence
from commonweight.protocol.fields import digest_bytes, hex32
from commonweight.protocol.keys import recover_address
from commonweight.protocol.merkle import anchor_root
from commonweight.protocol.offences import Offence
from commonweight.protocol.records import Anchor, Plan, Receipt, Record, Result, Segment, Verdict, sign_body
from oracle.agree import Agreement
from oracle.db import AnchorRow, EquivocationError
from oracle.evaluating import Evaluating
from oracle.intake import TwoDocumentsError
from oracle.judging import Judging
from oracle.phases import Finish, SendAnchor
from oracle.replaying import Replaying
from oracle.report import Proposal, Reporting
from oracle.rounds import Doc, Rounds
from oracle.standings import Standings
from tests.oracle.office import DOMAIN, SIGNER_KEYS, SIGNERS, Chain, Crew, Office, commit, member_key, reduce, upload
from tests.oracle.test_coordinator import copy, gather, play, until

pytestmark = pytest.mark.unit


class Clerk:
    """One signer with everything that agreement needs; the worker is replaced by known losses."""

    def __init__(self, office: Office) -> None:
        self.office = office
        nothing: Any = None
        standings = Standings(office.desk)
        self.reporting = Reporting(office.desk, office.recount, standings)
        self.replaying = Replaying(office.desk, nothing, standings)
        self.judging = Judging(office.desk, office.recount, self.replaying)
        self.evaluating = Evaluating(office.desk, office.recount, nothing)
        self.agreement = Agreement(
            office.desk, self.reporting, office.recount, self.replaying, office.offending, self.evaluating, standings
        )

    def copy_from(self, other: Office) -> None:
        for row in other.seat.db.documents_after(0, 10_000):
            self.office.intake.accept(Signed.from_bytes(row.signed))

    async def verify(self, outcome: str = "pass", loss: int = 2_500_000, rounds: int = 2) -> None:
        """Recount, draw, and sign a verdict on every draw that is this signer's; know every checkpoint's loss."""
        self.office.look()
        while await self.office.recount.step():
            pass
        await self.replaying.draw()
        while await self.judging.step():
            pass
        for draw in self.office.seat.db.open_draws("wanted"):
            plan, commitment = self.office.desk.rounds.plan(draw.round), self.replaying._commitment(draw)
            assert plan is not None
            assert commitment is not None
            verdict = Verdict(
                self.office.seat.campaign, plan.body.epoch, draw.round, draw.member, commitment.digest,
                self.office.seat.address, "replay", Segment(draw.segment, draw.segment + 1), outcome, True, 0.0, 0.0,
                (), draw.seed_block, hex32(draw.seed_hash), "",
            )  # fmt: skip
            self.replaying._sign(draw, verdict)
        for task in self.replaying._fetching.values():
            task.cancel()
        for number in range(1, rounds + 1):
            checkpoint = self.office.record(number).checkpoint
            self.office.seat.db.set_meta(f"loss/{checkpoint}", f"{loss} 640")


@pytest.fixture
async def clerks(tmp_path: Path) -> list[Clerk]:
    """Three signers after two rounds of three members."""
    chain = Chain()
    crew = {i: Crew(i) for i in range(3)}
    offices = [Office(tmp_path, chain, position, max_rounds=2) for position in range(3)]
    for _ in range(2):
        await play(offices[0], crew)
    await until(offices[0], Finish)
    chain.now_ms += 4000
    made = [Clerk(office) for office in offices]
    for clerk in made:
        clerk.office.look()
    for clerk in made[1:]:
        clerk.copy_from(offices[0])
    for clerk in made:
        await clerk.verify()
    chain.now_ms = offices[0].params.epoch_end(0) * 1000 + 5000
    for clerk in made:
        for other in offices:
            clerk.copy_from(other)
        clerk.office.look()
    return made


async def proposed(clerk: Clerk, attempt: int = 0) -> Proposal:
    found = await clerk.agreement._fresh(clerk.office.desk.view, attempt)
    assert found is not None
    return found


async def votes(clerk: Clerk, caller: str, report: Report, evidence: Evidence) -> bytes:
    return await clerk.agreement.vote(caller, report.to_body(), evidence.files)


async def test_honest_signers_build_and_sign_the_same_report(clerks: list[Clerk]) -> None:
    first = await proposed(clerks[0])
    assert first.rounds == [1, 2]
    assert first.report.epoch_credits > 0
    again = await proposed(clerks[1])
    assert again.evidence.files == first.evidence.files
    assert again.report == first.report
    digest = first.report.digest(clerks[0].office.seat.domain)
    for clerk in clerks[1:]:
        signature = await votes(clerk, SIGNERS[0], first.report, first.evidence)
        assert recover_address(digest, signature) == clerk.office.seat.address


async def test_what_cannot_stand_in_evidence_holds_up_no_report(clerks: list[Clerk]) -> None:
    """One signer signs verdicts that fit nothing and anchors what nobody has; a reducer speaks after the record."""
    first = clerks[0].office
    plan, record, chain = first.desk.rounds.plan(2), first.record(2), first.chain
    assert plan is not None
    lies = [*false_verdicts(clerks[0]), late_result(plan, record)]
    for true in (0, 2):  # with none, and with some of the round's commitments
        leaves = tuple(sorted([*list(first.desk.rounds.commitments(plan))[:true], "0x" + "ee" * 32]))
        root = anchor_root([digest_bytes(leaf) for leaf in leaves])
        block = next(row.block for row in chain.anchors if row.round == 2)
        chain.anchors.append(AnchorRow(block, 9 + true, 2, 0, plan.body.deadline_s, root, 0, bytes(32), bytes(32)))
        anchor = Anchor(plan.body.run, 2, plan.body.deadline_s, leaves, hex32(root))
        lies.append(sign_body(anchor, SIGNER_KEYS[2 - true // 2], DOMAIN))
    for clerk in clerks:
        for lie in lies:
            clerk.office.intake.accept(lie)
        clerk.office.look()
    assert root in first.desk.rounds.finalized_roots(2)
    made = await proposed(clerks[0])
    assert made.rounds == [1, 2]
    files = made.evidence.rounds[2]
    assert files.results
    given = {signed.digest for signed in (*files.verdicts, *files.results)}
    assert not given & {lie.digest for lie in lies}
    await votes(clerks[1], SIGNERS[0], made.report, made.evidence)


async def test_work_for_another_plan_of_the_round_holds_up_no_report(clerks: list[Clerk]) -> None:
    """Whoever coordinated before plans the round too, a member commits to both, and one root has that beside honest
    work: it cannot be checked by the plan of the record, and says nothing.
    """
    first = clerks[0].office
    plan, chain = first.desk.rounds.plan(2), first.chain
    assert plan is not None
    other = sign_body(replace(plan.body, exchange_by_ms=plan.body.exchange_by_ms + 1), SIGNER_KEYS[1], DOMAIN)
    base = first.desk.checkpoints.get(plan.body.base, plan.body.base_cid).checkpoint
    double = Crew(0).work(first.config, other, Plan.from_body(other.body), base)
    honest = list(first.desk.rounds.commitments(plan))
    leaves = tuple(sorted([honest[0], double.digest]))
    root = anchor_root([digest_bytes(leaf) for leaf in leaves])
    block = next(row.block for row in chain.anchors if row.round == 2)
    chain.anchors.append(AnchorRow(block, 9, 2, 0, plan.body.deadline_s, root, 0, bytes(32), bytes(32)))
    anchor = sign_body(Anchor(plan.body.run, 2, plan.body.deadline_s, leaves, hex32(root)), SIGNER_KEYS[1], DOMAIN)
    for clerk in clerks:
        clerk.office.desk.rounds = Rounds(clerk.office.seat.db, SIGNERS[1], SIGNERS[0])
        for signed in (other, double, anchor):
            assert clerk.office.intake.accept(signed)
        clerk.office.look()
    assert root in first.desk.rounds.finalized_roots(2)
    assert clerks[1].office.planned(2).digest == plan.digest
    made = await proposed(clerks[0])
    assert made.rounds == [1, 2]
    assert {signed.digest for signed in made.evidence.rounds[2].commitments} == set(honest)
    await votes(clerks[1], SIGNERS[0], made.report, made.evidence)


async def test_a_signer_and_a_member_who_show_late_that_it_was_anchored_cost_nobody_the_round(tmp_path: Path) -> None:
    chain, crew = Chain(), {i: Crew(i) for i in range(3)}
    offices = [Office(tmp_path, chain, position, max_rounds=1) for position in range(3)]
    first, corrupt = offices[0], offices[2]
    await gather(first, crew)
    copy(first, corrupt)
    corrupt.look()
    for index, office in ((0, first), (1, first), (2, corrupt)):
        await commit(office, crew[index])
    await until(first, SendAnchor)
    chain.now_ms = first.plan()[1].commit_by_ms + 2600
    assert await corrupt.collecting.anchor_own()
    chain.now_ms = first.plan()[1].anchor_by_ms + 1100
    for index in (0, 1):
        await upload(first, crew[index])
    await reduce(first, crew, (0, 1))
    await until(first, Finish)
    chain.now_ms += 4000
    clerks = [Clerk(office) for office in offices]
    for clerk in clerks:
        clerk.office.look()
        for other in offices:
            clerk.copy_from(other)
    for clerk in clerks:
        await clerk.verify(rounds=1)
    chain.now_ms = first.params.epoch_end(0) * 1000 + 5000
    for clerk in clerks:
        for other in offices:
            clerk.copy_from(other)
        clerk.office.look()
    made = await proposed(clerks[0])
    assert made.rounds == [1]
    assert [entry.index for entry in first.record(1).counted] == [0, 1]
    assert len(made.evidence.rounds[1].commitments) == 3, "evidence shows what the record left out"
    await votes(clerks[1], SIGNERS[0], made.report, made.evidence)


def false_verdicts(clerk: Clerk) -> list[Signed]:
    """Verdicts on each member of the second round, of another epoch, by another block, or by one that never was."""
    fields: list[dict[str, Any]] = [{"epoch": 1}, {"seed_block": 1}, {"seed_hash": "0x" + "ee" * 32}]
    true = clerk.reporting.verdicts(2)[0].body
    made = []
    for entry, lie in zip(clerk.office.record(2).counted, fields, strict=True):
        about: dict[str, Any] = {"index": entry.index, "commitment": entry.commitment, "signer": SIGNERS[2]}
        plain: dict[str, Any] = {"check": "structure", "segment": None, "exact": False, "rel_l2": None}
        false = replace(true, norm_ratio=None, outcome="pass", **about, **plain)
        made.append(sign_body(replace(false, **lie), SIGNER_KEYS[2], DOMAIN))
    return made


def late_result(plan: Doc[Plan], record: Record) -> Signed:
    """A result by the backup of a part, of which the record knows nothing."""
    backup = Crew(plan.body.backups[0])
    used = [entry.commitment for entry in record.counted]
    made = backup.result(plan.signed, plan.body, 0, tuple(plan.body.indices), record.results[0], used)
    links = tuple(replace(link, bytes=7) for link in Result.from_body(made.body).links)
    return sign_body(replace(Result.from_body(made.body), links=links), backup.key, DOMAIN)


async def test_a_draw_is_not_done_by_a_verdict_that_cannot_stand(clerks: list[Clerk]) -> None:
    office, reporting = clerks[0].office, clerks[0].reporting
    draw = next(draw for draw in office.seat.db.draws(2) if SIGNERS[draw.position] == SIGNERS[1])
    true = next(v for v in reporting.verdicts(2) if v.signer == SIGNERS[1] and v.body.index == draw.member)
    office.seat.db.write("DELETE FROM documents WHERE kind='verdict' AND digest=?", digest_bytes(true.digest))
    office.crash()
    clerk = Clerk(office)
    clerk.office.look()
    clerk.office.intake.accept(sign_body(replace(true.body, epoch=1), SIGNER_KEYS[1], DOMAIN))
    assert clerk.reporting.waiting(0, []) == ([1], [2])
    office.chain.now_ms += 60_000
    await clerk.replaying.draw()
    assert [d.member for d in office.seat.db.draws(2) if d.state == "wanted"] == [draw.member], "another takes it over"
    for task in clerk.replaying._fetching.values():
        task.cancel()


async def test_links_that_nobody_measured_hold_up_a_round_and_not_the_rounds_of_later_epochs(
    clerks: list[Clerk],
) -> None:
    office = clerks[0].office
    office.seat.db.write("DELETE FROM documents WHERE kind='result' AND round=2")
    office.crash()
    clerk = Clerk(office)
    clerk.office.look()
    assert clerk.reporting.waiting(0, []) == ([1], [2]), "results may still come from another signer"
    assert clerk.reporting.waiting(1, []) == ([1], [])
    assert [clerk.reporting.stands(number) for number in (1, 2)] == [True, False]
    whole = await proposed(clerks[1])
    with pytest.raises(RuleBroken, match="passed over"):
        await clerks[2].agreement._check_order(office.desk.view, [3])
    await clerk.agreement._check_order(office.desk.view, [1, 3])
    clerk.copy_from(clerks[1].office)
    assert clerk.reporting.waiting(0, []) == (whole.rounds, [])


async def test_work_that_nobody_receipted_in_time_holds_up_its_round_and_not_all_reports(clerks: list[Clerk]) -> None:
    office = clerks[0].office
    office.seat.db.write("DELETE FROM documents WHERE kind='receipt' AND round=2")
    office.crash()
    clerk = Clerk(office)
    clerk.office.look()
    assert [clerk.reporting.stands(number) for number in (1, 2)] == [True, False]
    assert clerk.reporting.waiting(0, []) == ([1], [2]), "receipts may still come from another signer"
    assert clerk.reporting.waiting(1, []) == ([1], [])
    await clerk.agreement._check_order(office.desk.view, [1, 3])


async def test_two_commitments_with_one_name_hold_up_their_round_and_not_all_reports(
    clerks: list[Clerk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their digests begin alike, which a member can have by looking long enough; a corrupt signer anchors both."""
    monkeypatch.setattr("commonweight.protocol.evidence.DIGITS", 1)
    first = clerks[0].office
    plan = first.planned(1)
    (own,) = first.desk.rounds.commitments(plan, member=2).values()
    others = (
        sign_body(replace(own.body, payload_bytes=own.body.payload_bytes + n), member_key(2), DOMAIN) for n in count(1)
    )
    second = next(signed for signed in others if signed.digest[2] == own.digest[2])
    leaves = tuple(sorted((own.digest, second.digest)))
    root = anchor_root([digest_bytes(leaf) for leaf in leaves])
    block = next(row.block for row in first.chain.anchors if row.round == 1)
    row = AnchorRow(block, 9, 1, 0, plan.body.deadline_s, root, 0, bytes(32), bytes(32))
    first.chain.anchors.append(row)
    for clerk in clerks:
        with pytest.raises(TwoDocumentsError):
            clerk.office.intake.accept(second)
        anchor = Anchor(plan.body.run, 1, plan.body.deadline_s, leaves, hex32(root))
        clerk.office.intake.accept(sign_body(anchor, SIGNER_KEYS[2], DOMAIN))
        clerk.office.seat.db.add_anchors([row], clerk.office.desk.view.finalized.number)
    found = await proposed(clerks[0])
    assert found.rounds == [2]
    for clerk in clerks[1:]:
        await votes(clerk, SIGNERS[0], found.report, found.evidence)


async def test_who_has_committed_twice_is_owed_one_place_alone(clerks: list[Clerk]) -> None:
    """One commitment has the coordinator's receipt and the other one most signers'; a corrupt signer anchors both."""
    first = clerks[0].office
    plan = first.planned(1)
    (own,) = first.desk.rounds.commitments(plan, member=2).values()
    second = sign_body(replace(own.body, payload_bytes=own.body.payload_bytes + 1), member_key(2), DOMAIN)
    leaves = tuple(sorted((own.digest, second.digest)))
    root = anchor_root([digest_bytes(leaf) for leaf in leaves])
    block = next(row.block for row in first.chain.anchors if row.round == 1)
    row = AnchorRow(block, 9, 1, 0, plan.body.deadline_s, root, 0, bytes(32), bytes(32))
    first.chain.anchors.append(row)
    receipt = Receipt(plan.body.run, 1, second.digest, 2, plan.body.commit_by_ms)
    for clerk in clerks:
        with pytest.raises(TwoDocumentsError):
            clerk.office.intake.accept(second)
        for position in (1, 2):
            clerk.office.intake.accept(sign_body(receipt, SIGNER_KEYS[position], DOMAIN))
        anchor = Anchor(plan.body.run, 1, plan.body.deadline_s, leaves, hex32(root))
        clerk.office.intake.accept(sign_body(anchor, SIGNER_KEYS[2], DOMAIN))
        clerk.office.seat.db.add_anchors([row], clerk.office.desk.view.finalized.number)
    found = await proposed(clerks[0])
    assert found.rounds == [1, 2]
    for clerk in clerks[1:]:
        await votes(clerk, SIGNERS[0], found.report, found.evidence)


async def test_a_report_takes_no_more_rounds_than_evidence_can_hold(
    clerks: list[Clerk], monkeypatch: pytest.MonkeyPatch
) -> None:
    both = await proposed(clerks[0])
    files = both.evidence.rounds[1].size[0]
    assert sum(path.split("/")[-1].startswith(("1-", "1.")) for path in both.evidence.files) == files
    monkeypatch.setattr("oracle.report.EVIDENCE_FILES", files + 1)
    one = await proposed(clerks[1])
    assert (both.rounds, one.rounds) == ([1, 2], [1])
    await votes(clerks[2], SIGNERS[0], one.report, one.evidence)
    monkeypatch.setattr("oracle.report.EVIDENCE_FILES", 1)
    assert (await proposed(clerks[1])).rounds == [1], "one at the least"


async def test_lies_of_signers_leave_room_for_the_rounds(clerks: list[Clerk], monkeypatch: pytest.MonkeyPatch) -> None:
    """They decide no credits; a signer that tells many long ones must not keep its rounds from being reported."""
    both = await proposed(clerks[0])
    monkeypatch.setattr("oracle.report.SIGNERS_LIES_BYTES", 5_000)
    for clerk in clerks:
        for number in (1, 2):
            documents = tuple(Signed("plan", {"text": f"{n}" * 2_000}, "0x" + "11" * 65) for n in range(2))
            for rule in ("equivocation", "omission", "wrong-record"):
                lie = Offence(clerk.office.seat.campaign, rule, number, None, SIGNERS[2], None, documents, ())
                clerk.office.offending._keep(lie)
    found = await proposed(clerks[1])
    assert found.rounds == both.rounds
    assert [Offence.from_body(signed.body).signer for signed in found.evidence.offences] == [SIGNERS[2]]
    monkeypatch.setattr("oracle.agree.check", lambda *_: None)
    await votes(clerks[2], SIGNERS[0], found.report, found.evidence)


async def test_offences_of_members_are_counted_with_their_round(
    clerks: list[Clerk], monkeypatch: pytest.MonkeyPatch
) -> None:
    both = await proposed(clerks[0])
    size = sum(len(data) for data in both.evidence.files.values())
    document = Signed("plan", {"text": "x" * size}, "0x" + "11" * 65)
    clerks[1].office.offending._keep(
        Offence(clerks[1].office.seat.campaign, "wrong-target", 2, 2, None, None, (document,), ())
    )
    monkeypatch.setattr("oracle.report.EVIDENCE_BYTES", size)
    assert (await proposed(clerks[1])).rounds == [1]


async def test_rounds_that_are_reported_are_not_gone_through_again(
    clerks: list[Clerk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A vote has half a minute, however many rounds there were before."""
    clerk, read = clerks[1], list[int]()
    plan = clerk.office.desk.rounds.plan

    async def credited(_: object) -> frozenset[int]:
        return frozenset({1, 2})

    def counted(number: int) -> Doc[Plan] | None:
        read.append(number)
        return plan(number)

    monkeypatch.setattr(clerk.agreement, "credited", credited)
    monkeypatch.setattr(clerk.reporting, "stands", lambda number: read.append(number) or True)
    monkeypatch.setattr(clerk.office.desk.rounds, "plan", counted)
    await clerk.agreement._check_order(clerk.office.desk.view, [3])
    assert clerk.reporting.waiting(0, frozenset({1, 2})) == ([], [])
    assert read == []
    with pytest.raises(RuleBroken, match="Round 1 is passed over"):
        monkeypatch.setattr(clerk.agreement, "credited", Agreement.credited.__get__(clerk.agreement))
        await clerk.agreement._check_order(clerk.office.desk.view, [3])


async def test_a_signer_signs_one_report_per_attempt_over_a_crash(clerks: list[Clerk]) -> None:
    first = await proposed(clerks[0])
    await votes(clerks[1], SIGNERS[0], first.report, first.evidence)
    other = replace(first.report, block_number=first.report.block_number - 1)
    other = replace(other, block_hash=clerks[1].office.chain.block(other.block_number).hash)
    clerks[1].office.crash()
    clerk = Clerk(clerks[1].office)
    clerk.office.look()
    same = await votes(clerk, SIGNERS[0], first.report, first.evidence)
    assert same == await votes(clerk, SIGNERS[0], first.report, first.evidence)
    with pytest.raises(EquivocationError):
        await votes(clerk, SIGNERS[0], other, first.evidence)


async def test_the_proposal_of_an_attempt_is_the_same_after_a_crash(clerks: list[Clerk]) -> None:
    first = await proposed(clerks[0])
    clerks[0].office.crash()
    clerk = Clerk(clerks[0].office)
    clerk.office.chain.now_ms += 3000
    clerk.office.look()
    stored = await clerk.agreement._stored(0, 0)
    assert stored is not None
    assert stored.report == first.report
    assert stored.credits == first.credits
    assert stored.evidence.files == first.evidence.files


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"epoch_credits": 1}, "wrong-report"),
        ({"root": b"\x01" * 32}, "wrong-report"),
        ({"prev_root": b"\x01" * 32}, "wrong-report"),
        ({"sum": 5}, "wrong-report"),
        ({"depth": 9}, "wrong-report"),
        ({"config_digest": b"\x01" * 32}, "wrong-report"),
        ({"checkpoint": b"\x01" * 32}, "wrong-report"),
        ({"loss_micro": 1}, "wrong-report"),
        ({"round": 1}, "wrong-report"),
        ({"evidence_sha256": b"\x01" * 32}, "wrong-report"),
        ({"credits_hash": b"\x01" * 32}, "wrong-report"),
        ({"block_hash": b"\x01" * 32}, "wrong-report"),
        ({"evidence_cid": "bafkreicysg23kiwv34eg2d7qweipxwosdo2py4ldv42nbauguluen5v6am"}, "wrong-evidence"),
        ({"epoch": 1}, "wrong-epoch"),
        ({"attempt": 1}, "wrong-attempt"),
    ],
)
async def test_no_field_of_a_report_can_be_changed(clerks: list[Clerk], change: dict[str, Any], rule: str) -> None:
    first = await proposed(clerks[0])
    with pytest.raises(RuleBroken) as broken:
        await votes(clerks[1], SIGNERS[0], replace(first.report, **change), first.evidence)
    assert broken.value.rule == rule
    assert clerks[1].office.seat.db.promised("report/0/0") is None  # type: ignore[arg-type]


async def test_a_signer_out_of_turn_gets_no_vote(clerks: list[Clerk]) -> None:
    first = await proposed(clerks[1])
    with pytest.raises(RuleBroken) as broken:
        await votes(clerks[2], SIGNERS[1], first.report, first.evidence)
    assert broken.value.rule == "wrong-attempt"


async def test_a_loss_that_is_not_what_is_measured_here_is_refused(clerks: list[Clerk]) -> None:
    first = await proposed(clerks[0])
    checkpoint = clerks[1].office.record(2).checkpoint
    clerks[1].office.seat.db.set_meta(f"loss/{checkpoint}", "2600000 640")
    with pytest.raises(RuleBroken) as broken:
        await votes(clerks[1], SIGNERS[0], first.report, first.evidence)
    assert broken.value.rule == "wrong-evaluation"
    clerks[1].office.seat.db.set_meta(f"loss/{checkpoint}", "2501900 640")
    await votes(clerks[1], SIGNERS[0], first.report, first.evidence)


async def test_a_report_on_older_rounds_attests_again_what_was_attested(clerks: list[Clerk]) -> None:
    """A round that was passed over, as its links were not known, comes after later ones were reported."""
    clerk = clerks[0]
    second, view = clerk.office.record(2), clerk.office.desk.view
    report = replace(
        (await proposed(clerk)).report, round=2, checkpoint=digest_bytes(second.checkpoint),
        checkpoint_cid=second.checkpoint_cid,
    )  # fmt: skip
    event: Any = SimpleNamespace(report=report)
    clerk.office.desk.seen = replace(view, reports={0: event}, final={0: True})
    made = await clerk.evaluating.of([1], 1)
    assert (made.round, made.checkpoint, made.checkpoint_cid) == (2, second.checkpoint, second.checkpoint_cid)
    assert (await clerk.evaluating.of([1], 0)).round == 1


async def test_a_report_is_on_the_records_that_were_recomputed_here(clerks: list[Clerk]) -> None:
    """A coordinator has signed and anchored two records of a round, and shows one of them in its evidence alone."""
    first = clerks[0].office
    other = sign_body(replace(first.record(1), checkpoint_cid=first.record(2).checkpoint_cid), SIGNER_KEYS[0], DOMAIN)
    block = next(row.block for row in first.chain.anchors if row.record_round == 1)
    first.chain.anchors.append(
        AnchorRow(block, 9, 2, 0, 1, bytes(32), 1, digest_bytes(other.digest), bytes(32)),
    )  # fmt: skip
    first.seat.db.write("DELETE FROM documents WHERE kind='record' AND round=1")
    first.crash()
    corrupt = Clerk(first)
    assert first.intake.accept(other)
    first.recount.result = lambda _: "ok"  # type: ignore[method-assign]
    for clerk in (*clerks[1:], corrupt):
        clerk.office.look()
    made = await proposed(corrupt)
    assert made.evidence.rounds[1].record.digest == other.digest
    with pytest.raises(RuleBroken) as broken:
        await votes(clerks[1], SIGNERS[0], made.report, made.evidence)
    assert broken.value.rule == "wrong-record"


async def test_a_record_is_signed_by_who_planned_the_round(clerks: list[Clerk]) -> None:
    first = await proposed(clerks[0])
    again = sign_body(clerks[0].office.record(1), SIGNER_KEYS[2], DOMAIN)
    rounds = {**first.evidence.rounds, 1: replace(first.evidence.rounds[1], record=again)}
    forged = replace(first.evidence, rounds=rounds)
    with pytest.raises(RuleBroken, match="whoever planned it") as broken:
        await votes(clerks[1], SIGNERS[0], first.report, Evidence.load(forged.files))
    assert broken.value.rule == "wrong-record"


async def test_a_verdict_of_this_signer_must_not_be_left_out(clerks: list[Clerk]) -> None:
    first = await proposed(clerks[0])
    draw = next(d for d in clerks[1].office.seat.db.open_draws("other"))
    plan, commitment = clerks[1].office.desk.rounds.plan(draw.round), clerks[1].replaying._commitment(draw)
    assert plan is not None
    assert commitment is not None
    late = Verdict(
        clerks[1].office.seat.campaign, plan.body.epoch, draw.round, draw.member, commitment.digest,
        clerks[1].office.seat.address, "replay", Segment(draw.segment, draw.segment + 1), "fail", False, 1.0, 1.0, (),
        draw.seed_block, hex32(draw.seed_hash), "it differs here",
    )  # fmt: skip
    clerks[1].replaying._sign(draw, late)
    with pytest.raises(RuleBroken) as broken:
        await votes(clerks[1], SIGNERS[0], first.report, first.evidence)
    assert broken.value.rule == "missing-verdict"


async def test_nobody_is_credited_for_work_like_anothers_that_no_signer_has_looked_at(clerks: list[Clerk]) -> None:
    first = await proposed(clerks[0])
    clerks[1].office.seat.db.set_meta("alike/2", "1 0 2")
    with pytest.raises(RuleBroken, match=r"providers \[1\]") as broken:
        await votes(clerks[1], SIGNERS[0], first.report, first.evidence)
    assert broken.value.rule == "unjudged-likeness"
    clerks[1].office.seat.db.set_meta("alike/2", "")
    await votes(clerks[1], SIGNERS[0], first.report, first.evidence)


async def test_a_round_that_was_not_recomputed_here_is_not_signed(clerks: list[Clerk]) -> None:
    first = await proposed(clerks[0])
    clerks[1].office.seat.db.set_meta("recount/2", "wrong")
    with pytest.raises(RuleBroken) as broken:
        await votes(clerks[1], SIGNERS[0], first.report, first.evidence)
    assert broken.value.rule == "not-recounted"


@pytest.mark.parametrize(("liar", "others"), [("fail", "pass"), ("fail", "fail"), ("unavailable", "pass")])
async def test_failed_replays_by_a_majority_earn_nothing(tmp_path: Path, liar: str, others: str) -> None:
    """One signer's false `fail` is outvoted; a true one, confirmed by the others, refuses the member's epoch."""
    chain, crew = Chain(), {i: Crew(i) for i in range(3)}
    offices = [Office(tmp_path, chain, position, max_rounds=2) for position in range(3)]
    for _ in range(2):
        await play(offices[0], crew)
    await until(offices[0], Finish)
    chain.now_ms += 4000
    clerks = [Clerk(office) for office in offices]
    for clerk in clerks:
        clerk.office.look()
    for clerk in clerks[1:]:
        clerk.copy_from(offices[0])
    await clerks[0].verify(liar)
    for clerk in clerks[1:]:
        clerk.copy_from(offices[0])
        await clerk.verify(others)
    for _ in range(2):  # what one doubts, the others check too
        for clerk in clerks:
            for other in offices:
                clerk.copy_from(other)
        for clerk in clerks[1:]:
            await clerk.verify(others)
    doubted = {d.member for number in (1, 2) for d in offices[0].seat.db.draws(number) if d.state == "done"}
    chain.now_ms = offices[0].params.epoch_end(0) * 1000 + 5000
    for clerk in clerks:
        clerk.office.look()
    found = await proposed(clerks[0])
    lines = loads_object(found.evidence.credits)["lines"]
    assert isinstance(lines, list)
    refused = {int(str(line["index"])) for line in lines if isinstance(line, dict) and line["refused"]}
    assert doubted
    assert refused == ({0, 1, 2} if others == "fail" else set())
    await votes(clerks[1], SIGNERS[0], found.report, found.evidence)


@pytest.mark.parametrize("false_word", [False, True], ids=["all find it", "one signer lies"])
async def test_a_trace_that_does_not_continue_earns_nothing_though_a_coordinator_counts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, false_word: bool
) -> None:
    chain, crew = Chain(), {i: Crew(i) for i in range(3)}
    offices = [Office(tmp_path, chain, position, max_rounds=2) for position in range(3)]
    await play(offices[0], crew)
    if not false_word:
        assert crew[1].last is not None
        crew[1].last = replace(crew[1].last, m=crew[1].last.m + 1)
    monkeypatch.setattr("oracle.closing.Closing._continues", lambda *_: True)  # a coordinator that looks away
    await play(offices[0], crew)
    await until(offices[0], Finish)
    chain.now_ms += 4000
    clerks = [Clerk(office) for office in offices]
    for clerk in clerks:
        clerk.office.look()
    if false_word:
        lie = {2: {1: "it is not so"}}
        monkeypatch.setattr(clerks[0].office.recount, "findings", lambda number: lie.get(number, {}))
    for clerk in clerks[1:]:
        clerk.copy_from(offices[0])
    for _ in range(3):
        for clerk in clerks:
            for other in offices:
                clerk.copy_from(other)
            await clerk.verify()
    chain.now_ms = offices[0].params.epoch_end(0) * 1000 + 5000
    for clerk in clerks:
        clerk.office.look()
    proposal = await proposed(clerks[0])
    lines = loads_object(proposal.evidence.credits)["lines"]
    assert isinstance(lines, list)
    refused = [(line["round"], line["index"]) for line in lines if isinstance(line, dict) and line["refused"]]
    assert refused == ([] if false_word else [(2, 1)])
    await votes(clerks[1], SIGNERS[0], proposal.report, proposal.evidence)
