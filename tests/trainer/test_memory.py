"""Freed memory stays with the process: arrays of the same sizes again and again cost no more page faults."""

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.unit
PROGRAM = """
import resource, sys, threading
import numpy as np
from commonweight.memory import keep_freed_memory

def faults(size):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(size, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

assert sys.argv[1] == "as-it-is" or keep_freed_memory()
found = []
for _ in range(3):
    thread = threading.Thread(target=lambda: found.append(faults(100 << 20)))
    thread.start()
    thread.join()
print(found[1] + found[2])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone is told")
def test_arrays_that_were_freed_are_used_again() -> None:
    def again(how: str) -> int:
        told = subprocess.run([sys.executable, "-c", PROGRAM, how], check=True, capture_output=True, text=True)
        return int(told.stdout)

    assert again("kept") < 50 < again("as-it-is")
