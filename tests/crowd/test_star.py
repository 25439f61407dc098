"""Rounds that the coordinator reduces: members give it their payloads, and take what it made of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import trainer.recheck
from tests.crowd.books import Books
from tests.crowd.clock import VirtualLoop, simulate
from tests.crowd.crowd import Crowd
from tests.crowd.test_crowd import churn
from tests.crowd.test_false_record import corrupt
from tests.oracle.office import member_key

pytestmark = pytest.mark.unit
STAR = {"topology": "star", "codec": "int1", "result_codec": "ternary", "carry_residual": True}


def only(*draws: int) -> Any:
    """A draw of part 0 for these members in every round, and of none for the others."""

    def drawn(key: bytes, record: str, parts: int) -> int | None:
        assert record.startswith("0x")
        assert parts == 4
        return 0 if key in [member_key(index) for index in draws] else None

    return drawn


def test_churn_costs_nobody_who_is_well_its_place(disk: Path) -> None:
    books = churn(disk, members=5, rounds=5, seed=4, **STAR)
    assert books.owed > 10


def test_members_give_each_other_nothing_but_what_is_drawn(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer.recheck, "drawn_part", only(2))

    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 4, **STAR)
        asked: list[tuple[str, str, str]] = []
        call: Any = crowd.links.call

        async def overheard(caller: Any, who: Any, address: str, request: Any) -> Any:
            asked.append((caller.name, address, request[0]))
            return await call(caller, who, address, request)

        monkeypatch.setattr(crowd.links, "call", overheard)
        books = Books(crowd)
        crowd.start()
        await books.follow(3)
        assert books.counted == books.planned == 12
        plan, record = crowd.plan(2), crowd.record(2)
        assert plan is not None
        assert record is not None
        assert plan.body.reducers == plan.body.backups == ()
        assert not record.links, "nobody measures a link"
        between = {(one, method) for one, other, method in asked if "member" in one and "member" in other}
        between -= {(one, "ping") for one, _ in between}  # each looks whether another process has its key
        assert between == {("member-2", "payload")}
        crowd.close()

    simulate(work)


def test_a_member_that_draws_a_false_part_stops_everybody(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer.recheck, "drawn_part", only(3))

    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 4, signers=3, **STAR)
        corrupt(crowd, 2)
        crowd.start()
        await crowd.recorded(2)
        false = crowd.record_doc(2)
        assert false is not None
        await crowd.until(
            "all refuse it", lambda: all(one.journal().refused(false.digest) for one in crowd.members)
        )  # fmt: skip
        await asyncio.sleep(30)  # simulated: a plan for round 3 is there by now, and nobody works by it
        assert crowd.record(3) is None or not crowd.record(3).counted  # type: ignore[union-attr]
        assert not crowd.ledger.bans, "no member is banned for it"
        crowd.close()

    simulate(work)
