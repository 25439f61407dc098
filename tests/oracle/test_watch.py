"""The signer's view of the chain: one reading of the logs for all that follows from them, and none of them twice."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commonweight.chain import client
from commonweight.chain.events import ChainEvent
from commonweight.chain.run import Run
from commonweight.errors import RpcUnavailable
from oracle.db import Database
from oracle.watch import Watcher
from tests.chain.scenario import make_world
from tests.oracle.office import SIGNERS

pytestmark = pytest.mark.chain


def test_a_start_that_fails_half_way_goes_on_from_there(
    anvil_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(anvil_url, tmp_path / "nonces")
    world.fund()
    world.register(1)
    world.close(0)
    world.settle(1, {0: 1_000_000})
    run = Run.at(client.Chain([anvil_url], confirmations=0), world.run.address)
    whole = Watcher(run).look(None)
    assert whole is not None
    assert whole.view.leaves

    asked: list[tuple[int, int]] = []
    events = Run.events

    def failing(self: Run, kinds: Any = (), *, from_block: int, to_block: int) -> Iterator[ChainEvent]:
        asked.append((from_block, to_block))
        for number, event in enumerate(events(self, kinds, from_block=from_block, to_block=to_block)):
            if len(asked) == 3 and number == 1:
                raise RpcUnavailable("the node is away")
            yield event

    monkeypatch.setattr("oracle.watch._STRETCH", 4)
    monkeypatch.setattr(Run, "events", failing)
    watcher, db = Watcher(run), Database(tmp_path / "data", run=run.address, signer=SIGNERS[0])
    with pytest.raises(RpcUnavailable):
        watcher.look(None)
    assert len(asked) == 3
    look = watcher.look(None)
    assert look is not None
    assert look.view == whole.view
    assert look.events == whole.events
    assert asked[2] == asked[3], "only what failed is asked for again"
    assert [start for start, _ in asked[3:]] == [stop + 1 for _, stop in asked[1:2] + asked[3:-1]]
    watcher.apply(look, db)
    world.settle(2, {0: 5})
    later = watcher.look(look.view)
    assert later is not None
    assert all(event.block > look.upto_block for event in later.events)
