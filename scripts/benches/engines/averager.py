"""hivemind's decentralised averager, fp32 over libp2p, in its own environment: `make bench-allreduce` makes it."""

from __future__ import annotations

import os
import time

import hivemind
import torch

from benches.engines.lockstep import Line, Message
from benches.engines.vectors import outcome, vector


def main() -> None:
    """Rounds until the benchmark ends."""
    line = Line()
    hello: Message = line.hear()
    torch.set_num_threads(int(hello["threads"]))
    index, workers, numel = int(hello["index"]), int(hello["workers"]), int(hello["numel"])
    dht = hivemind.DHT(start=True, host_maddrs=["/ip4/127.0.0.1/tcp/0"])
    line.say(here=[str(address) for address in dht.get_visible_maddrs()], numel=numel)
    everyone = line.hear()["everyone"]
    if index:
        dht.shutdown()
        dht = hivemind.DHT(start=True, host_maddrs=["/ip4/127.0.0.1/tcp/0"], initial_peers=everyone[0])
    timeout = float(hello["timeout_s"])
    averager = hivemind.averaging.DecentralizedAverager(
        [torch.zeros(numel)], dht, prefix="bench", target_group_size=workers, min_group_size=2, start=True,
        min_matchmaking_time=1.0, request_timeout=0.5, averaging_alpha=1.0,
        allreduce_timeout=timeout, next_chunk_timeout=timeout,
    )  # fmt: skip
    while True:
        round_ = int(line.hear()["round"])
        with averager.get_tensors() as tensors:
            tensors[0].copy_(torch.from_numpy(vector(numel, index, round_)))
        line.say(made=True)
        line.hear()
        # Its matchmaking waits for others by design; what is timed is the all-reduce after a group was found.
        control = averager.step(wait=False, require_trigger=True, timeout=3 * timeout, allow_retries=False)
        line.say(ready=None)
        line.hear()
        began = time.perf_counter()
        control.allow_allreduce()
        try:
            gathered = control.result()
        except Exception as problem:  # noqa: BLE001 (whatever it is, the round is lost)
            line.say(seconds=time.perf_counter() - began, whole=False, sent=0, problem=type(problem).__name__)
        else:
            line.say(
                seconds=time.perf_counter() - began, whole=gathered is not None and len(gathered) == workers, sent=0
            )
        line.hear()
        with averager.get_tensors() as tensors:
            result = tensors[0].numpy().copy()
        line.say(**outcome(result, workers, round_))
    os._exit(0)


if __name__ == "__main__":
    main()
