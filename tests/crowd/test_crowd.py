"""Many members by the real code over simulated links, in simulated time: churn, cheats, and what a fault may cost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.adversaries.members import Damager, Equivocator, FalseReducer, Liar, Silent, WrongBase
from tests.crowd.books import Books
from tests.crowd.clock import VirtualLoop, simulate
from tests.crowd.crowd import Crowd
from tests.crowd.weather import Weather

pytestmark = pytest.mark.unit


def churn(folder: Path, members: int, rounds: int, seed: int, share: float = 0.2, **settings: object) -> Books:
    """Rounds with faults; returns the books, already checked."""

    async def work(loop: VirtualLoop) -> Books:
        crowd = Crowd(loop, folder, members, seed=seed, **settings)  # type: ignore[arg-type]
        weather = Weather(crowd, share)
        books = Books(crowd, weather)
        crowd.start()
        try:
            await asyncio.gather(weather.blow(rounds), books.follow(rounds))
            books.end(rounds)
        finally:
            crowd.close()
        print(
            f"\n{members} members, {rounds} rounds in {loop.time():.0f} s: {books.counted} of {books.planned} counted, "
            f"{books.owed} owed, {books.redone} redone, {books.slow} left out for slowness, "
            f"longest {books.longest:.2f} of its time, {dict(weather.happened)}, {crowd.links.calls} calls"
        )
        return books

    return simulate(work)


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_churn_costs_nobody_who_is_well_its_place(disk: Path, seed: int) -> None:
    books = churn(disk, members=5, rounds=7, seed=seed)
    assert books.owed > 15


@pytest.mark.slow
@pytest.mark.timeout(14_400)
def test_a_thousand_rounds_with_a_fifth_of_the_members_in_trouble(disk: Path) -> None:
    books = churn(disk, members=6, rounds=1000, seed=7)
    assert books.owed > 3000
    assert books.redone < 50


@pytest.mark.slow
@pytest.mark.timeout(7_200)
def test_sixty_four_members_with_sixty_four_parts(disk: Path) -> None:
    books = churn(disk, members=64, rounds=3, seed=3, block=8)
    assert books.counted > 150


def test_one_inner_step_a_round_is_a_round_like_any_other(disk: Path) -> None:
    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 2, h=1, trace_every=1)
        books = Books(crowd)
        crowd.start()
        await books.follow(3)
        books.end(3)
        assert all((plan := crowd.plan(n)) and {m.steps for m in plan.body.members} == {1} for n in range(1, 4))
        assert books.counted == books.planned == 6
        crowd.close()

    simulate(work)


def test_the_same_seed_gives_the_same_run(tmp_path: Path, disk: Path) -> None:
    def records(folder: Path) -> list[str]:
        folder.mkdir()

        async def work(loop: VirtualLoop) -> list[str]:
            crowd = Crowd(loop, folder, 3, seed=5)
            weather = Weather(crowd, 0.5)
            crowd.start()
            await weather.blow(3)
            found = [doc.digest for number in range(1, 4) if (doc := crowd.record_doc(number)) is not None]
            crowd.close()
            return found

        return simulate(work)

    assert records(disk / "one") == records(disk / "two")


def test_cheats_are_banned_on_evidence_that_an_outsider_accepts_and_nobody_else_is(disk: Path) -> None:
    cheats = {4: Liar, 5: WrongBase, 6: FalseReducer, 7: Equivocator, 8: Silent, 9: Damager}

    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 10, signers=3, cheats=cheats)
        books = Books(crowd)
        crowd.start()
        await asyncio.gather(
            books.follow(4), crowd.until("four bans", lambda: len(crowd.ledger.bans) == 4, 300)
        )  # fmt: skip
        books.end(4)
        assert books.evidence() == {
            4: "payload-mismatch", 5: "wrong-target", 6: "wrong-reduction", 7: "equivocation",
        }  # fmt: skip
        await crowd.until("they end", lambda: all("banned" in (crowd.members[i].ended or "") for i in (4, 5, 6, 7)))
        last = crowd.record(4)
        assert last is not None
        assert {0, 1, 2, 3} <= {entry.index for entry in last.counted}
        crowd.close()

    simulate(work)


# The first are enough to notice that something broke; all of them together are every fault in every phase.
_CASES = [("exchange", "freeze"), ("train", "kill")]
_CASES += [(p, f) for p in ("train", "commit", "anchor", "exchange", "record") for f in ("kill", "freeze", "partition")]
CASES = [pytest.param(*case, marks=[] if n < 2 else pytest.mark.slow) for n, case in enumerate(dict.fromkeys(_CASES))]


@pytest.mark.parametrize(("phase", "fault"), CASES)
def test_a_lost_member_costs_a_round_no_more_than_its_deadline(disk: Path, phase: str, fault: str) -> None:
    """Hit in a phase of round 2 and back when round 2 is over: it is counted in the next round that is planned."""

    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 3)
        weather, victim = Weather(crowd, 0.0), crowd.members[1]
        books = Books(crowd, weather)
        hit: asyncio.Future[None] = loop.create_future()

        def reached(round_: int, name: str) -> None:
            if (round_, name) == (2, phase) and not hit.done():
                hit.set_result(None)

        victim.lines.on_phase.append(reached)
        crowd.start()
        following = asyncio.ensure_future(books.follow(4))
        await hit
        over = asyncio.ensure_future(crowd.recorded(2))
        await weather.strike(victim, fault, 0.0, over)
        await following
        books.end(4)
        later = [n for n in range(3, 5) if (plan := crowd.plan(n)) and victim.index in plan.body.indices]
        left_out = crowd.lead.desk.seat.db.members()[victim.index].strikes
        assert later or left_out, "it is planned again, unless it was late itself"
        crowd.close()

    simulate(work)


def test_a_machine_ten_times_slower_gets_fewer_steps_and_keeps_its_place(disk: Path) -> None:
    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 3, slow={2: 0.5})
        books = Books(crowd)
        crowd.start()
        await books.follow(4)
        books.end(4)
        steps = [plan.body.member(2).steps for number in range(1, 5) if (plan := crowd.plan(number))]
        assert steps[0] == 40
        assert steps[-1] < 10
        assert all(2 in {entry.index for entry in record.counted} for n in range(1, 5) if (record := crowd.record(n)))
        assert crowd.lead.desk.seat.db.members()[2].strikes == 0
        last = crowd.plan(4)
        assert last is not None
        assert last.body.commit_by_ms - last.received_ms < 8000, "nor does it hold up the others"
        crowd.close()

    simulate(work)
