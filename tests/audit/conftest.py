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


@pytest.fixture(scope="session")
def session_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Staged]:
    """Epoch 0 final and paid out, epoch 1 closed and not yet reported."""
    folder = tmp_path_factory.mktemp("audit")
    with start_local("anvil", directory=folder / "chain", block_time_s=None) as chain:
        staged = stage(chain.url, folder)
        staged.play_epoch(0)
        staged.report(0)
        staged.world.finalize(0)
        staged.serve(10**15)
        staged.missing = (3,)
        staged.play_epoch(1)
        yield staged


@pytest.fixture
def closed_run(session_run: Staged, tmp_path: Path) -> Iterator[Staged]:
    """The run before the report of epoch 1, with a copy of the store; the chain is put back afterwards."""
    chain = session_run.run.chain
    snapshot = chain.rpc("evm_snapshot")
    staged = copy.copy(session_run)
    shutil.copytree(session_run.store.folder, tmp_path / "store")
    staged.store = FolderStore(tmp_path / "store")
    yield staged
    put_back(chain.rpc, snapshot)


@pytest.fixture
def run(closed_run: Staged) -> Staged:
    """The run after both epochs are final and everybody has claimed."""
    closed_run.report(1)
    closed_run.world.finalize(1)
    closed_run.serve(3 * 10**15 + 7)
    closed_run.claim_all()
    return closed_run
