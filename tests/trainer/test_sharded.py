"""Several ranks behind one member: what it commits to is what one device replays; a rank that dies ends it by name."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from commonweight.errors import ConfigError
from commonweight.protocol.runconfig import RunConfig
from tests.trainer.world import ROOT, free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def start(data: Path, folder: Path, *more: str, ranks: int = 2) -> list[subprocess.Popen[str]]:
    """The ranks, as torchrun would start them."""
    common = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1",
              "MASTER_PORT": str(free_port())}  # fmt: skip
    return [
        subprocess.Popen(
            [sys.executable, "-m", "tests.trainer.ranks", str(data), str(folder), *more], cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(ranks)
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_two_ranks_train_one_batch_and_their_trace_is_accepted(data_dir: Path, tmp_path: Path, optimizer: str) -> None:
    first, second = start(data_dir, tmp_path, optimizer)
    said, _ = first.communicate(timeout=200)
    other, _ = second.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0), said + other
    found = json.loads(next(line for line in said.splitlines() if line.startswith("found")).removeprefix("found "))
    assert found["steps"] == 6
    assert found["payload"], "the payload is that of the full tensors of the last state"
    assert found["worst"] < 1e-3
    assert found["kept"] == found["leaves"] == 4, "no state is thinned out: one rank could not compute it again"


@pytest.mark.slow
def test_a_rank_that_is_killed_ends_the_member_with_a_clear_error(data_dir: Path, tmp_path: Path) -> None:
    first, second = start(data_dir, tmp_path, "die")
    began = time.monotonic()
    said, _ = first.communicate(timeout=200)
    second.communicate(timeout=60)
    assert second.returncode == -9
    assert first.returncode == 1, said
    assert "lost A rank of this member is gone" in said
    assert time.monotonic() - began < 110, "it hears of it, and does not wait for a time-out"


def test_ranks_that_cannot_share_a_batch_are_refused(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    from trainer.sharded import ShardedOptimizer  # seconds, in each process that collects this file

    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ConfigError, match="3 ranks cannot share"):
        ShardedOptimizer(config)
