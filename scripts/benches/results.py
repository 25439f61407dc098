"""Where figures go: one JSON file a benchmark in bench-results/, with the machine and the versions that gave them."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch

from commonweight.protocol.canonical import JsonObject

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "bench-results"
WORKING = RESULTS / "tmp"
_PACKAGES = ("numpy", "torch")


def machine() -> JsonObject:
    """CPU, cores, memory, system and the versions of what does the arithmetic."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "system": f"{platform.system()} {platform.machine()}",
        "capability": torch.backends.cpu.get_cpu_capability(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
    }


def write_result(name: str, body: JsonObject) -> Path:
    """Replace bench-results/NAME.json; keys stay in the order given. Returns its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(body, indent=1) + "\n")
    return path


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
