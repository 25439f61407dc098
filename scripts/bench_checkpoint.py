"""What saving a checkpoint costs a round: how long it waits, beside the save that goes on behind it.

Writes bench-results/checkpoint.json. A round has to know its checkpoint's name, and hashing gives it: `named` is that
alone, `made` all that the round waits for, `stall` the difference as a share of a whole save's time.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import time

import numpy as np
from benches.results import WORKING, machine, write_result

from commonweight.exact.checkpoint import Checkpoint
from commonweight.protocol.canonical import JsonObject
from commonweight.protocol.runconfig import RunConfig
from trainer.checkpoint import Checkpoints

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
    box = Checkpoints(_FOLDER, config, _RUN)
    held = box.genesis()
    box.settle()
    made, saved, named = [], [], []
    for number in range(1, options.repeats + 2):
        moved = Checkpoint(held.checkpoint.weights + np.float32(1e-3), held.checkpoint.momentum)
        before, began = held.sha256, time.perf_counter()
        held = box.make(number, before, _PLAN, moved)
        made.append(time.perf_counter() - began)
        box.settle()  # rounds are longer than saves
        saved.append(time.perf_counter() - began)
        began = time.perf_counter()
        box.make(number, before, _PLAN, moved)  # it is there: only the name is computed
        named.append(time.perf_counter() - began)
    box.close()
    shutil.rmtree(_FOLDER)
    waits, alone, whole = (statistics.median(times[1:]) for times in (made, named, saved))
    stall_bps = round(10_000 * max(0.0, waits - alone) / whole)
    body: JsonObject = {
        "machine": machine(), "preset": options.preset, "parameters": config.model.parameters(),
        "repeats": options.repeats, "named_ms": round(1000 * alone), "made_ms": round(1000 * waits),
        "saved_ms": round(1000 * whole), "stall_bps": stall_bps,
    }  # fmt: skip
    write_result("checkpoint", body)
    for name, value in list(body.items())[1:]:
        print(f"{name:>22} {value}")
    return 0 if stall_bps <= GOAL_BPS else 1


if __name__ == "__main__":
    sys.exit(main())
