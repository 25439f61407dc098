"""What a member holds in memory of the rounds behind it: no checkpoint but the last one, and no payloads."""

from pathlib import Path

import pytest

from tests.crowd.clock import VirtualLoop, simulate
from tests.crowd.crowd import Crowd

pytestmark = pytest.mark.unit


def test_rounds_behind_leave_neither_checkpoints_nor_payloads(disk: Path) -> None:
    async def work(loop: VirtualLoop) -> None:
        crowd = Crowd(loop, disk, 4, signers=3)
        crowd.start()
        await crowd.recorded(6)
        await crowd.until("all train on", lambda: all(one.lines.phase == (7, "train") for one in crowd.members))
        for member in (one.member for one in crowd.members):
            assert len(member.outcomes) > 2
            assert not any(outcome.made for outcome in member.outcomes[:-1])
            assert member.outcomes[-1].made is not None, "the round begins from it"
            for number, exchange in member.server._exchanges.items():
                assert not any(arrivals.decoded for arrivals in exchange._arrivals.values())
                assert not any(exchange.received(part) for part in range(exchange.plan.parts)), number
        crowd.close()

    simulate(work)
