"""A server that looks for newer checkpoints: whatever goes wrong with one, what is served stays served."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from commonweight.errors import CommonweightError, ContentUnavailable, DeviceFull, DeviceLost, RpcUnavailable
from commonweight.exact.arrays import F32
from commonweight.exact.genesis import genesis
from inference import loading
from inference.api import Metrics
from inference.checkpoint import Attested
from inference.following import Follower
from inference.generation import Generator
from inference.loading import Loader
from inference.memory import loading_bytes, serving_bytes
from inference.serving import ServedModel, Serving
from inference.tokens import ByteTokenizer
from tests.inference.parts import DOCUMENTS, SERVER_KEY, StubChain, make_till
from tests.inference.test_generation import MODEL as SHAPE
from tests.inference.test_serving import MODEL
from trainer.engine import Engine
from trainer.model import Llama

pytestmark = pytest.mark.unit
NEWER, NEWEST = (Attested(bytes([n]) * 32, "cid", n, n, 0) for n in (8, 9))


@dataclass
class StubNewer:
    """Newer checkpoints as a test sets them, and what was asked for."""

    newest: Attested | None = None
    trouble: dict[str, Exception] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if what in self.trouble:
            raise self.trouble[what]

    def find(self, than: Attested) -> Attested | None:
        self._ask("find")
        return self.newest if self.newest is not None and self.newest.epoch > than.epoch else None

    def require_room(self) -> None:
        self._ask("room")

    def fetch(self, attested: Attested) -> F32:
        assert threading.current_thread().daemon, "the end of the process does not wait for it"
        self._ask("fetch")
        return np.zeros(1, np.float32)

    def build(self, attested: Attested, weights: F32) -> ServedModel:
        self._ask("build")
        return replace(MODEL, checkpoint=attested)


class Bench:
    """A follower with its surroundings; `now` is its clock."""

    def __init__(self, folder: Path) -> None:
        self.newer, self.metrics, self.told = StubNewer(), Metrics(), list[Attested]()
        self.till, self.workers = make_till(folder, StubChain()), ThreadPoolExecutor(1)
        self.serving = Serving(
            MODEL, self.till, self.workers, key=SERVER_KEY, documents=DOCUMENTS, max_tokens=50, max_at_once=2
        )
        self.now = 0.0
        self.follower = Follower(self.newer, self.serving, self.metrics, self.told.append, 10.0, lambda: self.now)

    async def look(self, at: float | None = None) -> list[str]:
        """What is done in one look, and forgotten then."""
        self.now = self.now if at is None else at
        self.newer.asked.clear()
        await self.follower.look()
        return self.newer.asked

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"commonweight_{name}", labels)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.workers.shutdown()
    made.till.ledger.close()


async def test_a_newer_checkpoint_is_served_and_told(bench: Bench) -> None:
    assert await bench.look() == ["find"] and bench.serving.model is MODEL
    bench.newer.newest = NEWER
    assert await bench.look() == ["find", "room", "fetch", "build"]
    assert bench.serving.model.checkpoint == NEWER and bench.told == [NEWER]
    assert await bench.look() == ["find"], "once"
    assert bench.metric("checkpoints_total", outcome="served") == 1
    assert bench.metric("attested_epoch") == NEWER.epoch


@pytest.mark.parametrize("step", ["room", "fetch", "build"])
@pytest.mark.parametrize("trouble", [ContentUnavailable("It is gone", "", ""), DeviceFull("Full", "", ""), OSError(5)])
async def test_one_that_cannot_be_served_is_named_once_and_tried_less_and_less_often(
    bench: Bench, step: str, trouble: Exception
) -> None:
    bench.newer.newest, bench.newer.trouble[step] = NEWER, trouble
    with capture_logs() as logs:
        tried = [at for at in range(0, 200, 10) if "room" in await bench.look(at)]
    assert tried == [0, 10, 30, 70, 150]
    (said,) = [log for log in logs if log["log_level"] == "warning"]
    assert said["checkpoint"] == "0x" + "08" * 32 and str(trouble) in said["why"]
    assert bench.serving.model is MODEL and bench.told == []
    assert bench.metric("checkpoints_total", outcome="failed") == len(tried)
    assert bench.metric("attested_epoch") == NEWER.epoch
    bench.newer.newest = NEWEST
    del bench.newer.trouble[step]
    await bench.look(200)
    assert bench.serving.model.checkpoint == NEWEST, "the next one is not made to wait for the one that fails"


async def test_a_chain_that_cannot_be_read_is_said_once_a_time(bench: Bench) -> None:
    bench.newer.trouble["find"] = RpcUnavailable("No endpoint answers")
    with capture_logs() as logs:
        for _ in range(3):
            await bench.look()
        trouble = bench.newer.trouble.pop("find")
        await bench.look()
        bench.newer.trouble["find"] = trouble
        await bench.look()
    assert [log["log_level"] for log in logs] == ["warning", "warning"]
    assert bench.serving.model is MODEL


async def test_a_device_that_fails_at_the_new_one_is_lost_for_the_old_one_too(bench: Bench) -> None:
    bench.newer.newest, bench.newer.trouble["build"] = NEWER, DeviceLost("It has failed", "", "")
    ended = threading.Event()
    bench.serving.on_lost = ended.set
    await bench.look()
    assert ended.is_set() and bench.serving.lost is bench.newer.trouble["build"]


def test_two_models_have_to_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    llama = Llama(SHAPE, learns=False)
    llama.load_flat(genesis(SHAPE, b"\x01" * 32))
    run = type("Config", (), {"model": SHAPE, "name": "tiny"})()
    loader = Loader(None, run, "", ByteTokenizer(), Engine(), 2)  # type: ignore[arg-type]
    built = loader.build(NEWER, llama.export_flat())
    assert isinstance(built.generator, Generator) and np.array_equal(built.generator._model.flat, llama.flat)
    for free, fits in ((loading_bytes(SHAPE), True), (loading_bytes(SHAPE) - 1, False), (None, True)):
        monkeypatch.setattr(loading, "available_memory", lambda free=free: free)
        if fits:
            loader.require_room()
            continue
        with pytest.raises(CommonweightError, match="no room for a second model"):
            loader.require_room()
    monkeypatch.setattr(Engine, "kind", "cuda")
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda _: (serving_bytes(SHAPE, 2) - 1, 1 << 30))
    with pytest.raises(CommonweightError, match="a second model beside the one that is served, and 2 answers at once"):
        loader.require_room()
