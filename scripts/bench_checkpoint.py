"""What a checkpoint costs a round: how long it waits, and what its inner steps lose, while one is named and saved.

Writes bench-results/checkpoint.json and its table in docs/speed.md. `waited` is how long the round stands still until
the save is under way; `named` is the hashing for the name (nothing that builds on the checkpoint is signed before),
`saved` ends on the disk. Inner steps of a nano model go on meanwhile: `steps_lost` is the time by which those fall
behind the same steps without a save. Saves and quiet stretches take turns, so that what else the machine does strikes
both; the medians count.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import threading
import time
from collections.abc import Callable

import numpy as np
from benches.results import WORKING, Figures, machine, publish

from commonweight.exact.checkpoint import Checkpoint, genesis_checkpoint
from commonweight.exact.trace import State
from commonweight.protocol.canonical import JsonObject
from commonweight.protocol.runconfig import RunConfig
from trainer.checkpoint import Checkpoints
from trainer.inner import InnerOptimizer, configure_torch

GOAL_BPS = 500
_FOLDER = WORKING / "checkpoint"
_RUN = "0x" + "aa" * 20
_PLAN = "0x" + "bb" * 32


def main() -> int:
    """Measure, write, print. Exit code 1 when the stall is over the goal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="25M")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    shutil.rmtree(_FOLDER, ignore_errors=True)
    config = RunConfig.parse({
        "name": "checkpoint", "model": {"preset": options.preset}, "genesis_seed": "0x" + "07" * 32,
        "data": {"manifest_cid": "", "manifest_sha256": "0x" + "da" * 32},
    })  # fmt: skip
    box, steps = Checkpoints(_FOLDER, config, _RUN), _Steps()
    held = box.genesis()
    box.settle()
    waited, named, saved, lost = [], [], [], []
    for number in range(1, options.repeats + 2):
        moved = Checkpoint(held.checkpoint.weights + np.float32(1e-3), held.checkpoint.momentum)
        began = time.perf_counter()
        making = box.begin(number, held.sha256, _PLAN, moved)
        waited.append(time.perf_counter() - began)
        on_disk = threading.Thread(target=box.settle)
        on_disk.start()
        taken, busy_s = steps.while_(on_disk.is_alive)
        saved.append(time.perf_counter() - began)
        held = making.result()
        quiet_s = steps.take(taken)
        lost.append(busy_s - quiet_s)
        began = time.perf_counter()
        box.make(number, held.manifest.parent, _PLAN, moved)  # it is there: only the name is computed
        named.append(time.perf_counter() - began)
    box.close()
    shutil.rmtree(_FOLDER)
    waits, alone, whole, behind = (statistics.median(times[1:]) for times in (waited, named, saved, lost))
    stall_bps = round(10_000 * waits / whole)
    body: JsonObject = {
        "machine": machine(), "load": round(os.getloadavg()[0]),
        "preset": options.preset, "parameters": config.model.parameters(),
        "repeats": options.repeats, "waited_us": round(1e6 * waits), "named_ms": round(1000 * alone),
        "saved_ms": round(1000 * whole), "stall_bps": stall_bps, "steps_lost_bps": round(10_000 * behind / whole),
    }  # fmt: skip
    publish("checkpoint", table, body)
    return 0 if stall_bps <= GOAL_BPS else 1


def table(body: Figures) -> str:
    """Markdown: how long a save takes, how long the round stands still, and what inner steps beside it lose."""
    lines = [
        "| model | parameters | saved after | named after | the round waits | of the save | inner steps lose |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        f"| {body['preset']} | {body['parameters']:,} | {body['saved_ms']:,} ms | {body['named_ms']:,} ms |",
        "",
        f"Medians of {body['repeats']} on {body['machine']['cores']} cores that had {body['load']} tasks to run.",
    ]
    lines[2] += f" {body['waited_us'] / 1000:.1f} ms | {body['stall_bps'] / 100:.2f} % |"
    lines[2] += f" {body['steps_lost_bps'] / 100:.0f} % |"
    return "\n".join(lines)


class _Steps:
    """Inner steps of a small model, as a member takes them."""

    def __init__(self) -> None:
        config = RunConfig.parse({
            "name": "steps", "model": {"preset": "nano"}, "genesis_seed": "0x" + "07" * 32,
            "data": {"manifest_cid": "", "manifest_sha256": "0x" + "da" * 32},
        })  # fmt: skip
        configure_torch(config.training.threads)
        self._optimizer = InnerOptimizer(config)
        self._optimizer.load(State.fresh(genesis_checkpoint(config).weights))
        self._batch = np.zeros((1, 65), dtype=np.int64)
        self.take(10)

    def take(self, count: int) -> float:
        """So many steps; how long they took, in seconds."""
        began = time.perf_counter()
        for _ in range(count):
            self._optimizer.advance(self._batch)
        return time.perf_counter() - began

    def while_(self, lasts: Callable[[], bool]) -> tuple[int, float]:
        """Steps while something lasts; how many, and how long they took."""
        taken, began = 0, time.perf_counter()
        while lasts():
            self._optimizer.advance(self._batch)
            taken += 1
        return taken, time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
