"""Where figures go: one JSON file a benchmark in bench-results/, with the machine and the versions that gave them."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benches.block import write_block
from commonweight.protocol.canonical import JsonObject

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "bench-results"
WORKING = RESULTS / "tmp"
SPEED = ROOT / "docs" / "speed.md"
Figures = dict[str, Any]
"""A benchmark's JSON, read or about to be written."""
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


def publish(name: str, table: Callable[[Figures], str], body: JsonObject) -> None:
    """Write bench-results/NAME.json, and the table of it into docs/speed.md and onto stdout."""
    write_result(name, body)
    text = table(dict(body))
    write_block(SPEED, name, text)
    print(text)


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
