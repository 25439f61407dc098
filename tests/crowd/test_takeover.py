"""The coordinator is lost for good in the middle of a round, and the signers name another one (docs/oracle.md)."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import oracle.coordinator
from commonweight.protocol.records import Plan
from oracle.coordinator import Coordinator
from oracle.rounds import Rounds
from oracle.uploads import Uploads
from tests.crowd.clock import VirtualLoop, simulate
from tests.crowd.crowd import Crowd, Signer

pytestmark = pytest.mark.unit
HOUR_MS = 3_600_000


async def take_over(crowd: Crowd) -> Signer:
    """What a restart with `--coordinator NEW` does at every signer that is left."""
    assert crowd.loop is asyncio.get_running_loop()
    crowd.lead.process.kill()
    await asyncio.sleep(5)
    second = crowd.signers[1]
    for signer in crowd.signers[1:]:
        signer.desk.rounds = Rounds(signer.desk.seat.db, second.address)
    uploads = Uploads(second.desk, second.offending)
    second.coordinator = Coordinator(second.desk, second.offending, uploads, second.recount)
    crowd.loop.start(second.process, second.coordinator.run())
    return second


def counted_by_all(crowd: Crowd, after: int) -> bool:
    """Whether each member was counted in some round after this one."""
    return all(any(round_ > after for round_ in one.lines.counted) for one in crowd.members)


@pytest.mark.parametrize("when", ["train", "anchor", "record"])
def test_members_give_up_the_round_that_nobody_ends_and_go_on(disk: Path, when: str) -> None:
    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 4, signers=3)
        crowd.start()
        await crowd.recorded(2)
        await crowd.until("they are there", lambda: all(one.lines.phase == (3, when) for one in crowd.members))
        await take_over(crowd)
        await crowd.until("all are counted again", lambda: counted_by_all(crowd, 3), 300)
        crowd.close()

    simulate(work)


def test_what_a_coordinator_recorded_counts_once_a_rotation_has_put_it_out_of_office(disk: Path) -> None:
    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 4, signers=3)
        crowd.start()
        away = crowd.members[0]
        await crowd.until("it has committed", lambda: away.lines.phase == (3, "anchor"))
        await crowd.until("the others have", lambda: all(one.lines.phase[1] != "train" for one in crowd.members[1:]))
        crowd.kill(away)
        last = await crowd.recorded(3)
        assert last.counted_member(0) is not None or last.missing, "it knows nothing of the record yet"
        await crowd.until("all have its record", lambda: all(s.recount.result(3) == "ok" for s in crowd.signers[1:]))
        crowd.ledger.in_office = crowd.ledger.in_office[1:]
        await take_over(crowd)
        crowd.begin(away)
        await crowd.until("all are counted again", lambda: counted_by_all(crowd, 3), 300)
        assert all(folder.settled for folder in away.journal().rounds() if folder.body.round == 3)
        crowd.close()

    simulate(work)


def test_a_deadline_in_the_far_future_holds_nobody_longer_than_its_coordinator_is_in_office(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = oracle.coordinator.make_plan

    def far(**known: Any) -> Plan:
        plan = made(**known)
        if plan.round != 3:
            return plan
        ends = {name: getattr(plan, name) + HOUR_MS for name in ("commit_by_ms", "anchor_by_ms", "exchange_by_ms")}
        epoch = known["params"].epoch_of(ends["commit_by_ms"] // 1000)
        return replace(plan, epoch=epoch, record_by_ms=plan.record_by_ms + HOUR_MS, **ends)

    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 4, signers=3)
        monkeypatch.setattr(oracle.coordinator, "make_plan", far)
        crowd.start()
        await crowd.recorded(2)
        await crowd.until("round 3 is planned", lambda: crowd.plan(3))
        await asyncio.sleep(10)
        monkeypatch.setattr(oracle.coordinator, "make_plan", made)
        second = await take_over(crowd)
        await crowd.until("all are counted again", lambda: counted_by_all(crowd, 3), 300)
        found = crowd.signers[2].desk.rounds.last_plan()
        assert found is not None
        assert found.signer == second.address, "signers follow it too"
        crowd.close()

    simulate(work)
