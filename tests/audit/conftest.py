"""A staged run on a chain of its own, once for all tests of the auditor; each test may change it and it is undone."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from commonweight.audit.settings import AuditSettings
from commonweight.chain.local import start_local
from commonweight.store import FolderStore
from tests.audit.staging import Staged, stage
from tests.conftest import put_back


def settings_of(staged: Staged, **changes: object) -> AuditSettings:
    """The audit of a staged run, without waiting for finality."""
    store = str(changes.pop("store", staged.store.folder))
    return AuditSettings(staged.run.address, (staged.world.url,), store, 0, **changes)  # type: ignore[arg-type]


def closed(url: str, folder: Path) -> Staged:
    """A run with epoch 0 final and paid out, epoch 1 closed and not yet reported."""
    staged = stage(url, folder)
    staged.play_epoch(0)
    staged.report(0)
    staged.world.finalize(0)
    staged.serve(10**15)
    staged.missing = (3,)
    staged.play_epoch(1)
    return staged


@pytest.fixture(scope="session")
def session_closed_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Staged]:
    """The run before the report of epoch 1."""
    folder = tmp_path_factory.mktemp("audit")
    with start_local("anvil", directory=folder / "chain", block_time_s=None) as chain:
        yield closed(chain.url, folder)


@pytest.fixture(scope="session")
def session_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Staged]:
    """The run after both epochs are final and everybody has claimed, on a chain of its own: most tests begin there."""
    folder = tmp_path_factory.mktemp("audited")
    with start_local("anvil", directory=folder / "chain", block_time_s=None) as chain:
        staged = closed(chain.url, folder)
        staged.report(1)
        staged.world.finalize(1)
        staged.serve(3 * 10**15 + 7)
        staged.claim_all()
        yield staged


def undone(session: Staged, folder: Path) -> Iterator[Staged]:
    """A run with a copy of the store; the chain is put back afterwards."""
    chain = session.run.chain
    snapshot = chain.rpc("evm_snapshot")
    staged = copy.copy(session)
    shutil.copytree(session.store.folder, folder / "store")
    staged.store = FolderStore(folder / "store")
    yield staged
    put_back(chain.rpc, snapshot)


@pytest.fixture
def closed_run(session_closed_run: Staged, tmp_path: Path) -> Iterator[Staged]:
    """The run before the report of epoch 1, to be changed."""
    yield from undone(session_closed_run, tmp_path)


@pytest.fixture
def run(session_run: Staged, tmp_path: Path) -> Iterator[Staged]:
    """The run after both epochs, to be changed."""
    yield from undone(session_run, tmp_path)
