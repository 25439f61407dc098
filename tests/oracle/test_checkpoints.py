"""Checkpoints on a signer's disk: made once, found again, verified, and not piling up."""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from commonweight.errors import ContentUnavailable
from commonweight.exact.checkpoint import Checkpoint
from oracle import checkpoints as module
from tests.oracle.office import Chain, Office

pytestmark = pytest.mark.unit


def test_the_same_checkpoint_has_the_same_name_everywhere(tmp_path: Path) -> None:
    one, other = Office(tmp_path / "a", Chain()), Office(tmp_path / "b", Chain(), position=1)
    first, second = one.desk.checkpoints.genesis(), other.desk.checkpoints.genesis()
    assert (first.sha256, first.cid) == (second.sha256, second.cid)
    assert first.weights.exists()


def test_it_is_found_after_a_restart_and_fetched_when_the_disk_has_lost_or_damaged_it(tmp_path: Path) -> None:
    office = Office(tmp_path, Chain())
    made = office.desk.checkpoints.genesis()
    office.crash()
    assert office.desk.checkpoints.get(made.sha256, made.cid).checkpoint.equals(made.checkpoint)
    made.weights.write_bytes(b"damaged")
    office.crash()
    assert office.desk.checkpoints.get(made.sha256, made.cid).checkpoint.equals(made.checkpoint)
    assert len(made.weights.read_bytes()) == made.manifest.weights.size
    shutil.rmtree(made.folder)
    office.crash()
    again = office.desk.checkpoints.get(made.sha256, made.cid)
    assert again.checkpoint.equals(made.checkpoint)
    assert again.weights.exists()
    shutil.rmtree(made.folder)
    office.crash()
    with pytest.raises(ContentUnavailable):
        office.desk.checkpoints.get(made.sha256, "")


def test_many_who_want_one_at_once_have_it_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office(tmp_path, Chain())
    held = office.desk.checkpoints.genesis()
    office.crash()
    checkpoints, fetched = office.desk.checkpoints, []
    from_disk = checkpoints._from_disk

    def slow(sha256: str) -> dict[str, bytes] | None:
        fetched.append(sha256)
        time.sleep(0.2)
        return from_disk(sha256)

    monkeypatch.setattr(checkpoints, "_from_disk", slow)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: checkpoints.get(held.sha256, held.cid).sha256, range(6)))
    assert found == [held.sha256] * 6
    assert len(fetched) == 1
    assert checkpoints._loading == {}


def test_old_weights_go_and_manifests_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ON_DISK", 2)
    office = Office(tmp_path, Chain())
    made = [office.desk.checkpoints.genesis()]
    for number in range(1, 5):
        before = made[-1].checkpoint
        after = Checkpoint(before.weights * 2, before.momentum)
        made.append(office.desk.checkpoints.make(number, made[-1].sha256, "0x" + "0a" * 32, after))
    whole = [held for held in made if held.weights.exists()]
    assert len(whole) == 2
    assert all(office.desk.checkpoints.manifest(held.sha256) == held.manifest.to_bytes() for held in made)
    office.crash()
    old = office.desk.checkpoints.get(made[1].sha256, made[1].cid)
    assert old.checkpoint.equals(made[1].checkpoint)
    assert old.weights.exists()


def test_one_that_is_in_memory_is_on_disk_too_when_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay reads the weights from the disk: one that is old there stays while it is used."""
    monkeypatch.setattr(module, "_ON_DISK", 2)
    office = Office(tmp_path, Chain())
    made = [office.desk.checkpoints.genesis()]
    for number in range(1, 4):
        assert office.desk.checkpoints.get(made[0].sha256, made[0].cid).weights.exists()
        before = made[-1].checkpoint
        after = Checkpoint(before.weights * 2, before.momentum)
        made.append(office.desk.checkpoints.make(number, made[-1].sha256, "0x" + "0a" * 32, after))
