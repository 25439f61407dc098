"""torch.distributed over gloo: fp32 all-reduce, or int8 by an all-to-all of parts and an all-gather of their means.

The int8 exchange is the yardstick for what the same bytes cost among processes that trust each other: blocks of 128
with a float32 scale, as this project's codec has, no TLS, no signatures, no checks, nobody may be missing.
"""

from __future__ import annotations

import os
import time
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist

from benches.engines.lockstep import Line, Message
from benches.engines.vectors import outcome, vector

BLOCK = 128


class Group:
    """The process group of one worker."""

    def __init__(self, hello: Message) -> None:
        self.rank, self.world = int(hello["index"]), int(hello["workers"])
        self.timeout = timedelta(seconds=float(hello["timeout_s"]))
        self.store = f"file://{hello['meeting']}"
        self.int8 = hello["codec"] == "int8"

    def join(self) -> None:
        """Meet the others."""
        dist.init_process_group(
            "gloo", init_method=self.store, rank=self.rank, world_size=self.world, timeout=self.timeout
        )

    def mean(self, x: torch.Tensor) -> tuple[torch.Tensor, int]:
        """The mean over all workers, float32[N], and the bytes that this worker handed to gloo."""
        if self.int8:
            return self._int8(x)
        result = x.clone()
        dist.all_reduce(result)
        # A ring sends every element twice but for a worker's own share.
        return result / self.world, 2 * 4 * x.numel() * (self.world - 1) // self.world

    def _int8(self, x: torch.Tensor) -> tuple[torch.Tensor, int]:
        whole = -(-x.numel() // (BLOCK * self.world)) * BLOCK * self.world
        padded = torch.nn.functional.pad(x, (0, whole - x.numel()))
        codes, scales = _quantise(padded)
        their_codes, their_scales = torch.empty_like(codes), torch.empty_like(scales)
        dist.all_to_all_single(their_codes, codes)
        dist.all_to_all_single(their_scales, scales)
        part = _dequantise(their_codes, their_scales).view(self.world, -1).sum(0) / self.world
        codes, scales = _quantise(part)
        all_codes = torch.empty(whole, dtype=torch.int8)
        all_scales = torch.empty(whole // BLOCK)
        dist.all_gather_single(all_codes, codes)
        dist.all_gather_single(all_scales, scales)
        sent = 2 * (whole + 4 * whole // BLOCK) * (self.world - 1) // self.world
        return _dequantise(all_codes, all_scales)[: x.numel()], sent


def _quantise(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    blocks = x.view(-1, BLOCK)
    scales = blocks.abs().amax(1) / 127
    codes = (blocks / scales.clamp_min(1e-30)[:, None]).round_().to(torch.int8)
    return codes.view(-1), scales


def _dequantise(codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    return (codes.view(-1, BLOCK).float() * scales[:, None]).view(-1)


def main() -> None:
    """Rounds until the benchmark ends, or gloo does."""
    line = Line()
    hello = line.hear()
    torch.set_num_threads(int(hello["threads"]))
    group, numel = Group(hello), int(hello["numel"])
    line.say(here="", numel=numel)
    line.hear()
    group.join()
    while True:
        round_ = int(line.hear()["round"])
        x = torch.from_numpy(vector(numel, group.rank, round_))
        line.say(made=True)
        line.hear()
        line.say(ready=None)
        line.hear()
        began = time.perf_counter()
        try:
            result, sent = group.mean(x)
        except RuntimeError as problem:
            line.say(
                seconds=time.perf_counter() - began, whole=False, sent=0, problem=str(problem).splitlines()[0][:120]
            )
            line.hear()
            os._exit(0)
        line.say(seconds=time.perf_counter() - began, whole=True, sent=sent)
        line.hear()
        line.say(**outcome(np.asarray(result), group.world, round_))


if __name__ == "__main__":
    main()
