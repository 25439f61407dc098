"""A member's disk is full: it loses a round, tells why, takes part in none while it is so, and comes back by itself."""

import asyncio
import errno
from pathlib import Path
from typing import Any

import pytest

from tests.crowd.clock import VirtualLoop, simulate
from tests.crowd.crowd import Crowd
from trainer.journal import Journal

pytestmark = pytest.mark.unit


def test_a_disk_that_fills_in_a_round_costs_that_round(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full, store = [False], Journal.store_state

    def store_state(journal: Journal, *state: Any, **known: Any) -> Any:
        if full[0] and "member-0" in str(journal.folder):
            raise OSError(errno.ENOSPC, "No space left on device")
        return store(journal, *state, **known)

    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 4, signers=1)
        monkeypatch.setattr(Journal, "store_state", store_state)
        crowd.start()
        await crowd.recorded(2)
        full[0] = True
        record = await crowd.recorded(4)
        assert 0 not in {entry.index for entry in record.counted}
        full[0] = False
        await crowd.until("it is counted again", lambda: any(round_ > 4 for round_ in crowd.members[0].lines.counted))
        assert crowd.members[0].ended is None
        crowd.close()

    simulate(work)


def test_a_member_without_room_is_planned_for_no_round_until_there_is_some(disk: Path) -> None:
    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 4, signers=1)
        crowd.start()
        await crowd.recorded(2)
        room, one = crowd.members[0].member.room, crowd.members[0]
        room.cap = 1
        await crowd.until("it has no room", lambda: room.short)
        last = crowd.lead.desk.rounds.last_plan()
        assert last is not None
        await asyncio.sleep(60)
        for number in range(last.body.round + 2, last.body.round + 5):
            plan = crowd.plan(number)
            assert plan is not None
            assert 0 not in plan.body.indices
        assert "--max-disk" in room.short
        room.cap = None
        await crowd.until("it is counted again", lambda: any(r > last.body.round + 4 for r in one.lines.counted))
        crowd.close()

    simulate(work)


def test_a_member_without_room_ends_when_there_is_nothing_left_to_train(disk: Path) -> None:
    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 3, signers=1)
        crowd.start()
        await crowd.recorded(1)
        one = crowd.members[0]
        one.member.room.cap = 1
        await crowd.until("it has no room", lambda: one.member.room.short)
        crowd.ledger.exits.add(0)
        await crowd.until("it is gone", lambda: one.ended == "left", 300.0)
        crowd.close()

    simulate(work)


def test_a_member_without_room_ends_after_the_last_round_that_run_json_allows(disk: Path) -> None:
    """Long before the last epoch is over: it hears from the signers, who plan it for no round meanwhile."""

    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 4, signers=1, max_rounds=3)
        crowd.start()
        await crowd.recorded(1)
        one = crowd.members[0]
        one.member.room.cap = 1
        await crowd.until("it has no room", lambda: one.member.room.short)
        await crowd.recorded(3)
        await crowd.until("all are gone", lambda: all(each.ended == "left" for each in crowd.members), 600.0)
        plan = crowd.plan(3)
        assert plan is not None
        assert 0 not in plan.body.indices
        crowd.close()

    simulate(work)


def test_what_a_kill_left_of_a_round_is_gone_at_the_next_start(disk: Path) -> None:
    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 2, signers=1)
        left = crowd.members[0].folder("state") / ".gone-00000001-0123456789abcdef"
        left.mkdir(parents=True)
        (left / "part-00000.bin").write_bytes(b"left")
        crowd.start()
        await crowd.recorded(1)
        assert not left.exists()
        crowd.close()

    simulate(work)
