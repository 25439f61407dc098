"""What the oracle keeps in the store: pinned through its window, never dropped in it, let go after it."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from commonweight.errors import StoreError
from commonweight.store import FolderStore, raw_cid
from oracle.keeping import Keeping, kept_until
from oracle.phases import Finish
from tests.oracle.office import Chain, Crew, Office
from tests.oracle.test_coordinator import play, until
from tests.oracle.test_recount import two

pytestmark = pytest.mark.unit


class Service:
    """What `PinningService` offers, in memory."""

    def __init__(self) -> None:
        self.pins: dict[str, str] = {}
        self.broken = False
        self.origins: set[tuple[str, ...]] = set()

    def keep(self, cid: str, name: str, origins: tuple[str, ...]) -> Any:
        if self.broken:
            raise StoreError("The pinning service did not answer")
        assert name.startswith("0x")
        self.origins.add(origins)
        self.pins[f"request of {cid}"] = cid
        return SimpleNamespace(request=f"request of {cid}")

    def remove(self, request: str) -> None:
        del self.pins[request]


@pytest.fixture
async def office(tmp_path: Path) -> Office:
    """A signer after two recounted rounds of three members."""
    office = Office(tmp_path, Chain(), max_rounds=2)
    crew = {i: Crew(i) for i in range(3)}
    for _ in range(2):
        await play(office, crew)
    await until(office, Finish)
    office.chain.now_ms += 5000
    office.look()
    while await office.recount.step():
        pass
    return office


def named(office: Office) -> set[str]:
    records = [office.record(number) for number in (1, 2)]
    return {c.payload_cid for r in records for c in r.counted} | {r.checkpoint_cid for r in records}


async def work(keeping: Keeping) -> None:
    while await keeping.step() or await keeping.remote_step():
        pass


def store_of(office: Office) -> FolderStore:
    assert isinstance(office.seat.store, FolderStore)
    return office.seat.store


async def test_payloads_and_checkpoints_are_pinned_here_and_at_the_service(office: Office) -> None:
    service: Any = Service()
    reachable = ("/ip4/203.0.113.7/tcp/4001",)
    store_of(office).origins = lambda: reachable  # type: ignore[method-assign]
    await work(Keeping(office.desk, office.recount, service))
    assert set(store_of(office).pins()) == named(office)
    assert set(service.pins.values()) == named(office)
    assert service.origins == {reachable}


async def test_nothing_is_let_go_inside_the_window_and_all_of_it_after(office: Office) -> None:
    service: Any = Service()
    keeping = Keeping(office.desk, office.recount, service)
    await work(keeping)
    end = kept_until(office.params, 0)
    assert end >= office.params.epoch_end(0) + office.params.evidence_retention
    office.chain.now_ms = (end - 1) * 1000
    office.look()
    await work(keeping)
    assert set(store_of(office).pins()) == named(office)
    office.chain.now_ms = (end + 60) * 1000
    office.look()
    case: Any = SimpleNamespace(closed=False, epoch=0)
    office.desk.seen = replace(office.desk.view, cases=(case,))
    await work(keeping)
    assert set(store_of(office).pins()) == named(office)  # a challenge is open
    office.look()
    await work(keeping)
    assert store_of(office).pins() == []
    assert service.pins == {}


async def test_a_service_that_fails_is_asked_again_and_stops_nothing_else(office: Office) -> None:
    service: Any = Service()
    service.broken = True
    keeping = Keeping(office.desk, office.recount, service)
    with pytest.raises(StoreError):
        await keeping.remote_step() or await work(keeping)
        await keeping.remote_step()
    while await keeping.step():
        pass
    assert set(store_of(office).pins()) == named(office)
    assert not await keeping.remote_step()
    service.broken = False
    office.chain.now_ms += 31_000
    await work(keeping)
    assert set(service.pins.values()) == named(office)


async def test_what_no_store_has_any_more_is_kept_from_what_members_gave(tmp_path: Path) -> None:
    """The coordinator's store is gone before another signer has anything of it; that signer asks the members."""
    first, other = await two(tmp_path)
    shutil.rmtree(tmp_path / "store")
    other.crash()
    other.look()
    other.desk.checkpoints.genesis()
    shutil.copytree(tmp_path / "0" / "payloads", tmp_path / "1" / "payloads", dirs_exist_ok=True)
    assert await other.recount.step()
    keeping = Keeping(other.desk, other.recount, None)
    while await keeping.step():
        pass
    record = first.record(1)
    assert set(store_of(other).pins()) == {record.checkpoint_cid, *(entry.payload_cid for entry in record.counted)}


async def test_a_wrong_record_keeps_nothing_else_from_being_kept(tmp_path: Path) -> None:
    _, other = await two(tmp_path, {"checkpoint": "0x" + "ee" * 32, "checkpoint_cid": raw_cid(b"\x11" * 32)})
    assert await other.recount.step()
    assert other.recount.result(1) == "wrong"
    keeping = Keeping(other.desk, other.recount, None)
    while await keeping.step():
        pass
    assert other.seat.db.get_meta("kept") == "1"
    assert store_of(other).pins() == []


async def test_what_was_kept_is_known_after_a_crash(office: Office) -> None:
    service: Any = Service()
    await work(Keeping(office.desk, office.recount, service))
    office.crash()
    again: Any = Service()
    await work(Keeping(office.desk, office.recount, again))
    assert again.pins == {}
