"""The coordinator over its whole life: rounds in order, a crash after every single step, and what members do wrong."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from commonweight.errors import OffenceError, PeerRefused, RuleBroken, SignatureError
from commonweight.exact.copies import Copy
from commonweight.exact.offences import check
from commonweight.protocol.documents import Signed
from commonweight.protocol.fields import digest_bytes, hex32
from commonweight.protocol.merkle import anchor_root
from commonweight.protocol.offences import Offence
from commonweight.protocol.records import Anchor, Commitment, LeftOut, Plan, Receipt, Record, Result, sign_body
from commonweight.protocol.structure import check_successor
from oracle.intake import NotYetError
from oracle.phases import AnchorRecord, Close, Decide, Finish, Open, SendAnchor, Wait
from oracle.report import Reporting
from oracle.rounds import Doc
from oracle.standings import Standings
from tests.oracle.office import DOMAIN, RUN, SIGNER_KEYS, SIGNERS, Chain, Crew, Office, commit, join, reduce, upload

pytestmark = pytest.mark.unit
TIMES = ("commit_by_ms", "anchor_by_ms", "exchange_by_ms", "record_by_ms")


@pytest.fixture
def crew() -> dict[int, Crew]:
    return {i: Crew(i) for i in range(3)}


async def until(office: Office, kind: type, crash: bool = False) -> list[str]:
    """Step until a step of this kind is done; returns the phases on the way."""
    seen: list[str] = []
    for _ in range(400):
        step = await office.step()
        seen.append(step.phase)
        if crash:
            office.crash()
            office.look()
        if isinstance(step, kind):
            return seen
    raise AssertionError(f"no {kind.__name__} in 400 steps: {seen[-10:]}")


async def gather(office: Office, crew: dict[int, Crew], crash: bool = False) -> None:
    """Bring everybody together and have a plan signed."""
    await join(office, *crew.values())
    for _ in range(40):
        step = await office.step()
        await join(office, *crew.values())
        if crash:
            office.crash()
        if isinstance(step, Open):
            return
    raise AssertionError("no plan")


async def play(office: Office, crew: dict[int, Crew], crash: bool = False) -> None:
    """A whole healthy round, from the plan to the record."""
    await gather(office, crew, crash)
    for member in crew.values():
        await commit(office, member)
    await until(office, SendAnchor, crash)
    _, plan = office.plan()
    office.chain.now_ms = plan.anchor_by_ms + 1100
    for member in crew.values():
        await upload(office, member)
    await reduce(office, crew, plan.indices)
    await until(office, Close, crash)


@pytest.mark.parametrize("crash", [False, True], ids=["undisturbed", "killed after every step"])
async def test_three_rounds_follow_each_other_and_each_record_recomputes(
    tmp_path: Path, crew: dict[int, Crew], crash: bool
) -> None:
    office = Office(tmp_path, Chain(), max_rounds=3)
    for number in (1, 2, 3):
        await play(office, crew, crash)
        record = office.record(number)
        assert [c.index for c in record.counted] == [0, 1, 2]
        assert record.refused == record.missing == ()
        assert record.checkpoint != record.base
        _, plan = office.plan()
        assert plan.round == number
        assert plan.base == (office.record(number - 1).checkpoint if number > 1 else plan.base)
    await until(office, Finish, crash)
    roots = [(a.round, a.record_round) for a in office.chain.anchors]
    assert sorted(set(roots)) == [(1, 0), (2, 1), (3, 2), (3, 3)]
    office.chain.now_ms += 5000
    office.look()
    while await office.recount.step():
        assert office.recount.result(int(office.seat.db.get_meta("recounted") or 0)) == "ok"
    assert office.seat.db.get_meta("recounted") == "3"


async def test_a_receipt_tells_the_time_that_its_commitment_was_judged_by(
    tmp_path: Path, crew: dict[int, Crew], monkeypatch: pytest.MonkeyPatch
) -> None:
    office = Office(tmp_path, Chain())
    await gather(office, crew)
    _, plan = office.plan()
    accept = office.intake.accept

    def slowly(signed: Signed) -> bool:
        office.chain.now_ms = plan.commit_by_ms + 50
        return accept(signed)

    await commit(office, crew[0])
    office.chain.now_ms = plan.commit_by_ms - 5
    monkeypatch.setattr(office.intake, "accept", slowly)
    await commit(office, crew[1])
    times = [r.body.received_ms for r in office.desk.rounds.receipts(1)]
    assert max(times) <= plan.commit_by_ms < office.chain.now_ms


async def test_anchored_work_that_no_signer_receipted_in_time_is_counted_by_nobody(
    tmp_path: Path, crew: dict[int, Crew]
) -> None:
    office = Office(tmp_path, Chain())
    await gather(office, crew)
    for member in crew.values():
        await commit(office, member)
    await until(office, SendAnchor)
    _, plan = office.plan()
    office.chain.now_ms = plan.anchor_by_ms + 1100
    for member in crew.values():
        await upload(office, member)
    office.seat.db.write("DELETE FROM documents WHERE kind='receipt' AND member=2")
    office.crash()
    await reduce(office, crew, (0, 1))
    await until(office, Close)
    record = office.record(1)
    assert [entry.index for entry in record.counted] == [0, 1]
    (late,) = record.missing
    assert (late.index, late.reason, late.commitment is not None) == (2, "late", True)


async def test_data_positions_never_overlap(tmp_path: Path, crew: dict[int, Crew]) -> None:
    office = Office(tmp_path, Chain(), max_rounds=2)
    taken: list[tuple[int, int]] = []
    for _ in range(2):
        await play(office, crew)
        _, plan = office.plan()
        batch = office.config.training.batch
        taken += [(m.data_start, m.data_start + m.steps * batch) for m in plan.members]
    taken.sort()
    assert all(stop <= start for (_, stop), (start, _) in pairwise(taken))


async def test_where_rounds_overlap_a_member_knows_its_next_data_before_there_is_a_plan(
    tmp_path: Path, crew: dict[int, Crew]
) -> None:
    office = Office(tmp_path, Chain(), max_rounds=3, overlap=4)
    batch, plans, taken = office.config.training.batch, list[Plan](), list[tuple[int, int]]()
    for present in ((0, 1), (0, 1, 2), (0, 1, 2)):
        await play(office, {index: crew[index] for index in present})
        plans.append(office.plan()[1])
        taken += [(m.data_start, m.data_start + m.steps * batch) for m in plans[-1].members]
    for number, (before, plan) in enumerate(pairwise(plans), 1):
        record = office.desk.rounds.record(number)
        assert record is not None
        check_successor(plan, before, record.body, record.digest, batch)
        for member in before.members:
            assert plan.member(member.index).data_start == member.next_start
    newcomer = replace(plans[1].members[2], data_start=plans[0].members[0].next_start or 0)
    record = office.desk.rounds.record(1)
    assert record is not None
    with pytest.raises(RuleBroken, match="an earlier plan gave out"):
        stolen = replace(plans[1], members=(*plans[1].members[:2], newcomer))
        check_successor(stolen, plans[0], record.body, record.digest, batch)
    taken.sort()
    assert all(stop <= start for (_, stop), (start, _) in pairwise(taken))


async def test_one_receipt_per_member_and_round_over_crashes(tmp_path: Path, crew: dict[int, Crew]) -> None:
    office = Office(tmp_path, Chain())
    await gather(office, crew)
    first = await commit(office, crew[0])
    signed, plan = office.plan()
    commitment = office.desk.rounds.commitments(office.planned(1))[Receipt.from_body(first.body).commitment].signed
    office.crash()
    office.chain.now_ms += 700
    again = await office.api.commit(crew[0].request("commit", {"commitment": commitment.to_json()}))
    assert again.params["receipt"] == first.to_json()
    held = office.desk.checkpoints.get(plan.base, plan.base_cid)
    other = Crew(0)
    other.last, other.residual = None, None
    changed = other.work(office.config, signed, plan, held.checkpoint)
    assert changed.digest == commitment.digest  # the same work is the same commitment
    crew[0].previous = "0x" + "77" * 32
    different = crew[0].work(office.config, signed, plan, held.checkpoint)
    with pytest.raises(PeerRefused, match="two different"):
        await office.api.commit(crew[0].request("commit", {"commitment": different.to_json()}))


async def test_a_payload_that_is_not_what_was_committed_is_an_offence(tmp_path: Path, crew: dict[int, Crew]) -> None:
    office = Office(tmp_path, Chain())
    await gather(office, crew)
    for member in crew.values():
        await commit(office, member)
    await until(office, SendAnchor)
    signed, plan = office.plan()
    office.chain.now_ms = plan.anchor_by_ms + 1100
    message, data = crew[2].part(signed, plan, 0, data=b"\x01" + crew[2].payload.parts[0][1:])  # type: ignore[union-attr]
    with pytest.raises(PeerRefused) as refused:
        params = {"round": 1, "part": 0, "message": message.to_json()}
        await office.api.payload(crew[2].request("payload", params, data))
    assert refused.value.code == "payload-mismatch"
    await upload(office, crew[0])
    await upload(office, crew[1])
    await reduce(office, crew, (0, 1))
    await until(office, Close)
    record = office.record(1)
    assert [c.index for c in record.counted] == [0, 1]
    assert [(r.index, r.reason) for r in record.refused] == [(2, "payload-mismatch")]
    offence = office.seat.db.offences()[0]
    assert record.refused[0].evidence == "0x" + offence.digest.hex()
    await gather(office, crew)
    assert office.plan()[1].indices == (0, 1)


async def test_no_payload_is_taken_before_the_window_is_over(tmp_path: Path, crew: dict[int, Crew]) -> None:
    office = Office(tmp_path, Chain())
    await gather(office, crew)
    await commit(office, crew[0])
    with pytest.raises(PeerRefused) as refused:
        await upload(office, crew[0])
    assert refused.value.code == "too-early"


async def test_a_dead_member_costs_its_round_and_is_planned_again_when_it_speaks(
    tmp_path: Path, crew: dict[int, Crew]
) -> None:
    office = Office(tmp_path, Chain())
    await gather(office, crew)
    for index in (0, 1):
        await commit(office, crew[index])
    await until(office, SendAnchor)
    _, plan = office.plan()
    office.chain.now_ms = plan.anchor_by_ms + 1100
    await upload(office, crew[0])
    await upload(office, crew[1])
    await reduce(office, {**crew}, (0, 1))
    await until(office, Close)
    assert [(m.index, m.reason) for m in office.record(1).missing] == [(2, "no-commitment")]
    await gather(office, {0: crew[0], 1: crew[1]})
    assert office.plan()[1].indices == (0, 1)
    await join(office, crew[2])
    office.chain.now_ms = office.plan()[1].commit_by_ms + 60_000
    await until(office, Close)
    await gather(office, crew)
    assert office.plan()[1].indices == (0, 1, 2)


async def test_a_slow_member_is_left_out_for_a_time_that_doubles(tmp_path: Path, crew: dict[int, Crew]) -> None:
    office = Office(tmp_path, Chain())
    out: list[int] = []
    for _ in range(2):
        await gather(office, crew)
        assert 2 in office.plan()[1].indices
        for index in (0, 1):
            await commit(office, crew[index])
        office.chain.now_ms = office.plan()[1].commit_by_ms + 500
        kept = (crew[2].previous, crew[2].last, crew[2].residual)
        with pytest.raises(PeerRefused) as refused:
            await commit(office, crew[2])
        assert refused.value.code == "late"
        crew[2].previous, crew[2].last, crew[2].residual = kept
        await until(office, SendAnchor)
        office.chain.now_ms = office.plan()[1].anchor_by_ms + 1100
        for index in (0, 1):
            await upload(office, crew[index])
        await reduce(office, crew, (0, 1))
        await until(office, Close)
        assert office.record(office.plan()[1].round).missing[0].reason == "late"
        slow = office.seat.db.members()[2]
        out.append(slow.slow_until_ms - office.chain.now_ms)
        office.chain.now_ms = slow.slow_until_ms + 1
    assert out[0] > 29_000
    assert out[1] > 59_000
    assert office.seat.db.offences() == []


async def test_a_round_below_the_minimum_is_done_again_from_the_same_base(
    tmp_path: Path, crew: dict[int, Crew]
) -> None:
    office = Office(tmp_path, Chain())
    await gather(office, crew)
    base = office.plan()[1].base
    await commit(office, crew[0])
    await until(office, SendAnchor)
    office.chain.now_ms = office.plan()[1].anchor_by_ms + 1100
    await upload(office, crew[0])
    await until(office, Close)
    record = office.record(1)
    assert record.counted == ()
    assert record.checkpoint == base
    crew[0].previous, crew[0].last, crew[0].residual = None, None, None
    await play(office, crew)
    assert office.plan()[1].base == base
    assert [c.index for c in office.record(2).counted] == [0, 1, 2]


async def test_a_payload_that_another_has_too_is_counted_and_doubted(tmp_path: Path, crew: dict[int, Crew]) -> None:
    office = Office(tmp_path, Chain(), max_rounds=1)
    await gather(office, crew)
    await commit(office, crew[0])
    office.chain.now_ms += 100
    await commit(office, crew[1])
    office.chain.now_ms += 100
    thief = crew[2]
    work = Crew.work

    def stolen(self: Crew, *args: object) -> object:
        real = self.index
        self.index = 0  # the random numbers of member 0
        made = work(self, *args)  # type: ignore[arg-type]
        self.index = real
        return made

    signed, plan = office.plan()
    held = office.desk.checkpoints.get(plan.base, plan.base_cid)
    copied = stolen(thief, office.config, signed, plan, held.checkpoint)
    body = {**copied.body, "index": 2}  # type: ignore[attr-defined]
    commitment = sign_body(Commitment.from_body(body), thief.key, DOMAIN)
    await office.api.commit(thief.request("commit", {"commitment": commitment.to_json()}))
    await until(office, SendAnchor)
    office.chain.now_ms = plan.anchor_by_ms + 1100
    for member in crew.values():
        await upload(office, member)
    await reduce(office, crew, plan.indices)
    await until(office, Close)
    assert [c.index for c in office.record(1).counted] == [0, 1, 2]
    await until(office, Finish)
    office.chain.now_ms += 5000
    office.look()
    assert await office.recount.step()
    assert office.recount.alike(1) == {0: Copy(2, 1), 2: Copy(0, 1)}


async def test_the_last_record_is_anchored_on_its_own(tmp_path: Path, crew: dict[int, Crew]) -> None:
    office = Office(tmp_path, Chain(), max_rounds=1)
    await play(office, crew)
    seen = await until(office, Finish)
    assert seen.count(AnchorRecord().phase) >= 1
    last = office.chain.anchors[-1]
    record = office.desk.rounds.record(1)
    assert record is not None
    assert (last.root, last.record_round, last.record_hash) == (bytes(32), 1, digest_bytes(record.digest))


async def test_a_refused_anchor_is_sent_again_while_the_window_is_open(tmp_path: Path, crew: dict[int, Crew]) -> None:
    office = Office(tmp_path, Chain())
    await gather(office, crew)
    for member in crew.values():
        await commit(office, member)
    await until(office, Decide)
    office.chain.refuse = 2
    for _ in range(5):
        step = await office.step()
        if isinstance(step, Wait):
            break
    assert [a.round for a in office.chain.anchors] == [1]


async def test_a_reducer_that_signs_a_wrong_part_is_found(tmp_path: Path, crew: dict[int, Crew]) -> None:
    office = Office(tmp_path, Chain())
    await gather(office, crew)
    for member in crew.values():
        await commit(office, member)
    await until(office, SendAnchor)
    _, plan = office.plan()
    office.chain.now_ms = plan.anchor_by_ms + 1100
    for member in crew.values():
        await upload(office, member)
    await reduce(office, crew, plan.indices, liar=1)
    await until(office, Close)
    assert office.coordinator._checking is not None
    await office.coordinator._checking
    assert [(o.member, o.rule) for o in office.seat.db.offences()] == [(1, "wrong-reduction")]
    assert [c.index for c in office.record(1).counted] == [0, 1, 2]  # its own payload was right


async def test_a_member_that_commits_and_shows_nothing_is_slow_and_does_not_stretch_the_rounds(
    tmp_path: Path, crew: dict[int, Crew]
) -> None:
    office = Office(tmp_path, Chain())
    budget = office.coordinator.learning.pace().exchange_ms
    await gather(office, crew)
    for member in crew.values():
        await commit(office, member)
    await until(office, SendAnchor)
    _, plan = office.plan()
    office.chain.now_ms = plan.anchor_by_ms + 1100
    await upload(office, crew[0])
    await upload(office, crew[1])
    await reduce(office, crew, (0, 1))
    office.chain.now_ms = plan.exchange_by_ms + 10
    await join(office, crew[2])
    await until(office, Close)
    assert [(m.index, m.reason) for m in office.record(1).missing] == [(2, "payload-missing")]
    assert office.seat.db.members()[2].strikes == 1
    assert office.seat.db.members()[2].slow_until_ms > office.chain.now_ms
    assert office.coordinator.learning.pace().exchange_ms < budget


async def test_work_that_does_not_continue_the_members_last_state_is_not_counted(
    tmp_path: Path, crew: dict[int, Crew]
) -> None:
    office = Office(tmp_path, Chain(), max_rounds=2)
    await play(office, crew)
    assert crew[1].last is not None
    crew[1].last = replace(crew[1].last, m=crew[1].last.m + 1)
    await play(office, crew)
    record = office.record(2)
    assert [c.index for c in record.counted] == [0, 2]
    assert [(r.index, r.reason) for r in record.refused] == [(1, "wrong-first-state")]
    assert office.seat.db.offences() == []


async def test_what_rounds_came_to_is_known_after_a_start_without_reading_them(
    tmp_path: Path, crew: dict[int, Crew]
) -> None:
    office = Office(tmp_path, Chain(), max_rounds=4)
    for _ in range(2):
        await play(office, crew)
    assert crew[1].last is not None
    crew[1].last = replace(crew[1].last, m=crew[1].last.m + 1)  # and is not counted in the third round
    await play(office, crew)
    last = [office.desk.rounds.record(number) for number in (1, 2, 3)]
    assert last[1] is not None
    assert last[2] is not None
    known = office.desk.rounds.lineup(last[2].digest)
    office.crash()
    rounds, read = office.desk.rounds, list[str | None]()
    of = rounds.lineage

    def lineage(digest: str | None) -> Iterator[Doc[Record]]:
        for record in of(digest):
            read.append(record.digest)
            yield record

    rounds.lineage = lineage  # type: ignore[method-assign]
    found = rounds.lineup(last[2].digest)
    assert (found, read) == (known, [last[2].digest])
    assert found.made == 3
    assert found.last == {c.index: c.commitment for c in last[1].body.counted} | {
        c.index: c.commitment for c in last[2].body.counted
    }
    assert set(found.last) == {0, 1, 2}
    assert {c.index for c in last[2].body.counted} == {0, 2}


async def taken_over(
    tmp_path: Path, crew: dict[int, Crew], earlier: tuple[str, ...] = (), record: bool = False
) -> tuple[Office, Office]:
    """The first coordinator has played round 1 and planned or recorded round 2; then the second one is in charge."""
    chain = Chain()
    first = Office(tmp_path, chain, max_rounds=3)
    second = Office(tmp_path, chain, position=1, max_rounds=3)
    await play(first, crew)
    await (play if record else gather)(first, crew)
    second.look()
    copy(first, second)
    second.earlier, second.leader = earlier, SIGNERS[1]
    second.crash()
    if not record:
        chain.now_ms += 30_000
    return first, second


async def recounted(office: Office) -> list[str | None]:
    """What this signer finds of the rounds up to its last record."""
    office.chain.now_ms += 5000
    office.look()
    while await office.recount.step():
        pass
    last = office.desk.rounds.last_record()
    assert last is not None
    return [office.recount.result(number) for number in range(1, last.body.round + 1)]


@pytest.mark.parametrize("crash", [False, True], ids=["undisturbed", "killed after every step"])
async def test_another_signer_takes_over_and_the_open_round_is_given_up(
    tmp_path: Path, crew: dict[int, Crew], crash: bool
) -> None:
    first, second = await taken_over(tmp_path, crew)
    for _ in range(2):
        await play(second, crew, crash)
    _, plan = second.plan()
    assert plan.round == 4
    assert [c.index for c in second.record(3).counted] == [0, 1, 2]
    assert second.planned(3).body.base == first.record(1).checkpoint
    await until(second, Finish)
    assert await recounted(second) == ["ok", "lost", "ok", "ok"]


async def test_a_coordinator_that_was_replaced_stops_nobody(tmp_path: Path, crew: dict[int, Crew]) -> None:
    """It goes on planning and recording, with nobody, and anchors its hashes before those of the one in charge."""
    first, second = await taken_over(tmp_path, crew)

    def sign(document: Plan | Record) -> Signed:
        return sign_body(document, SIGNER_KEYS[0], DOMAIN)

    def go_on(round_: int) -> None:
        """Round by round it may: plans have to follow each other."""
        true, base = second.planned(3).body, first.record(1)
        ends = {name: getattr(true, name) + 1000 * (round_ - 3) for name in TIMES}
        plan = sign(replace(true, round=round_, previous_record=None, **ends))
        nobody = tuple(LeftOut(i, None, "no-commitment", None) for i in true.indices)
        names = {"epoch": true.epoch, "plan": plan.digest, "base": true.base, "checkpoint": true.base}
        empty = replace(base, counted=(), refused=(), missing=nobody, results=(), links=())
        record = sign(replace(empty, round=round_, **names))
        assert second.intake.accept(plan)
        assert second.intake.accept(record)
        second.chain.send(("anchorRound", round_, 1, bytes(32), round_, digest_bytes(record.digest)), gas=1)

    await gather(second, crew)
    for number in (3, 4, 5):
        go_on(number)
    with pytest.raises(RuleBroken, match="due too early"):
        second.intake.accept(sign(replace(second.planned(3).body, round=6)))
    with pytest.raises(NotYetError, match="round 7"):
        second.intake.accept(sign(replace(second.planned(3).body, round=7)))
    about_theirs = replace(first.record(1), round=3, plan=second.planned(3).digest)
    with pytest.raises(NotYetError, match="known to have signed"):
        second.intake.accept(sign(about_theirs))
    for member in crew.values():
        await commit(second, member)
    await until(second, SendAnchor)
    second.chain.now_ms = second.planned(3).body.anchor_by_ms + 1100
    for member in crew.values():
        await upload(second, member)
    await reduce(second, crew, (0, 1, 2))
    await until(second, Close)
    assert await recounted(second) == ["ok", "lost", None], "its own record is not on chain yet"
    await play(second, crew)
    await until(second, Finish)
    assert await recounted(second) == ["ok", "lost", "ok", "ok"]
    for number in (3, 4):
        assert [c.index for c in second.record(number).counted] == [0, 1, 2]


def moved(plan: Plan, round_: int, **changes: Any) -> Plan:
    """The plan of a later round after another, a second for each round between them."""
    ends = {name: getattr(plan, name) + 1000 * (round_ - plan.round) for name in TIMES}
    return replace(plan, round=round_, **ends, **changes)


async def test_a_coordinator_replaced_before_it_planned_ends_nobodys_term(
    tmp_path: Path, crew: dict[int, Crew]
) -> None:
    """Signer 2 was named and never planned, signer 1 does: one plan of the former leaves all rounds as they are."""
    first, second = await taken_over(tmp_path, crew, earlier=(SIGNERS[2],))
    await play(second, crew)
    await gather(second, crew)
    last = second.planned(4).body
    assert second.intake.accept(sign_body(moved(last, 5, previous_record=None), SIGNER_KEYS[2], DOMAIN))
    with pytest.raises(RuleBroken, match="in no term"):
        second.intake.accept(sign_body(moved(second.planned(1).body, 2), SIGNER_KEYS[2], DOMAIN))
    assert second.desk.rounds.plan(5) is None
    assert [second.desk.rounds.passed_over(number) for number in (1, 2, 3)] == [False, True, False]
    assert first.record(1).counted


async def test_a_plan_that_another_has_signed_first_word_for_word_is_its_coordinators(
    tmp_path: Path, crew: dict[int, Crew]
) -> None:
    first, second = await taken_over(tmp_path, crew)
    third = Office(tmp_path, first.chain, position=2, max_rounds=3)
    third.leader = SIGNERS[1]
    third.crash()
    third.look()
    copy(first, third)
    await play(second, crew)
    assert third.intake.accept(sign_body(second.planned(3).body, SIGNER_KEYS[0], DOMAIN))
    copy(second, third)
    await play(second, crew)
    await until(second, Finish)
    copy(second, third)
    assert await recounted(third) == ["ok", "lost", "ok", "ok"]


async def test_records_far_ahead_shift_no_term(tmp_path: Path, crew: dict[int, Crew]) -> None:
    """Shown to one signer just before it follows the next coordinator, when that has begun already."""
    first, second = await taken_over(tmp_path, crew)
    third = Office(tmp_path, first.chain, position=2, max_rounds=3)
    third.look()
    copy(first, third)
    await play(second, crew)
    previous, true = first.record(1), first.planned(2).body
    nobody = tuple(LeftOut(i, None, "no-commitment", None) for i in true.indices)
    for number in range(3, 20):
        plan = sign_body(moved(true, number), SIGNER_KEYS[0], DOMAIN)
        empty = replace(previous, round=number, epoch=true.epoch, plan=plan.digest, counted=(), missing=nobody)
        rest = {"base": true.base, "checkpoint": true.base, "results": (), "links": ()}
        record = sign_body(replace(empty, **rest), SIGNER_KEYS[0], DOMAIN)
        assert third.intake.accept(plan)
        assert third.intake.accept(record)
        third.chain.send(("anchorRound", number, 1, bytes(32), number, digest_bytes(record.digest)), gas=1)
    third.chain.now_ms += 5000
    third.look()
    third.leader = SIGNERS[1]
    third.crash()
    third.look()
    copy(second, third)
    await play(second, crew)
    await until(second, Finish)
    copy(second, third)
    assert await recounted(third) == ["ok", "lost", "ok", "ok"]


async def test_nobody_goes_on_from_work_that_was_never_anchored(tmp_path: Path, crew: dict[int, Crew]) -> None:
    chain = Chain()
    first, second = (Office(tmp_path, chain, position, max_rounds=3) for position in range(2))
    await play(first, crew)
    await gather(first, crew)
    for member in crew.values():
        await commit(first, member)
    await until(first, Decide)
    plan = first.planned(2)
    first.chain.now_ms = plan.body.anchor_by_ms + 1100
    for member in crew.values():
        await upload(first, member)
    pretended = {digest_bytes(first.desk.rounds.anchors(2)[0].body.root)}
    false = await first.coordinator._closing.close(plan, pretended)
    assert [entry.index for entry in false.counted] == [0, 1, 2]
    second.look()
    copy(first, second)
    second.leader = SIGNERS[1]
    second.crash()
    chain.now_ms += 30_000
    fresh = {index: Crew(index) for index in crew}  # what was counted there is no past
    await play(second, fresh)
    assert second.planned(3).body.base == first.record(1).checkpoint


async def test_what_a_later_term_passes_over_is_lost_for_those_too_who_found_it_right(
    tmp_path: Path, crew: dict[int, Crew]
) -> None:
    """The next coordinator could not have a payload that another signer has: reports agree all the same."""
    first, second = await taken_over(tmp_path, crew, record=True)
    third = Office(tmp_path, first.chain, position=2, max_rounds=3)
    record = first.desk.rounds.record(2)
    assert record is not None
    first.chain.send(("anchorRound", 2, 1, bytes(32), 2, digest_bytes(record.digest)), gas=1)
    first.chain.now_ms += 5000
    third.look()
    copy(first, third)
    assert await recounted(third) == ["ok", "ok"]
    second.look()
    assert await second.recount.step()

    async def nothing(*_: object) -> None:
        first.chain.now_ms += 60_000

    second.recount.holds = nothing  # type: ignore[method-assign, assignment]
    second.coordinator._recount = second.recount
    for office in (second, third):
        office.leader = SIGNERS[1]
    await second.coordinator.take_over()
    third.crash()
    third.look()
    fresh = {index: Crew(index) for index in crew}
    await gather(second, fresh)
    assert second.planned(3).body.base == first.record(1).checkpoint
    copy(second, third)
    assert [third.recount.result(number) for number in (1, 2)] == ["ok", "lost"]


async def test_a_coordinator_hears_the_others_before_it_plans(tmp_path: Path, crew: dict[int, Crew]) -> None:
    _, second = await taken_over(tmp_path, crew)
    second.seat.settings.peers[SIGNERS[2]] = "127.0.0.1:1"  # type: ignore[index]
    taking = asyncio.create_task(second.coordinator.take_over())
    await asyncio.sleep(0.6)
    assert not taking.done()
    assert second.coordinator.phase == "checking"
    second.desk.heard.add(SIGNERS[2])
    await taking


async def test_who_follows_another_coordinator_reads_what_it_had_refused(tmp_path: Path, crew: dict[int, Crew]) -> None:
    _, second = await taken_over(tmp_path, crew)
    third = Office(tmp_path, second.chain, position=2, max_rounds=3)
    await play(second, crew)
    for row in second.seat.db.documents_after(0, 1000):
        with suppress(SignatureError, NotYetError):
            third.intake.accept(Signed.from_bytes(row.signed))
    third.seat.db.set_meta(f"log/{SIGNERS[1]}", "abc 77")
    assert third.desk.rounds.plan(3) is None
    third.leader = SIGNERS[1]
    third.crash()
    third.look()
    assert third.seat.db.get_meta(f"log/{SIGNERS[1]}") == "abc 0"
    copy(second, third)
    await play(second, crew)
    await until(second, Finish)
    copy(second, third)
    assert await recounted(third) == ["ok", "lost", "ok", "ok"]
    third.crash()
    assert third.seat.db.get_meta(f"log/{SIGNERS[1]}") == "abc 0", "once"


async def test_a_new_signer_follows_whoever_has_coordinated_if_they_are_named(
    tmp_path: Path, crew: dict[int, Crew]
) -> None:
    _, second = await taken_over(tmp_path, crew)
    await play(second, crew)
    await play(second, crew)
    await until(second, Finish)
    third = Office(tmp_path, second.chain, position=2, coordinator=1, max_rounds=3)
    third.look()
    with pytest.raises(NotYetError, match="OLD,NEW"):
        third.intake.accept(second.planned(3).signed)
    third.seat.db.close()
    for name in (tmp_path / "2").glob("*.sqlite*"):
        name.unlink()
    third.earlier = (SIGNERS[0],)
    third.open()
    third.look()
    copy(second, third)
    assert await recounted(third) == ["ok", "lost", "ok", "ok"]


async def test_a_record_that_an_anchor_should_have_carried_is_not_forgotten(
    tmp_path: Path, crew: dict[int, Crew]
) -> None:
    """The coordinator dies in a window, and another signer anchors the same commitments without the record."""
    office = Office(tmp_path, Chain(), max_rounds=3)
    await play(office, crew)
    await gather(office, crew)
    for member in crew.values():
        await commit(office, member)
    await until(office, Decide)
    anchor = office.desk.rounds.anchors(2)[0].body
    office.chain.send(("anchorRound", 2, anchor.deadline, digest_bytes(anchor.root), 0, bytes(32)), gas=1)
    office.crash()
    _, plan = office.plan()
    office.chain.now_ms = plan.anchor_by_ms + 1100
    for member in crew.values():
        await upload(office, member)
    await reduce(office, crew, plan.indices)
    await until(office, Close)
    await play(office, crew)
    await until(office, Finish)
    assert {a.record_round for a in office.chain.anchors} >= {1, 2, 3}
    office.chain.now_ms += 5000
    office.look()
    while await office.recount.step():
        pass
    assert [office.recount.result(n) for n in (1, 2, 3)] == ["ok", "ok", "ok"]


async def anchored_by_another(tmp_path: Path, crew: dict[int, Crew]) -> tuple[Office, Office]:
    """The coordinator dies in the training; another signer receipts and anchors; the coordinator comes back late."""
    chain = Chain()
    first, second = (Office(tmp_path, chain, position=n, max_rounds=2) for n in range(2))
    await gather(first, crew)
    copy(first, second)
    second.look()
    for member in crew.values():
        await commit(second, member)
    _, plan = first.plan()
    chain.now_ms = plan.commit_by_ms + 2600
    assert await second.collecting.anchor_own()
    chain.now_ms = plan.anchor_by_ms + 1100
    first.crash()
    return first, second


def copy(source: Office, target: Office) -> None:
    for row in source.seat.db.documents_after(0, 1000):
        target.intake.accept(Signed.from_bytes(row.signed))


async def test_a_coordinator_that_comes_back_late_closes_no_round_whose_anchored_work_it_does_not_know(
    tmp_path: Path, crew: dict[int, Crew]
) -> None:
    first, second = await anchored_by_another(tmp_path, crew)
    assert {(await first.step()).phase for _ in range(4)} == {"window"}
    copy(second, first)
    for member in crew.values():
        await upload(first, member)
    await reduce(first, crew, (0, 1, 2))
    await until(first, Close)
    assert [c.index for c in first.record(1).counted] == [0, 1, 2]


async def test_a_root_that_nobody_explains_holds_no_round_up_for_long(tmp_path: Path, crew: dict[int, Crew]) -> None:
    first, second = await anchored_by_another(tmp_path, crew)
    began_ms = first.chain.now_ms
    await until(first, Close)
    assert first.chain.now_ms < began_ms + 20_000
    assert [m.index for m in first.record(1).missing] == [0, 1, 2]

    third = Office(tmp_path, first.chain, position=2, max_rounds=2)
    copy(second, third)
    copy(first, second)
    copy(second, first)
    copy(first, third)
    first.chain.now_ms += 5000

    def omitted(office: Office) -> list[int]:
        office.look()
        return Reporting(office.desk, office.recount, Standings(office.desk)).omitted(1)

    assert [omitted(office) for office in (first, second, third)] == [[], [], []], "one signer's word, which came late"
    for index in (1, 2):
        given = second.desk.rounds.receipts(1, member=index)[0]
        for office in (first, second, third):
            office.intake.accept(sign_body(given.body, SIGNER_KEYS[2], DOMAIN))
    assert [omitted(office) for office in (first, second, third)] == [[1, 2]] * 3, "most signers had it in time"


async def test_an_anchor_that_says_nothing_covers_nobodys_work(tmp_path: Path, crew: dict[int, Crew]) -> None:
    """The coordinator anchors all commitments together with a leaf that nobody has: a follower anchors its own."""
    chain = Chain()
    first, second = (Office(tmp_path, chain, position=n, max_rounds=2) for n in range(2))
    await gather(first, crew)
    copy(first, second)
    second.look()
    for member in crew.values():
        await commit(second, member)
    _, plan = first.plan()
    honest = list(second.desk.rounds.commitments(second.planned(1)))
    leaves = tuple(sorted([*honest, "0x" + "ee" * 32]))
    root = anchor_root([digest_bytes(leaf) for leaf in leaves])
    second.intake.accept(sign_body(Anchor(RUN, 1, plan.deadline_s, leaves, hex32(root)), SIGNER_KEYS[0], DOMAIN))
    chain.now_ms = plan.commit_by_ms + 500
    chain.send(("anchorRound", 1, plan.deadline_s, root, 0, bytes(32)), gas=1)
    chain.now_ms = plan.commit_by_ms + 2600
    assert await second.collecting.anchor_own()
    chain.now_ms += 5000
    second.look()
    assert set(second.desk.rounds.anchored(1, second.desk.rounds.finalized_roots(1))) == set(honest)


async def test_a_coordinator_that_is_new_leaves_out_work_for_a_plan_that_it_did_not_know(
    tmp_path: Path, crew: dict[int, Crew]
) -> None:
    """The one before has planned the same round for a member alone, which committed and has a receipt."""
    chain = Chain()
    first, second = (Office(tmp_path, chain, position=n, max_rounds=2) for n in range(2))
    await gather(first, crew)
    await commit(first, crew[0])
    second.leader = SIGNERS[1]
    second.crash()
    await gather(second, crew)
    assert second.plan()[1].round == first.plan()[1].round == 1
    copy(first, second)
    signed, other = first.plan()
    foreign = crew[1].result(signed, other, other.reducers.index(1), (0, 1, 2), "0x" + "ab" * 32, [])
    links = tuple(replace(link, bytes=7) for link in Result.from_body(foreign.body).links)
    assert second.intake.accept(sign_body(replace(Result.from_body(foreign.body), links=links), crew[1].key, DOMAIN))
    for index in (1, 2):
        await commit(second, crew[index])
    await until(second, SendAnchor)
    _, plan = second.plan()
    anchor = second.desk.rounds.anchors(1)[0].body
    assert anchor.commitments == tuple(sorted(member.previous or "" for member in (crew[1], crew[2])))
    chain.now_ms = plan.anchor_by_ms + 1100
    for index in (1, 2):
        await upload(second, crew[index])
    await reduce(second, crew, (1, 2))
    await until(second, Close)
    record = second.record(1)
    assert [c.index for c in record.counted] == [1, 2]
    assert [(m.index, m.commitment) for m in record.missing] == [(0, None)]
    assert record.links
    assert all(link.bytes != 7 for link in record.links)


async def hear(source: Office, target: Office) -> None:
    """Take in another's log as `collect` does; nothing in it has to wait for what will not come."""
    for row in source.seat.db.documents_after(0, 1000):
        assert await target.collecting._take(Signed.from_bytes(row.signed), source.seat.address), row.kind


@pytest.mark.parametrize("late", [False, True], ids=["heard of in time", "heard of when the anchor is decided"])
@pytest.mark.parametrize("more", [0, 3], ids=["honest signers", "a signer that has more of them"])
async def test_a_member_that_commits_otherwise_to_every_signer_costs_nobody_else_the_round(
    tmp_path: Path, crew: dict[int, Crew], late: bool, more: int
) -> None:
    chain = Chain()
    offices = [Office(tmp_path, chain, position, max_rounds=1) for position in range(3)]
    first, second, third = offices
    await gather(first, crew)
    for office in (second, third):
        office.look()
        copy(first, office)
    for index in (0, 1):
        await commit(first, crew[index])
    signed, plan = first.plan()
    faces = [replace(crew[2], copied=(50 + n, 2)) for n in range(3 + more)]
    for office, face in zip(offices, faces, strict=False):
        await commit(office, face)
    base = third.desk.checkpoints.get(plan.base, plan.base_cid).checkpoint
    for face in faces[3:]:
        third.seat.keep(face.work(third.config, signed, plan, base), SIGNERS[2], round_=1, member=2)
    for source, target in ((third, second), (second, third), (first, second), (first, third)):
        await hear(source, target)
    for source in () if late else (second, third):
        await hear(source, first)
    await until(first, SendAnchor)
    for source in (second, third):
        await hear(source, first)
    chain.now_ms = plan.commit_by_ms + 2600
    assert not [office.position for office in (second, third) if await office.collecting.anchor_own()]
    chain.now_ms = plan.anchor_by_ms + 1100
    for index in (0, 1):
        await upload(first, crew[index])
    await reduce(first, crew, (0, 1))
    await until(first, Finish)
    assert [entry.index for entry in first.record(1).counted] == [0, 1]
    (receipt,) = first.desk.rounds.receipts(1, member=2, signer=SIGNERS[0])
    shown = first.desk.rounds.by_digest(Commitment, receipt.body.commitment)
    record = first.desk.rounds.record(1)
    documents = (first.plan()[0], record.signed, shown.signed, receipt.signed)
    with pytest.raises(OffenceError, match="names the member's commitment"):
        check(Offence(RUN, "omission", 1, None, SIGNERS[0], None, documents, ()), {}, first.offending.context())
    for office in offices:
        for other in offices:
            await hear(other, office)
        assert await recounted(office) == ["ok"], office.position


async def test_no_signer_receipts_the_second_commitment_that_it_knows_of(tmp_path: Path, crew: dict[int, Crew]) -> None:
    """It has heard of both from others' logs when a member brings one of them."""
    offices = [Office(tmp_path, Chain(), position, max_rounds=1) for position in range(3)]
    first, second, third = offices
    await gather(first, crew)
    for office in (second, third):
        office.look()
        copy(first, office)
    faces = [replace(crew[2], copied=(50 + n, 2)) for n in range(2)]
    for office, face in zip(offices, faces, strict=False):
        await commit(office, face)
        await hear(office, third)
    for made in third.desk.rounds.commitments(third.planned(1)).values():
        with pytest.raises(PeerRefused) as refusal:
            await third.api.commit(crew[2].request("commit", {"commitment": made.signed.to_json()}))
        assert refusal.value.code == "equivocation"
    assert not third.desk.rounds.receipts(1, signer=SIGNERS[2])
