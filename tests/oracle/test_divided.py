"""A coordinator that tells each signer something else divides them over its own rounds, and over none of the next's."""

import copy
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from commonweight.errors import PeerRefused, RuleBroken
from commonweight.protocol.documents import Signed
from commonweight.protocol.fields import digest_bytes
from commonweight.protocol.records import LeftOut, sign_body
from oracle.intake import NotYetError, OtherPlanError
from oracle.judging import Judging
from oracle.keeping import Keeping
from oracle.replaying import Replaying
from oracle.rounds import Doc, Rounds
from oracle.scoring import Scoring
from oracle.seat import Seat
from oracle.standings import Standings
from tests.oracle.office import DOMAIN, SIGNER_KEYS, SIGNERS, Chain, Crew, Office, commit
from tests.oracle.test_coordinator import TIMES, gather, play

pytestmark = pytest.mark.unit
LIAR, NEXT, OTHER = SIGNERS


@dataclass
class Divided:
    """The liar's two faces, and the two signers that see one each."""

    one: Office
    two: Office
    next: Office
    other: Office
    crew: dict[int, Crew]
    """As members are after round 1."""

    async def hear(self, source: Office, target: Office) -> None:
        """What `target` makes of the log of `source`."""
        for row in source.seat.db.documents_after(0, 1000):
            await target.collecting._take(Signed.from_bytes(row.signed), source.seat.address)

    def anchor(self, office: Office, number: int) -> None:
        record = office.desk.rounds.record(number)
        assert record is not None
        office.chain.send(("anchorRound", number, 1, bytes(32), number, digest_bytes(record.digest)), gas=1)

    def replace(self) -> None:
        """Everybody follows the next coordinator."""
        for office in (self.next, self.other):
            office.leader = NEXT
            office.crash()


async def recounted(office: Office) -> list[str | None]:
    office.chain.now_ms += 5000
    office.look()
    while await office.recount.step():
        pass
    last = office.desk.rounds.last_plan()
    assert last is not None
    return [office.recount.result(number) for number in range(1, last.body.round + 1)]


@pytest.fixture
async def divided(tmp_path: Path) -> Divided:
    """Round 1 is known to all."""
    chain, crew = Chain(), {i: Crew(i) for i in range(3)}
    one, following, other = (Office(tmp_path, chain, position, max_rounds=9) for position in range(3))
    await play(one, crew)
    assert one.coordinator._checking is not None
    await one.coordinator._checking
    one.seat.db.close()
    shutil.copytree(tmp_path / "0", tmp_path / "twin" / "0")
    shutil.copytree(tmp_path / "store", tmp_path / "twin" / "store")
    one.open()
    one.look()
    two = Office(tmp_path / "twin", chain, max_rounds=9)
    found = Divided(one, two, following, other, crew)
    found.anchor(one, 1)
    for office in (following, other):
        office.look()
        await found.hear(one, office)
    return found


@pytest.mark.parametrize("last", [2, 3])
async def test_who_takes_over_goes_on_from_where_signers_see_the_same(divided: Divided, last: int) -> None:
    """Each has recomputed and found right what the other one refuses."""
    d = divided
    for face, rounds, signer in ((d.one, [2], d.next), (d.two, range(2, last + 1), d.other)):
        crew = copy.deepcopy(d.crew)
        for number in rounds:
            await play(face, crew)
            d.anchor(face, number)
        await d.hear(face, signer)
        if face is d.two:  # the payloads of both are in the one store there is
            shutil.copytree(Path(face.seat.settings.store), d.next.folder / "store", dirs_exist_ok=True)
    assert await recounted(d.next) == ["ok", "ok"]
    assert await recounted(d.other) == ["ok"] * last
    await d.hear(d.other, d.next)
    await d.hear(d.next, d.other)
    assert d.next.record(2).plan != d.other.record(2).plan
    assert d.next.desk.metrics.failures.labels("divided")._value.get() == 1
    assert not d.one.desk.metrics.failures.labels("divided")._value.get()
    d.replace()
    await d.hear(d.other, d.next)
    await play(d.next, copy.deepcopy(d.crew))
    await d.hear(d.next, d.other)
    _, plan = d.next.plan()
    assert plan.base == d.one.record(1).checkpoint
    d.anchor(d.next, plan.round)
    lost = ["lost"] * (plan.round - 2)
    assert await recounted(d.next) == await recounted(d.other) == ["ok", *lost, "ok"]


async def test_what_only_the_liar_tells_otherwise_is_kept(divided: Divided) -> None:
    """Its own log holds another plan of a round on which the others agree: that is no reason to lose the round."""
    d = divided
    crew = copy.deepcopy(d.crew)
    await play(d.one, crew)
    d.anchor(d.one, 2)
    await gather(d.two, copy.deepcopy(d.crew))
    for office in (d.next, d.other):
        await d.hear(d.one, office)
        await d.hear(d.two, office)
        assert await recounted(office) == ["ok", "ok"]
    d.replace()
    await d.hear(d.other, d.next)
    await d.hear(d.two, d.next)
    await play(d.next, crew)
    assert d.next.plan()[1].base == d.one.record(2).checkpoint


async def test_a_round_of_which_a_signer_takes_no_plan_is_passed_by_all_that_goes_round_by_round(
    divided: Divided,
) -> None:
    """Signer 2 was shown a plan so far off that it refuses the round after it, which signer 1 has seen planned."""
    d = divided
    await gather(d.one, copy.deepcopy(d.crew))
    true = d.one.planned(2).body
    far = {name: getattr(true, name) + 60_000 for name in TIMES}
    d.other.intake.accept(sign_body(replace(true, **far), SIGNER_KEYS[0], DOMAIN))
    third = replace(true, round=3, **{name: getattr(true, name) + 1000 for name in TIMES})
    await d.hear(d.one, d.next)
    d.next.intake.accept(sign_body(third, SIGNER_KEYS[0], DOMAIN))
    await d.hear(d.next, d.other)
    assert d.other.desk.rounds.plan(3) is None
    assert d.next.desk.rounds.plan(3) is not None
    d.one.chain.now_ms += 30_000
    d.replace()
    await d.hear(d.other, d.next)
    await play(d.next, copy.deepcopy(d.crew))
    await d.hear(d.next, d.other)
    d.anchor(d.next, 4)
    assert await recounted(d.next) == await recounted(d.other) == ["ok", "lost", "lost", "ok"]

    other = d.other
    replaying = Replaying(other.desk, SimpleNamespace(), Standings(other.desk))  # type: ignore[arg-type]
    judging = Judging(other.desk, other.recount, replaying)
    scoring = Scoring(other.desk, other.recount, SimpleNamespace())  # type: ignore[arg-type]
    keeping = Keeping(other.desk, other.recount, None)
    other.chain.now_ms += 60_000
    other.look()
    await replaying.draw()
    while await judging.step() or await keeping._round() or await scoring.step():
        pass
    passed = {step: other.seat.db.get_meta(step) for step in ("drawn", "recounted", "judged", "scored", "kept")}
    assert passed == dict.fromkeys(passed, "4")


@pytest.mark.parametrize("record", [False, True], ids=["with a plan", "with a record that counts nobody"])
async def test_a_round_that_a_replaced_coordinator_has_put_far_off_holds_up_no_other(
    divided: Divided, record: bool
) -> None:
    """Its checks would be drawn by a block at the end of the run. No honest record comes before the window is over."""
    d = divided
    await gather(d.one, copy.deepcopy(d.crew))
    true = d.one.planned(2).body
    times = {name: getattr(true, name) + 300_000 for name in TIMES}
    far = replace(true, epoch=d.one.params.epoch_of(times["commit_by_ms"] // 1000), **times)
    plan = sign_body(far, SIGNER_KEYS[0], DOMAIN)
    missing = tuple(LeftOut(index, None, "no-commitment", None) for index in far.indices)
    nobody = replace(
        d.one.record(1), round=2, epoch=far.epoch, plan=plan.digest, base=far.base, counted=(), refused=(),
        missing=missing, results=(), links=(), checkpoint=far.base,
    )  # fmt: skip
    for office in (d.next, d.other):
        office.intake.accept(plan)
        if record:
            office.intake.accept(sign_body(nobody, SIGNER_KEYS[0], DOMAIN))
    if record:
        d.anchor(d.next, 2)
    assert (await recounted(d.other))[0] == "ok"
    d.replace()
    await play(d.next, copy.deepcopy(d.crew))
    assert d.next.planned(3).body.previous_record == d.next.planned(2).body.previous_record
    await d.hear(d.next, d.other)
    d.anchor(d.next, 3)
    for office in (d.next, d.other):
        assert await recounted(office) == ["ok", "lost", "ok"]
        replaying = Replaying(office.desk, SimpleNamespace(), Standings(office.desk))  # type: ignore[arg-type]
        await replaying.draw()
        judging = Judging(office.desk, office.recount, replaying)
        while await judging.step():
            pass
        for task in replaying._fetching.values():
            task.cancel()
        assert [office.seat.db.get_meta(step) for step in ("drawn", "judged")] == ["3", "3"]
        assert office.seat.db.draws(3)
        assert not office.seat.db.draws(2)


async def test_a_record_that_is_early_by_a_clock_behind_the_others_is_waited_for(
    divided: Divided, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who takes over with such a clock would lose the last round's work."""
    d = divided
    await play(d.one, copy.deepcopy(d.crew))
    d.anchor(d.one, 2)
    await d.hear(d.one, d.next)
    d.next.look()
    record, now_ms = d.next.desk.rounds.record(2), d.next.planned(2).body.anchor_by_ms - 3000

    def behind(_: Seat) -> int:
        nonlocal now_ms
        now_ms += 100
        return now_ms

    monkeypatch.setattr("oracle.coordinator._ASK_AGAIN_S", 0.01)
    monkeypatch.setattr(Seat, "now_ms", behind)
    assert record is not None
    assert await d.next.coordinator._is_right(record)


async def test_what_belongs_to_a_refused_plan_is_refused_at_once(divided: Divided) -> None:
    """It would hold up the log that it is in until patience ends."""
    d = divided
    await gather(d.two, copy.deepcopy(d.crew))
    await d.hear(d.two, d.other)
    d.one.chain.now_ms += 2000
    crew = copy.deepcopy(d.crew)
    await play(d.one, crew)
    refused: dict[str, str] = {}
    theirs = next(iter(d.one.desk.rounds.commitments(d.one.planned(2), member=0).values()))
    for row in d.one.seat.db.documents_after(0, 1000):
        try:
            d.other.intake.accept(Signed.from_bytes(row.signed))
        except RuleBroken as broken:
            refused.setdefault(row.kind, broken.rule)
    assert refused == {
        "plan": "equivocation", "commitment": "refused-before", "receipt": "refused-before", "result": "refused-before",
        "record": "refused-before",
    }  # fmt: skip
    with pytest.raises(PeerRefused) as told:
        await d.other.api.commit(crew[0].request("commit", {"commitment": theirs.signed.to_json()}))
    assert told.value.code == "wrong-plan"


async def test_the_words_of_a_plan_are_awaited_from_its_coordinator_though_the_replaced_one_signs_them_first(
    divided: Divided,
) -> None:
    d, crew = divided, copy.deepcopy(divided.crew)
    d.replace()
    await play(d.next, crew)
    await d.hear(d.next, d.other)
    true = d.next.planned(2).body
    for number in (2, 3):  # the replaced one has a plan of its own for the round
        ends = {name: getattr(true, name) + 1000 * number for name in TIMES}
        other = replace(true, round=number, previous_record=None, **ends)
        d.other.intake.accept(sign_body(other, SIGNER_KEYS[0], DOMAIN))
    await gather(d.next, crew)
    await commit(d.next, crew[0])
    plan = d.next.planned(3)
    theirs = next(iter(d.next.desk.rounds.commitments(plan).values())).signed
    with pytest.raises(OtherPlanError):
        d.other.intake.accept(sign_body(plan.body, SIGNER_KEYS[0], DOMAIN))
    with pytest.raises(NotYetError):
        d.other.intake.accept(theirs)
    assert d.other.intake.accept(plan.signed)
    assert d.other.intake.accept(theirs)


def test_a_quorum_that_agrees_is_enough(divided: Divided) -> None:
    """Of five, with the liar: one that says otherwise, true or not, loses nothing for the others; two do."""
    rounds: Rounds = divided.next.desk.rounds
    record = rounds.record(1)
    assert record is not None
    five = (*SIGNERS, "0x" + "44" * 20, "0x" + "55" * 20)

    def agreed(signers: tuple[str, ...] = five, quorum: int = 3) -> bool:
        assert isinstance(record, Doc)
        return rounds.agreed(record, signers, quorum)

    assert agreed()
    rounds.differ(LIAR, LIAR, 1)
    assert agreed()
    assert agreed((LIAR, NEXT), 2)
    rounds.differ(OTHER, LIAR, 2)
    assert agreed()
    assert agreed(SIGNERS, 2), "from the next round on only"
    rounds.differ(OTHER, LIAR, 1)
    rounds.differ(OTHER, LIAR, 3)
    assert agreed()
    assert not agreed(SIGNERS, 2)
    assert agreed((LIAR, NEXT, five[3]), 2), "whoever left office has no say"
    rounds.differ(five[4], LIAR, 1)
    assert not agreed()
    again = Rounds(divided.next.seat.db, LIAR)
    assert not again.agreed(record, five, 3), "it is on disk"
