"""The server's process beside its requests: it goes on settling, whatever a moment was like."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from inference.metering import Reservation
from inference.server import Opened, _settle_regularly
from inference.settings import ServeSettings
from inference.settlement import Settler
from tests.inference.parts import CHANNEL, REQUEST, facts, make_till, query_only, voucher
from tests.inference.test_settlement import StubPayments

pytestmark = pytest.mark.unit


async def until(condition: Callable[[], bool], settling: asyncio.Task[None]) -> None:
    """Wait for a condition while settling goes on."""
    async with asyncio.timeout(30):
        while not condition():
            assert not settling.done()
            await asyncio.sleep(0.01)


async def test_a_disk_that_was_full_does_not_end_settling(tmp_path: Path) -> None:
    chain = StubPayments({CHANNEL: facts()})
    till = make_till(tmp_path, chain)
    ledger = till.ledger
    ledger.observe(facts())
    taken = ledger.reserve(voucher(100), REQUEST, 100, "")
    assert isinstance(taken, Reservation)
    ledger.charge(taken, 60, lambda before, sequence: b"receipt", "x" * 100_000)
    query_only(ledger, 1)
    settler = Settler(ledger, till.refresh, chain.settle, chain.clear, every_s=0.0, threshold=0)
    opened = cast(
        Opened,
        SimpleNamespace(settler=settler, ledger=ledger, serving=SimpleNamespace(till=till, end_left=lambda: None)),
    )
    settings = ServeSettings("", (), "", Path(), None, tmp_path, settle_every_s=0.0, keep_answers_s=0.0)
    stop = asyncio.Event()
    settling = asyncio.create_task(_settle_regularly(settings, opened, stop))
    await until(lambda: chain.reads > 1, settling)
    query_only(ledger, 0)
    await until(lambda: bool(chain.sent), settling)
    stop.set()
    await settling
    assert chain.channels[CHANNEL].settled == 60
    ledger.close()
