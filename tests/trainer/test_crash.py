"""A save behind the round is killed at any moment: the last whole checkpoint is found, and it goes on from there."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from commonweight.protocol.runconfig import RunConfig
from trainer.checkpoint import Checkpoints

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
RUN = "0x" + "aa" * 20
SAVES = """
import sys
from pathlib import Path
import numpy as np
from commonweight.exact.checkpoint import Checkpoint
from commonweight.protocol.runconfig import RunConfig
from trainer.checkpoint import Checkpoints
folder, config, run = Path(sys.argv[1]), RunConfig.load(Path(sys.argv[2]).read_bytes()), sys.argv[3]
box = Checkpoints(folder, config, run)
held = box.newest() or box.genesis()
print(held.manifest.round, held.sha256, flush=True)
while True:
    moved = Checkpoint(held.checkpoint.weights + np.float32(1e-3), held.checkpoint.momentum)
    made = box.make(held.manifest.round + 1, held.sha256, "0x" + "bb" * 32, moved)
    print(held.manifest.round, held.sha256, flush=True)  # the save before is done, this one is under way
    held = made
"""


def test_a_save_that_is_killed_leaves_the_last_whole_checkpoint(config: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes(config.to_bytes())
    place, last = tmp_path / "checkpoints", -1
    for attempt in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVES, str(place), str(tmp_path / "run.json"), RUN],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(4)]
        first = int(lines[0].split()[0])
        assert first >= last, "it goes on from the last whole checkpoint"
        time.sleep(0.003 * attempt)  # somewhere else within a save each time
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.read().splitlines(keepends=True)
        process.stdout.close()
        process.wait()
        said = dict(reversed(line.split()) for line in lines if line.endswith("\n"))
        newest = Checkpoints(place, config, RUN).newest()
        assert newest is not None
        last = newest.manifest.round
        told = max(int(number) for number in said.values())
        assert told - 1 <= last <= told + 1, "at most one save is lost, the one that was under way"
        assert said.get(newest.sha256, str(last)) == str(last)
