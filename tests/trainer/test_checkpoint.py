"""Checkpoints at a member: equal names for equal bits, verified fetching that resumes, crash safety."""

import errno
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import pytest
import torch

from commonweight.errors import ContentMismatch, ContentUnavailable, DamagedBlock, StoreError
from commonweight.exact.checkpoint import Checkpoint, genesis_checkpoint
from commonweight.protocol.records import Manifest
from commonweight.protocol.runconfig import RunConfig
from commonweight.store import open_store, parse_cid
from commonweight.store.cid import cid_of
from commonweight.store.folder import FolderStore
from trainer.checkpoint import KEPT, Checkpoints, Held, PeerBlocks
from trainer.model import Llama

pytestmark = pytest.mark.unit
RUN = "0x" + "aa" * 20
PLAN = "0x" + "bb" * 32


def later(held: Held) -> Checkpoint:
    """Another checkpoint, as an outer step would make it."""
    momentum = np.full_like(held.checkpoint.weights, 1e-3)
    return Checkpoint(held.checkpoint.weights - momentum, momentum)


@pytest.fixture
def box(tmp_path: Path, config: RunConfig) -> Checkpoints:
    return Checkpoints(tmp_path / "one", config, RUN)


class Neighbour:
    """Another member's blocks; `broken` ones are sent altered, and it dies after `lives` blocks."""

    def __init__(self, box: Checkpoints, lives: int = 10**6, broken: bool = False) -> None:
        self.box, self.lives, self.broken, self.served = box, lives, broken, list[str]()

    def __call__(self, cid) -> bytes:
        if self.lives == 0:
            raise ContentUnavailable("the neighbour is gone")
        self.lives -= 1
        self.served.append(cid)
        data = self.box.block(cid)
        return data[:-1] + bytes([data[-1] ^ 1]) if self.broken else data


def test_two_members_name_the_same_bits_alike(box: Checkpoints, tmp_path: Path, config: RunConfig) -> None:
    other = Checkpoints(tmp_path / "two", config, RUN)
    mine, theirs = box.genesis(), other.genesis()
    assert (mine.sha256, mine.cid) == (theirs.sha256, theirs.cid)
    changed = other.make(1, theirs.sha256, PLAN, later(theirs))
    assert changed.sha256 != mine.sha256
    assert changed.manifest.parent == mine.sha256


def test_a_joiner_fetches_from_a_neighbour_and_verifies(box: Checkpoints, tmp_path: Path, config: RunConfig) -> None:
    newest = box.make(1, box.genesis().sha256, PLAN, later(box.genesis()))
    joiner = Checkpoints(tmp_path / "joiner", config, RUN)
    got = joiner.get(newest.sha256, PeerBlocks(Neighbour(box)))
    assert got.checkpoint.equals(newest.checkpoint)
    assert got.cid == newest.cid
    again = Checkpoints(tmp_path / "joiner", config, RUN)
    found = again.newest()
    assert found is not None
    assert found.sha256 == newest.sha256


def test_a_fetch_goes_on_where_it_stopped(tmp_path: Path, config: RunConfig, box: Checkpoints) -> None:
    held = box.genesis()
    box.settle()
    joiner, dying = Checkpoints(tmp_path / "joiner", config, RUN), Neighbour(box, lives=2)
    with pytest.raises(ContentUnavailable):
        joiner.get(held.sha256, PeerBlocks(dying))
    assert joiner.newest() is None, "a checkpoint without all its blocks is not there"
    second = Neighbour(box)
    joiner.get(held.sha256, PeerBlocks(second))
    assert dying.served
    assert not set(dying.served) & set(second.served), "no block is fetched twice"


def test_what_nobody_completes_is_dropped_and_what_is_being_fetched_stays(
    tmp_path: Path, config: RunConfig, box: Checkpoints
) -> None:
    first = box.genesis()
    wanted = box.make(1, first.sha256, PLAN, later(first))
    box.settle()
    with pytest.raises(ContentUnavailable):
        Checkpoints(tmp_path / "joiner", config, RUN).get(first.sha256, PeerBlocks(Neighbour(box, lives=2)))
    joiner, dying = Checkpoints(tmp_path / "joiner", config, RUN), Neighbour(box, lives=2)
    with pytest.raises(ContentUnavailable):
        joiner.get(wanted.sha256, PeerBlocks(dying))
    made = joiner.make(2, wanted.sha256, PLAN, later(wanted))
    joiner.settle()
    there = {path.name for path in (tmp_path / "joiner").iterdir()}
    assert there == {wanted.sha256[2:], made.sha256[2:]}, "the first one was left by a process that is gone"
    second = Neighbour(box)
    joiner.get(wanted.sha256, PeerBlocks(second))
    assert not set(dying.served) & set(second.served)


def test_a_question_for_a_block_makes_no_folder_where_one_was_dropped(
    box: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = box.genesis()
    box.settle()
    dropped = tmp_path / "one" / ("00" * 32)
    monkeypatch.setattr(box, "_places", lambda: [dropped, tmp_path / "one" / held.sha256[2:]])
    assert box.block(parse_cid(held.manifest.weights.cid))
    assert not dropped.exists()


def test_what_a_kill_left_of_a_dropped_checkpoint_is_gone_at_the_next_start(
    box: Checkpoints, tmp_path: Path, config: RunConfig
) -> None:
    held = box.genesis()
    box.close()
    left = tmp_path / "one" / f".gone-{held.sha256[2:]}"
    shutil.copytree(tmp_path / "one" / held.sha256[2:], left)
    box.drop(held.sha256)
    assert list((tmp_path / "one").iterdir()) == [], "an older rest is no hindrance"
    left.mkdir()
    (left / "manifest.json").write_bytes(held.manifest.to_bytes())
    again = Checkpoints(tmp_path / "one", config, RUN)
    assert not left.exists()
    assert again.newest() is None


def test_nothing_waits_for_a_download_and_each_block_is_read_once(
    box: Checkpoints, tmp_path: Path, config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("commonweight.store.unixfs.CHUNK_BYTES", 1 << 12)
    first = box.genesis()
    momentum = np.linspace(0, 1, config.model.parameters(), dtype=np.float32)
    wanted = box.make(1, first.sha256, PLAN, Checkpoint(first.checkpoint.weights, momentum))
    box.settle()
    joiner, go = Checkpoints(tmp_path / "joiner", config, RUN), threading.Event()
    reads: Counter[str] = Counter()

    class Slow(Neighbour):
        def __call__(self, cid) -> bytes:
            assert go.wait(60)
            return super().__call__(cid)

    load = FolderStore.load_block

    def counted(store: FolderStore, cid) -> bytes:
        reads[cid] += "joiner" in str(store.folder)
        return load(store, cid)

    monkeypatch.setattr(FolderStore, "load_block", counted)
    pool = ThreadPoolExecutor(2)
    fetch = pool.submit(lambda: joiner.get(wanted.sha256, PeerBlocks(Slow(box))))
    assert pool.submit(lambda: joiner.genesis()).result(timeout=60).sha256 == first.sha256
    assert joiner.round_of(first.sha256) == 0
    joiner.settle()
    go.set()
    assert fetch.result().checkpoint.equals(wanted.checkpoint)
    for again in (False, True):
        if again:
            reads.clear()
            Checkpoints(tmp_path / "joiner", config, RUN).get(wanted.sha256)
        often = {cid for cid, times in reads.items() if times > 1 + (not again)}
        roots = {wanted.manifest.weights.cid, wanted.manifest.outer.cid, cid_of(wanted.manifest.to_bytes())}
        assert len(reads) > 40
        assert often <= roots, "their size is asked before, and the directory needs it"


def test_altered_blocks_are_never_used(tmp_path: Path, config: RunConfig, box: Checkpoints) -> None:
    held = box.genesis()
    joiner = Checkpoints(tmp_path / "joiner", config, RUN)
    with pytest.raises(DamagedBlock):
        joiner.get(held.sha256, PeerBlocks(Neighbour(box, broken=True)))
    store = open_store(tmp_path / "store")
    files = held.checkpoint.to_files(Llama(config.model).layout)
    for data in (*files.values(), held.manifest.to_bytes()):
        store.put(data)
    got = joiner.get(held.sha256, PeerBlocks(Neighbour(box, broken=True)), store)
    assert got.checkpoint.equals(held.checkpoint), "the content store has what the neighbour spoils"


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path, config: RunConfig, box: Checkpoints) -> None:
    foreign = Checkpoints(tmp_path / "foreign", config, "0x" + "cc" * 20)
    held = foreign.genesis()
    with pytest.raises(ContentMismatch, match="another run"):
        box.get(held.sha256, PeerBlocks(Neighbour(foreign)))


def test_a_damaged_checkpoint_is_dropped_and_the_one_before_is_found(box: Checkpoints, tmp_path: Path, config) -> None:
    first = box.genesis()
    second = box.make(1, first.sha256, PLAN, later(first))
    box.settle()
    for block in (tmp_path / "one" / second.sha256[2:] / "blocks").rglob("b*"):
        if block.is_file():
            block.write_bytes(block.read_bytes()[:-1])
    reopened = Checkpoints(tmp_path / "one", config, RUN)
    found = reopened.newest()
    assert found is not None
    assert found.sha256 == first.sha256


def test_only_the_newest_are_kept(box: Checkpoints, tmp_path: Path) -> None:
    held = box.genesis()
    names = [held.sha256]
    for number in range(1, KEPT + 3):
        held = box.make(number, held.sha256, PLAN, later(held))
        names.append(held.sha256)
    box.settle()
    kept = {Manifest.load(p.read_bytes()).sha256 for p in (tmp_path / "one").glob("*/manifest.json")}
    assert kept == set(names[-KEPT:])
    box.get(names[-KEPT])
    with pytest.raises(StoreError):
        box.get(names[0])


class Gate(Executor):
    """Lets a save begin only when it is told to."""

    def __init__(self) -> None:
        self.go, self.thread = threading.Event(), ThreadPoolExecutor(1)

    def submit(self, fn: Callable[..., object], /, *args: object, **kwargs: object) -> Future[object]:
        return self.thread.submit(lambda: self.go.wait() and fn(*args, **kwargs))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.thread.shutdown(wait)


def test_a_checkpoint_is_there_before_it_is_on_disk(tmp_path: Path, config: RunConfig, box: Checkpoints) -> None:
    gate = Gate()
    slow = Checkpoints(tmp_path / "slow", config, RUN, gate)
    first = slow.genesis()
    assert first.sha256 == box.genesis().sha256, "its name does not wait for the disk"
    assert slow.get(first.sha256).checkpoint.equals(first.checkpoint)
    assert slow.round_of(first.sha256) == 0
    assert Checkpoints(tmp_path / "slow", config, RUN).newest() is None
    second = ThreadPoolExecutor(1).submit(lambda: slow.make(1, first.sha256, PLAN, later(first)))
    joiner = Checkpoints(tmp_path / "joiner", config, RUN)
    fetch = ThreadPoolExecutor(1).submit(lambda: joiner.get(first.sha256, PeerBlocks(Neighbour(slow))))
    assert not wait([second, fetch], timeout=0.2).done, "at most one save is behind; a peer's question waits for it"
    gate.go.set()
    assert fetch.result().checkpoint.equals(first.checkpoint)
    newest = second.result()
    slow.close()
    found = Checkpoints(tmp_path / "slow", config, RUN).newest()
    assert found is not None
    assert found.sha256 == newest.sha256, "closing waits for the save"


def test_a_full_disk_is_told_and_the_next_save_is_tried(
    box: Checkpoints, tmp_path: Path, config: RunConfig, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("trainer.checkpoint.write_whole", full)
        first = box.genesis()
        second = box.make(1, first.sha256, PLAN, later(first))
        assert "No space left on device" in caplog.text, "the round goes on, the log says why it is not saved"
        with pytest.raises(StoreError, match="could not be saved") as problem:
            box.settle()
        assert "make room" in problem.value.fix
    third = box.make(2, second.sha256, PLAN, later(second))
    box.close()
    found = Checkpoints(tmp_path / "one", config, RUN).newest()
    assert found is not None
    assert found.sha256 == third.sha256


def test_a_save_completes_what_a_fetch_left_half_done(tmp_path: Path, config: RunConfig, box: Checkpoints) -> None:
    held = box.genesis()
    box.settle()
    other = Checkpoints(tmp_path / "other", config, RUN)
    with pytest.raises(ContentUnavailable):
        other.get(held.sha256, PeerBlocks(Neighbour(box, lives=2)))
    assert other.round_of(held.sha256) is None
    other.genesis()
    other.close()
    found = Checkpoints(tmp_path / "other", config, RUN).newest()
    assert found is not None
    assert found.checkpoint.equals(held.checkpoint)


def test_transformers_loads_the_published_directory_with_equal_logits(
    box: Checkpoints, tmp_path: Path, config: RunConfig
) -> None:
    from transformers import LlamaForCausalLM

    held = box.make(1, box.genesis().sha256, PLAN, later(box.genesis()))
    files = held.checkpoint.to_files(Llama(config.model).layout)
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(files["weights.safetensors"])
    (folder / "config.json").write_bytes(config.model.transformers_config())
    theirs = LlamaForCausalLM.from_pretrained(folder).eval()
    ours = Llama(config.model)
    ours.load_flat(held.checkpoint.weights)
    tokens = torch.arange(20).reshape(1, 20)
    with torch.inference_mode():
        assert torch.allclose(ours(tokens), theirs(tokens).logits, atol=1e-5)


def test_genesis_is_a_function_of_the_configuration(box: Checkpoints, config: RunConfig) -> None:
    assert box.genesis().checkpoint.equals(genesis_checkpoint(config))
