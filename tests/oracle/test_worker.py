"""The replay worker's client: a worker that dies, hangs or talks rubbish is replaced."""

import sys
from pathlib import Path

import pytest

from oracle.worker import Evaluation, Worker, WorkerError

pytestmark = pytest.mark.unit

STUB = """
import json, sys, time
for line in sys.stdin:
    request = json.loads(line)
    weights = request.get("weights", "")
    if weights.endswith("die"): sys.exit(3)
    if weights.endswith("hang"): time.sleep(60)
    for turn in range(8):
        if weights.endswith("slow") or weights.endswith("idle"):
            busy = turn if weights.endswith("slow") else 7
            print(json.dumps({"id": request["id"], "busy_ms": busy}), flush=True); time.sleep(0.25)
    if weights.endswith("rubbish"): print("not json", flush=True); continue
    if weights.endswith("other"): print(json.dumps({"id": 999, "ok": True}), flush=True); continue
    if weights.endswith("refuse"):
        print(json.dumps({"id": request["id"], "ok": False, "error": {"what": "no such file"}}), flush=True); continue
    print(json.dumps({"id": request["id"], "ok": True, "loss_micro": 2500000, "tokens": 64}), flush=True)
"""


def make(tmp_path: Path, timeout_s: float = 60.0) -> Worker:
    command = (sys.executable, "-c", STUB)
    return Worker(tmp_path / "run.json", tmp_path, tmp_path / "log", command=command, timeout_s=timeout_s)


@pytest.mark.parametrize("trouble", ["die", "rubbish", "other", "refuse"])
async def test_a_failure_is_named_and_the_next_request_is_answered(tmp_path: Path, trouble: str) -> None:
    worker = make(tmp_path)
    with pytest.raises(WorkerError):
        await worker.evaluate(Path(trouble))
    assert await worker.evaluate(Path("fine")) == Evaluation(2_500_000, 64)
    await worker.close()


async def test_a_worker_that_hangs_is_killed(tmp_path: Path) -> None:
    worker = make(tmp_path)
    await worker.evaluate(Path("fine"))
    worker._timeout_s = 0.3
    with pytest.raises(WorkerError, match="hung at evaluate"):
        await worker.evaluate(Path("hang"))
    worker._timeout_s = 60.0
    assert (await worker.evaluate(Path("fine"))).tokens == 64
    await worker.close()


async def test_a_worker_that_computes_may_take_its_time(tmp_path: Path) -> None:
    worker = make(tmp_path)
    await worker.evaluate(Path("fine"))
    worker._timeout_s = 1.5
    assert (await worker.evaluate(Path("slow"))).tokens == 64, "eight quarters of a second"
    with pytest.raises(WorkerError, match="computed nothing"):
        await worker.evaluate(Path("idle"))
    await worker.close()


async def test_a_missing_program_is_a_named_error(tmp_path: Path) -> None:
    worker = Worker(tmp_path / "c", tmp_path, tmp_path / "log", command=("/nowhere/at/all",))
    with pytest.raises(WorkerError, match="failed at evaluate"):
        await worker.evaluate(Path("fine"))
