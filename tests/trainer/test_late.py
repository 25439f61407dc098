"""A member that is late in a round that is recorded already: it does not stay in the exchange until its deadline."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from commonweight.errors import PeerUnreachable
from commonweight.protocol.records import Plan, sign_body
from commonweight.protocol.runconfig import RunConfig
from commonweight.protocol.typed import Domain
from tests.trainer.conftest import KEYS, make_plan
from trainer.train import exchange_parts

pytestmark = pytest.mark.unit


class Late:
    """A member whose exchange lasts `seconds`, in a round whose record is there after `recorded` questions."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, plan: Plan, seconds: float, recorded: float = 0) -> None:
        self.folder: Any = SimpleNamespace(body=plan, plan=sign_body(plan, KEYS[60], Domain(1, plan.run)))
        self.asked, self.recorded, self.ended, self.abandoned = 0, recorded, False, False
        self.poll_s = 0.0
        monkeypatch.setattr("trainer.train._exchange", lambda *_: self.work(seconds))

    @property
    def signers(self) -> "Late":
        return self

    async def record(self, _: int, __: object) -> object:
        self.asked += 1
        if self.asked <= self.recorded:
            raise PeerUnreachable("not yet")
        return ("signed", "record")

    async def work(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.ended = True

    def abandon(self) -> None:
        self.abandoned = True

    async def go(self) -> None:
        async with asyncio.timeout(30):
            await exchange_parts(self, self.folder, self)  # type: ignore[arg-type]


@pytest.fixture
def plan(config: RunConfig) -> Plan:
    times: Any = {"commit_by_ms": 1000, "anchor_by_ms": 1001, "exchange_by_ms": 1201, "record_by_ms": 1202}
    return make_plan(config, "0x" + "0b" * 32, round=7, **times)


async def test_an_exchange_is_given_up_when_its_round_is_recorded(monkeypatch: pytest.MonkeyPatch, plan: Plan) -> None:
    late = Late(monkeypatch, plan, seconds=3600, recorded=3)
    await late.go()
    assert late.asked == 4
    assert (late.ended, late.abandoned) == (False, True), "who waits here is refused"


async def test_what_is_about_to_end_may_end(monkeypatch: pytest.MonkeyPatch, plan: Plan) -> None:
    late = Late(monkeypatch, plan, seconds=0.001)
    await late.go()
    assert (late.ended, late.abandoned) == (True, False)


async def test_trouble_of_the_exchange_is_not_lost(monkeypatch: pytest.MonkeyPatch, plan: Plan) -> None:
    late = Late(monkeypatch, plan, seconds=0, recorded=float("inf"))

    async def fails(*_: object) -> None:
        raise PeerUnreachable("the chain's node is away")

    monkeypatch.setattr("trainer.train._exchange", fails)
    with pytest.raises(PeerUnreachable):
        await late.go()
