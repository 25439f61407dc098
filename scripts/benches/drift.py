"""How far honest machines differ: the same segments executed in other ways, compared as a replay compares them.

`python -m benches.drift JOB.json` is one way, in a process of its own, because threads, instruction sets and compilers
are chosen when torch is loaded. It reads reference states from disk, executes from each and prints one JSON line a
comparison.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import torch

from benches.results import ROOT
from benches.robust import make_plan
from commonweight.exact.trace import State
from commonweight.protocol.canonical import JsonObject
from commonweight.protocol.runconfig import RunConfig
from trainer.data import Corpus
from trainer.diloco import batch_of
from trainer.inner import InnerOptimizer, configure_torch
from trainer.replay import compare

_LEAST = 1e-12


@dataclass(frozen=True)
class Way:
    """A way of executing steps: threads, environment, compiled or not, and the arithmetic of the products."""

    name: str
    threads: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    compiled: bool = False
    dtype: str = ""


WAYS: tuple[Way, ...] = (
    Way("another process"),
    Way("2 threads", threads=2),
    Way("4 threads", threads=4),
    Way("kernels for AVX2", environment={"ATEN_CPU_CAPABILITY": "avx2"}),
    Way("kernels without vectors", environment={"ATEN_CPU_CAPABILITY": "default"}),
    Way("oneDNN up to AVX2", environment={"ONEDNN_MAX_CPU_ISA": "AVX2"}),
    Way("oneDNN up to SSE4.1", environment={"ONEDNN_MAX_CPU_ISA": "SSE41"}),
    Way("MKL up to AVX2", environment={"MKL_CBWR": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}),
    Way("MKL compatible", environment={"MKL_CBWR": "COMPATIBLE"}),
    Way(
        "4 threads, no vectors, MKL compatible",
        threads=4,
        environment={"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    ),
    Way("torch.compile", compiled=True),
)
"""Machines that honest members may have, as far as one CPU can stand for them."""

COARSE_WAYS = tuple(way for way in WAYS if way.threads > 1 or way.compiled or "vectors" in way.name)
"""Those that runs in bfloat16 are tried by."""

SOLD = Way("bfloat16 sold as float32", dtype="bfloat16")


@dataclass(frozen=True)
class Apart:
    """One comparison: segment of `steps` steps from a start of this kind."""

    start: str
    steps: int
    exact: bool
    rel_l2: float
    norm_ratio: float


@dataclass(frozen=True)
class Spread:
    """What comparisons of one kind gave."""

    count: int
    exact: int
    worst: float
    middle: float
    beyond: float

    @classmethod
    def of(cls, values: Sequence[Apart], checks: int) -> Spread:
        """`beyond` is where one of `checks` comparisons is expected to lie, were their logarithms normal."""
        found = [max(one.rel_l2, _LEAST) for one in values]
        logs = [math.log(value) for value in found]
        spread = statistics.stdev(logs) if len(logs) > 1 else 0.0
        quantile = statistics.NormalDist().inv_cdf(1.0 - 1.0 / checks)
        beyond = math.exp(statistics.mean(logs) + quantile * spread)
        exact = sum(one.exact for one in values)
        return cls(len(values), exact, max(found), statistics.median(found), max(beyond, max(found)))

    def to_json(self) -> JsonObject:
        """As the results hold it, in decimal text of three digits."""
        return {
            "comparisons": self.count, "exact": self.exact, "median": f"{self.middle:.2e}",
            "worst": f"{self.worst:.2e}", "expected_beyond": f"{self.beyond:.2e}",
        }  # fmt: skip


def run_way(way: Way, folder: Path, config: RunConfig, data: Path, starts: Mapping[str, Sequence[Path]]) -> list[Apart]:
    """Execute in this way what `starts` lists: by kind, the files of consecutive reference states.

    Raises RuntimeError with the process's own words when it fails.
    """
    job = folder / "job.json"
    config_path = folder / "run.json"
    config_path.write_bytes(config.to_bytes())
    files = {kind: [str(path) for path in paths] for kind, paths in starts.items()}
    job.write_text(json.dumps({
        "config": str(config_path), "data": str(data), "threads": way.threads, "compiled": way.compiled,
        "dtype": way.dtype, "starts": files,
    }))  # fmt: skip
    environment = {**os.environ, **way.environment, "PYTHONPATH": f"{ROOT}:{ROOT / 'scripts'}"}
    environment["OMP_NUM_THREADS"] = str(way.threads)
    done = subprocess.run(
        [sys.executable, "-m", "benches.drift", str(job)], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{way.name}: {done.stderr[-1000:]}")
    return [Apart(*json.loads(line)) for line in done.stdout.splitlines()]


class Compiled(InnerOptimizer):
    """Inner steps whose loss runs through torch.compile."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__(config)
        self.model.loss = torch.compile(self.model.loss)  # type: ignore[method-assign]


def execute(optimizer: InnerOptimizer, corpus: Corpus, state: State, steps: int) -> State:
    """The state after `steps` steps from one, on the batches that follow its step count; residuals stay zero."""
    plan = make_plan(optimizer.config, [0], 1, 1)
    optimizer.load(state)
    for step in range(state.step, state.step + steps):
        optimizer.advance(batch_of(optimizer.config, corpus, plan, 0, 0, step))
    return optimizer.state(state.residual)


def main() -> int:
    """Do a job; see the module."""
    job = json.loads(Path(sys.argv[1]).read_text())
    config = RunConfig.load(Path(job["config"]).read_bytes())
    corpus = Corpus.open(Path(job["data"]))
    if job["dtype"]:
        config = replace(config, training=replace(config.training, dtype=job["dtype"]))
    configure_torch(job["threads"])
    optimizer = (Compiled if job["compiled"] else InnerOptimizer)(config)
    for kind, paths in job["starts"].items():
        states = [State.from_bytes(Path(path).read_bytes(), config.model.parameters()) for path in paths]
        for before, after in pairwise(states):
            _tell(kind, before, after, execute(optimizer, corpus, before, after.step - before.step))
        whole = execute(optimizer, corpus, states[0], states[-1].step - states[0].step)
        _tell(kind, states[0], states[-1], whole)
    return 0


def _tell(kind: str, before: State, claimed: State, replayed: State) -> None:
    found = compare(before, claimed, replayed)
    steps = claimed.step - before.step
    print(json.dumps([kind, steps, found.exact, found.rel_l2, found.norm_ratio]), flush=True)


if __name__ == "__main__":
    sys.exit(main())
