"""Several processes behind one member: the model sharded over the ranks of one torchrun (FSDP2), one batch on all.

Rank 0 is the member; the others do what it says, in `follow`, and know nothing of keys, peers or chain. Between rounds
and at every trace boundary the state is gathered at rank 0 as the full tensors that everybody else hashes and replays.
Each rank takes an equal share of a batch's windows; the mean of their gradients is the gradient of the whole batch, up
to the order of sums: a replay on one device is near, within the run's tolerance, not equal to the bit.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import signal
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard

from commonweight.errors import ConfigError, RanksLost
from commonweight.exact.arrays import F32
from commonweight.exact.layout import TensorSpec
from commonweight.exact.trace import State
from commonweight.protocol.runconfig import RunConfig
from trainer.inner import InnerRule, Settle, at_once, configure_torch, diverged
from trainer.model import Llama
from trainer.muon import Muon, turns
from trainer.settings import world_size

_IDLE = dt.timedelta(days=30)
_BUSY_S = 120
_END, _LOAD, _ADVANCE, _GATHER = range(4)


@contextlib.contextmanager
def _together() -> Iterator[None]:
    """What a lost rank does to a collective call, by name."""
    try:
        yield
    except RuntimeError as problem:
        raise RanksLost(
            "A rank of this member is gone, or hangs",
            str(problem).splitlines()[0][:300],
            "start all of them again: the round goes on from its last kept state",
        ) from problem


class ShardedOptimizer:
    """The inner optimizer over all ranks; an `Optimizer`, to be used at rank 0. Blocks; for one thread at a time.

    Raises ConfigError when the run's batch cannot be shared equally, and RanksLost when a rank dies or hangs.
    """

    def __init__(self, config: RunConfig, threads: int | None = None, orders: dist.ProcessGroup | None = None) -> None:
        ranks, batch = world_size(), config.training.batch
        if batch % ranks:
            raise ConfigError(
                f"{ranks} ranks cannot share this run's batch",
                f"it has {batch} windows, which is no multiple of {ranks}",
                "start a number of ranks that divides it",
            )
        self.config = config
        self._threads = threads or config.training.threads
        configure_torch(self._threads)
        self._orders = _join() if orders is None else orders
        self._rank = dist.get_rank()
        self._rule = InnerRule(config)
        if self._rank == 0:
            self._tell_config()
        self._mesh: DeviceMesh = init_device_mesh("cpu", (ranks,))
        self._model = Llama(config.model)
        self._layout = self._model.layout
        for layer in self._model.model.layers:
            fully_shard(layer, mesh=self._mesh)
        fully_shard(self._model, mesh=self._mesh)
        self._model.flat = self._model.flat_grad = torch.empty(0)  # every rank holds its shards only
        self._shards = [_local(parameter) for _, parameter in self._parameters()]
        self._m = [torch.zeros_like(shard) for shard in self._shards]
        self._v = [torch.zeros_like(shard) for shard in self._shards]
        self._step = 0

    # --- at rank 0 ---------------------------------------------------------------------------------------------------

    def load(self, state: State) -> None:
        """Take over a state; the residual stays with the caller."""
        configure_torch(self._threads)
        with _together():
            self._order(_LOAD, state.step)
            self._load(state)

    def advance(self, batch: NDArray[np.int64], settle: Settle = at_once, pace: float = 1.0) -> float:  # noqa: ARG002
        """One inner step on tokens int64 [batch, seq_len + 1]; the mean loss before it, in nats per token. What `view`
        gave is a copy, so that nothing has to settle.
        """
        with _together():
            self._order(_ADVANCE, int(np.float64(pace).view(np.int64)))
            loss, norm = self._advance(torch.from_numpy(np.ascontiguousarray(batch)), pace)
        if not np.isfinite(norm):
            raise diverged(self._step + 1, norm)
        return loss

    def state(self, residual: F32) -> State:
        """The present state as full tensors."""
        with _together():
            self._order(_GATHER, 0)
            weights, m, v = self._gather()
        return State(self._step, weights, m, v, residual)

    def view(self, residual: F32) -> State:
        """The same: it is gathered anyhow."""
        return self.state(residual)

    def weights(self) -> F32:
        """The present weights, float32 [N]."""
        return self.state(np.zeros(0, np.float32)).weights

    def close(self) -> None:
        """Let the other ranks end."""
        try:
            self._order(_END, 0)
        except RuntimeError:
            return  # they are gone already
        dist.destroy_process_group()

    # --- on every rank -----------------------------------------------------------------------------------------------

    def obey(self) -> None:
        """What a rank other than 0 does: whatever rank 0 says, until it says that this is the end."""
        while True:
            order = torch.zeros(2, dtype=torch.int64)
            dist.broadcast(order, 0, group=self._orders)
            what, number = order.tolist()
            if what == _END:
                dist.destroy_process_group()
                return
            if what == _LOAD:
                self._step = number
                self._load(None)
            elif what == _ADVANCE:
                self._advance(None, float(np.int64(number).view(np.float64)))
            else:
                self._gather()

    def _order(self, what: int, number: int) -> None:
        dist.broadcast(torch.tensor([what, number], dtype=torch.int64), 0, group=self._orders)

    def _tell_config(self) -> None:
        data = torch.frombuffer(bytearray(self.config.to_bytes()), dtype=torch.uint8)
        dist.broadcast(torch.tensor([data.numel(), self._threads], dtype=torch.int64), 0, group=self._orders)
        dist.broadcast(data, 0, group=self._orders)

    def _load(self, state: State | None) -> None:
        if state is not None:
            self._step = state.step
        for name, shards in (("weights", self._shards), ("m", self._m), ("v", self._v)):
            for entry, shard in zip(self._layout.tensors, shards, strict=True):
                whole = torch.empty(entry.shape, dtype=torch.float32)
                if state is not None:
                    whole.numpy().reshape(-1)[:] = getattr(state, name)[entry.offset : entry.stop]
                dist.broadcast(whole, 0)
                pieces = whole.chunk(self._mesh.size(), dim=0)
                if self._rank < len(pieces):
                    shard.copy_(pieces[self._rank])

    def _advance(self, batch: Tensor | None, pace: float) -> tuple[float, float]:
        """(mean loss, gradient norm); the step is taken when the norm is finite, which all ranks see alike."""
        training = self.config.training
        shape = (training.batch, training.seq_len + 1)
        whole = torch.empty(shape, dtype=torch.int64) if batch is None else batch
        dist.broadcast(whole, 0)
        own = whole.chunk(self._mesh.size())[self._rank]
        with torch.autocast("cpu", torch.bfloat16, enabled=training.dtype == "bfloat16"):
            loss = self._model.loss(own)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = [_local_grad(parameter) for _, parameter in self._parameters()]
        squares = sum((g.double().square().sum() for g in gradients), torch.zeros((), dtype=torch.float64))
        sums = torch.stack((loss.detach().double(), squares))
        dist.all_reduce(sums)
        norm = float(sums[1].sqrt())
        if np.isfinite(norm):
            self._step += 1
            with torch.no_grad():
                self._apply(gradients, norm, self._rule.rate(self._step, pace))
        for _, parameter in self._parameters():
            parameter.grad = None
        return float(sums[0]) / self._mesh.size(), norm

    def _apply(self, gradients: list[Tensor], norm: float, rate: float) -> None:
        rule, scale = self._rule, self._rule.scale(norm)
        for entry, w, m, v, grad in zip(self._layout.tensors, self._shards, self._m, self._v, gradients, strict=True):
            grad.mul_(scale)
            if rule.muon is not None and turns(entry):
                rule.muon.apply(entry, rate, w, m, grad, partial(self._orthogonal, rule.muon, entry))
            else:
                rule.apply(self._step, rate, [w], [m], [v], [grad], decays=len(entry.shape) > 1)

    def _orthogonal(self, muon: Muon, entry: TensorSpec, shard: Tensor) -> Tensor:
        """This rank's rows of what Muon makes of the whole matrix, which every rank gathers."""
        pieces = muon.orthogonal(self._whole(entry, shard)).chunk(self._mesh.size(), dim=0)
        return pieces[self._rank] if self._rank < len(pieces) else shard

    def _whole(self, entry: TensorSpec, shard: Tensor) -> Tensor:
        """The full tensor of everybody's shards; on every rank, as gathering is."""
        stride = torch.empty(entry.shape, device="meta").stride()
        return DTensor.from_local(
            shard, self._mesh, [Shard(0)], run_check=False, shape=torch.Size(entry.shape), stride=stride
        ).full_tensor()

    def _gather(self) -> tuple[F32, F32, F32]:
        """Weights, m and v as full vectors at rank 0. Elsewhere they are empty: gathering gives every rank each tensor,
        one at a time.
        """
        found: list[F32] = []
        for shards in (self._shards, self._m, self._v):
            full = np.empty(self._layout.numel if self._rank == 0 else 0, np.float32)
            for entry, shard in zip(self._layout.tensors, shards, strict=True):
                whole = self._whole(entry, shard)
                if self._rank == 0:
                    full[entry.offset : entry.stop] = whole.numpy().reshape(-1)
            found.append(full)
        return found[0], found[1], found[2]

    def _parameters(self) -> list[tuple[str, torch.nn.Parameter]]:
        """In the layout's order."""
        named = dict(self._model.named_parameters())
        return [(entry.name, named[entry.name]) for entry in self._layout.tensors]


def follow() -> None:
    """Be a rank other than 0, until rank 0 ends. Raises RanksLost when it is gone."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # rank 0 is asked too: it finishes its round first, with this one's help
    try:
        orders = _join()
        size = torch.zeros(2, dtype=torch.int64)
        dist.broadcast(size, 0, group=orders)
        data = torch.zeros(int(size[0]), dtype=torch.uint8)
        dist.broadcast(data, 0, group=orders)
        config = RunConfig.load(data.numpy().tobytes())
        ShardedOptimizer(config, int(size[1]), orders).obey()
    except RuntimeError as problem:
        raise RanksLost("Rank 0 of this member is gone", str(problem).splitlines()[0][:300], "see its log") from problem


def _join() -> dist.ProcessGroup:
    """Meet the other ranks; the group that orders go through, where waiting long is no sign of trouble."""
    dist.init_process_group("gloo", timeout=dt.timedelta(seconds=_BUSY_S))
    group: dist.ProcessGroup = dist.new_group(timeout=_IDLE)
    return group


def _local(parameter: Tensor) -> Tensor:
    assert isinstance(parameter, DTensor)
    return parameter.to_local().detach()


def _local_grad(parameter: Tensor) -> Tensor:
    """This rank's share of a gradient; zeros of its shape when no loss depends on the parameter."""
    shard = _local(parameter)
    return torch.zeros_like(shard) if parameter.grad is None else _local(parameter.grad)
