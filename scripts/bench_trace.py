"""What the trace costs: a round's inner steps with states hashed and kept, beside the same steps without.

Writes bench-results/trace.json. Rounds of both kinds take turns, so that what else the machine does strikes both; the
medians count. The CPU seconds include the thread that hashes; the wall time shows what of them the steps wait for.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time

from benches.member import EmptyRound, TracedRound, round_config
from benches.results import WORKING, machine, write_result

from commonweight.exact.trace import State
from commonweight.protocol.canonical import JsonObject
from commonweight.protocol.runconfig import RunConfig
from trainer.data import Corpus
from trainer.diloco import batch_of, payload_of
from trainer.inner import InnerOptimizer, configure_torch
from trainer.preparation import prepare

GOAL_BPS = 300
_FOLDER = WORKING / "trace"


def main() -> int:
    """Measure, write, print. Exit code 1 when the steps are slowed down by more than the goal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    if not (_FOLDER / "data" / "manifest.json").exists():
        prepare(None, _FOLDER / "data", max_bytes=1 << 20)
    corpus = Corpus.open(_FOLDER / "data")
    config = round_config("trace", options.preset, corpus.manifest.sha256)
    bare, traced = _Bare(config, corpus), TracedRound(config, corpus, _FOLDER / "keep-1")
    with_, without = [], []
    for _ in range(options.repeats + 1):
        without.append(_timed(bare))
        with_.append(_timed(traced))
    slower = _median(with_, 0) / _median(without, 0) - 1
    tokens = config.tokens(config.training.h)
    kept: JsonObject = {}
    for every in (1, 2, config.training.h):
        one = TracedRound(config, corpus, _FOLDER / f"keep-{every}", every)
        one.prepare()
        one()
        kept[str(every)] = one.bytes_kept()
    body: JsonObject = {
        "machine": machine(), "load": round(os.getloadavg()[0]),
        "preset": options.preset, "parameters": config.model.parameters(),
        "steps": config.training.h, "trace_every": config.training.trace_every, "repeats": options.repeats,
        "tokens_per_s": {"without": round(tokens / _median(without, 0)), "with": round(tokens / _median(with_, 0))},
        "cpu_ms": {"without": round(1000 * _median(without, 1)), "with": round(1000 * _median(with_, 1))},
        "cpu_more_bps": round(10_000 * (_median(with_, 1) / _median(without, 1) - 1)),
        "waited_bps": round(10_000 * statistics.median(traced.waited[1:])),
        "slower_bps": round(10_000 * slower), "bytes_kept_of_a_round": kept,
    }  # fmt: skip
    write_result("trace", body)
    for name, value in list(body.items())[1:]:
        print(f"{name:>22} {value}")
    return 0 if slower * 10_000 <= GOAL_BPS else 1


class _Bare(EmptyRound):
    """Steps and payload alone."""

    def __init__(self, config: RunConfig, corpus: Corpus) -> None:
        super().__init__(config, corpus, _FOLDER / "bare")
        self.optimizer = InnerOptimizer(config)
        self.empty = self.journal()

    def prepare(self) -> None:
        self.empty = self.journal()

    def __call__(self) -> None:
        journal, start = self.empty, State.fresh(self.base)
        folder = journal.open_round(self.signed)
        configure_torch(self.config.training.threads)
        self.optimizer.load(start)
        for step in range(self.plan.member(0).steps):
            self.optimizer.advance(batch_of(self.config, self.corpus, self.plan, 0, 0, step))
        payload = payload_of(self.config, self.plan, self.base, self.optimizer.model.export_flat(), start.residual)
        journal.arrays.put(payload.new_residual, payload.new_residual_digest)
        folder.save_payload(payload.parts)


def _timed(played: _Bare | TracedRound) -> tuple[float, float]:
    """Wall and CPU seconds, all threads together."""
    played.prepare()
    wall, cpu = time.perf_counter(), time.process_time()
    played()
    return time.perf_counter() - wall, time.process_time() - cpu


def _median(times: list[tuple[float, float]], place: int) -> float:
    """Without the first, which warms up."""
    return statistics.median(one[place] for one in times[1:])


if __name__ == "__main__":
    sys.exit(main())
