"""Equal bits under other thread counts and CPU capabilities: the golden vectors, remade in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
AVAILABLE = [name for name in __cpu_dispatch__ if __cpu_features__[name]]
LEVELS = [AVAILABLE[at:] for at in range(len(AVAILABLE) + 1)]
"""What numpy may use beyond its baseline, taken away from the top down until nothing is left."""

WIDE = """
import numpy as np
from commonweight.exact.aggregate import Contribution, aggregate_part
from commonweight.exact.arrays import array_digest
from commonweight.exact.genesis import uniform
from commonweight.exact.norms import dot, norm2
from commonweight.exact.outer import outer_step
from commonweight.exact.payload import make_payload
from commonweight.protocol.runconfig import CODECS, METHODS, Aggregation
rows = [uniform(b"wide", str(i), 100_003, np.float32(0.01 * (i + 1))) for i in range(16)]
print([norm2(row).hex() for row in rows], dot(rows[0], rows[1]).hex())
for codec in CODECS:
    payload = make_payload(rows[0], rows[1], rows[2], 3, codec, 128, True)
    print(codec, payload.digests, payload.new_residual_digest)
for method in METHODS:
    for count in (5, 8, 16):
        rule, some = Aggregation(method=method, trim_bps=2500), enumerate(rows[:count])
        result = aggregate_part([Contribution(i, row, 7 + i) for i, row in some], rule)
        print(method, count, array_digest(result.x), result.kept, result.clipped)
print([array_digest(x) for x in outer_step(*rows[:3], "0.7", "0.9")])
"""


FLUSHING = """
import torch
from commonweight.errors import InexactArithmetic
from commonweight.exact import aggregate, codecs, norms, outer
from commonweight.protocol.runconfig import Aggregation
import numpy as np
x = np.ones(8, np.float32)
calls = {
    "encode": lambda: codecs.encode(x, "int8", 8),
    "decode": lambda: codecs.decode(bytes(32), 8, "fp32", 8),
    "dot": lambda: norms.dot(x, x),
    "aggregate": lambda: aggregate.aggregate_part([aggregate.Contribution(0, x, 1)], Aggregation(method="mean")),
    "outer": lambda: outer.outer_step(x, x, x, "0.7", "0.9"),
}
for mode in (False, True):
    assert torch.set_flush_denormal(mode)
    for name, call in calls.items():
        try:
            call()
            print(mode, name, "done")
        except InexactArithmetic:
            print(mode, name, "refused")
"""


def run(code: list[str], threads: int, disabled: list[str]) -> str:
    environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(disabled), "PYTHONPATH": str(ROOT)}
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    done = subprocess.run(
        [sys.executable, *code], env=environment, capture_output=True, text=True, timeout=120, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_last_level_takes_nothing_away() -> None:
    assert LEVELS[0] == AVAILABLE
    assert LEVELS[-1] == []


def test_a_thread_that_flushes_subnormal_numbers_computes_nothing() -> None:
    names = ("encode", "decode", "dot", "aggregate", "outer")
    expected = [f"False {name} done" for name in names] + [f"True {name} refused" for name in names]
    assert run(["-c", FLUSHING], 1, []).splitlines() == expected


# With all of it they are tests/golden's own affair.
@pytest.mark.parametrize("disabled", LEVELS[:-1] or LEVELS, ids=lambda names: f"without {'-'.join(names) or 'nothing'}")
def test_golden_vectors_are_the_same_at_every_cpu_level(disabled: list[str]) -> None:
    threads = 1 + len(disabled) % 3
    run([str(ROOT / "tests" / "golden" / "make.py"), "--check"], threads, disabled)


def test_long_vectors_have_the_same_bits_at_every_cpu_level_and_thread_count() -> None:
    code = ["-c", WIDE]
    outputs = {
        run(code, threads, disabled) for disabled in LEVELS for threads in ((1, 4) if disabled == LEVELS[0] else (2,))
    }
    assert len(outputs) == 1
    assert len(next(iter(outputs)).splitlines()) == 22
