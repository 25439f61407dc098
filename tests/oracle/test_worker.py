"""The replay worker's client: a worker that dies, hangs or talks rubbish is replaced."""

import sys
from pathlib import Path

import pytest

from commonweight.errors import UsageError
from oracle.settings import OracleSettings
from oracle.worker import Evaluation, Worker, WorkerError, command, require

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


def settings(tmp_path: Path, **changes: object) -> OracleSettings:
    kept = tmp_path / "key"
    return OracleSettings(
        "0x" + "0c" * 20, ("http://127.0.0.1:1",), str(tmp_path), kept, kept, tmp_path, "127.0.0.1:0",
        **changes,  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_signer_replays_on_the_device_that_it_was_given(tmp_path: Path) -> None:
    plain, card = settings(tmp_path), settings(tmp_path, device="cuda:1", compiled=True)
    assert (plain.replays_on, plain.visible_cards) == ((), {"CUDA_VISIBLE_DEVICES": ""})
    assert (card.replays_on, card.visible_cards) == (("--device", "cuda:1", "--compile"), {})
    assert command(card) == (*command(plain), "--device", "cuda:1", "--compile")
    require(plain)
    with pytest.raises(UsageError, match="There is no device 'tpu'"):
        require(settings(tmp_path, device="tpu"))
    with pytest.raises(UsageError, match="cuda:99") as missing:
        require(settings(tmp_path, device="cuda:99"))
    assert missing.value.fix


async def test_a_missing_program_is_a_named_error(tmp_path: Path) -> None:
    worker = Worker(tmp_path / "c", tmp_path, tmp_path / "log", command=("/nowhere/at/all",))
    with pytest.raises(WorkerError, match="failed at evaluate"):
        await worker.evaluate(Path("fine"))
