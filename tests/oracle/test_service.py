"""What goes wrong in one part of the service, foreseen or not, ends neither the process nor that part."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import Any

import pytest

from commonweight.errors import RpcUnavailable
from oracle import service
from oracle.bell import Bell
from oracle.metrics import Metrics
from oracle.service import Service

pytestmark = pytest.mark.unit


def bare() -> Any:
    """A service without a seat."""
    found: Any = Service.__new__(Service)
    found.desk = SimpleNamespace(seen=None, metrics=Metrics(), bell=Bell())
    found.seat = SimpleNamespace(settings=SimpleNamespace(poll_s=0))
    found._log = service.logger("service")
    return found


async def test_a_step_that_fails_in_a_way_nobody_foresaw_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_RETRY_S", 0.01)
    looks = iter([RpcUnavailable("away"), TypeError("int() of a list"), RecursionError(), KeyError("number")])
    enough = asyncio.Event()

    class Watcher:
        def look(self, seen: object) -> None:
            if (problem := next(looks, None)) is not None:
                raise problem
            enough.set()

    signer = bare()
    signer._watcher = Watcher()
    cycle = asyncio.create_task(signer._lasting("cycle", signer.cycle))
    await asyncio.wait_for(enough.wait(), 10)
    assert not cycle.done() or cycle.exception() is None
    counted = {
        sample.labels["step"]: sample.value
        for sample in next(iter(signer.desk.metrics.failures.collect())).samples
        if sample.name.endswith("_total")
    }
    assert counted["cycle"] == 1
    assert counted["unforeseen"] >= 3
    cycle.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await cycle


async def test_a_part_that_comes_to_its_end_is_not_begun_again() -> None:
    begun: list[int] = []

    async def part() -> None:
        begun.append(1)

    await bare()._lasting("data", part)
    assert begun == [1]
