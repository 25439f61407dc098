"""Inner steps under other threads and CPU capabilities: equal bits on one kind, within tolerance across kinds."""

import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest
import torch

from commonweight.exact.genesis import genesis
from commonweight.exact.trace import State
from commonweight.protocol.runconfig import RunConfig
from tests.trainer.conftest import tiny_config
from trainer.replay import compare

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
LEVELS = ["default", "avx2", "avx512"]
SEGMENT = """
import sys
from pathlib import Path
import torch
from commonweight.exact.genesis import genesis
from commonweight.exact.trace import State
from commonweight.protocol.runconfig import RunConfig
from trainer.data import Corpus
from trainer.inner import InnerOptimizer, configure_torch
config_file, data, out, threads = sys.argv[1:]
config, corpus = RunConfig.load(Path(config_file).read_bytes()), Corpus.open(Path(data))
configure_torch(int(threads))
optimizer = InnerOptimizer(config)
state = State.fresh(genesis(config.model, config.genesis_seed_bytes))
optimizer.load(state)
for step in range(10):
    optimizer.advance(corpus.batch(bytes(32), 0, step, config.training.batch, config.training.seq_len))
Path(out).write_bytes(optimizer.state(state.residual).to_bytes())
print(torch.backends.cpu.get_cpu_capability())
"""


def segment(config: RunConfig, folder: Path, data_dir: Path, level: str, threads: int) -> State:
    """Ten inner steps from the genesis in a process of its own."""
    (folder / "run.json").write_bytes(config.to_bytes())
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": level, "PYTHONPATH": str(ROOT)}
    environment |= {"ONEDNN_MAX_CPU_ISA": {"default": "SSE41", "avx2": "AVX2"}.get(level, "ALL")}
    out = folder / f"{level}-{threads}"
    done = subprocess.run(
        [sys.executable, "-c", SEGMENT, str(folder / "run.json"), str(data_dir), str(out), str(threads)],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().lower().replace("no ", "") in (level, "avx", "default")
    return State.from_bytes(out.read_bytes(), config.model.parameters())


def test_steps_have_equal_bits_on_one_kind_and_pass_a_replay_across_kinds(data_dir: Path, tmp_path: Path) -> None:
    config = tiny_config("0x" + "00" * 32)
    best = torch.backends.cpu.get_cpu_capability().lower()
    levels = LEVELS[: LEVELS.index(best) + 1] if best in LEVELS else [best]
    reached = {
        (level, threads): segment(config, tmp_path, data_dir, level, threads) for level in levels for threads in (1, 2)
    }
    again = segment(config, tmp_path, data_dir, levels[-1], 1)
    assert again.digests == reached[levels[-1], 1].digests
    start = State.fresh(genesis(config.model, config.genesis_seed_bytes))
    for one, other in combinations(reached.values(), 2):
        assert compare(start, one, other).within(config)
