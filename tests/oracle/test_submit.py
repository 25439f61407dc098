"""Nothing is sent before what the process before this one had under way is seen through."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest

from commonweight.errors import RpcUnavailable
from oracle import submit
from oracle.submit import Submitting
from tests.oracle.office import Chain, Crew, Office
from tests.oracle.test_coordinator import play

pytestmark = pytest.mark.unit


async def test_a_coordinator_anchors_nothing_before_it_may_send(tmp_path: Path) -> None:
    office = Office(tmp_path, Chain(), max_rounds=1)
    office.desk.may_send = False
    await play(office, {i: Crew(i) for i in range(3)})
    assert office.chain.anchors == []
    assert office.record(1).counted == ()  # what nobody has anchored counts for nobody


async def test_settling_is_tried_until_the_chain_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "_RETRY_S", 0.0)
    asked = []

    def settle() -> None:
        asked.append(office.desk.may_send)
        if len(asked) < 3:
            raise RpcUnavailable("No node answers")

    office = Office(tmp_path, Chain())
    office.seat.run.chain = SimpleNamespace(settle=settle)  # type: ignore[assignment]
    office.desk.may_send = False
    await asyncio.wait_for(Submitting(office.desk).settle(), 10)
    assert asked == [False, False, False]
    assert office.desk.may_send
