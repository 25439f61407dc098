"""Training states as arrays, their digests and files, and the trace that a member builds over them."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from commonweight.errors import FormatError
from commonweight.exact.arrays import F32, array_digest, from_bytes, require_finite, to_bytes
from commonweight.protocol import merkle
from commonweight.protocol.fields import hex32
from commonweight.protocol.safetensors import Tensor, read, write
from commonweight.protocol.trace import StateDigests, Trace, final_leaf

__all__ = ["ARRAYS", "State", "TraceBuilder", "state_digests"]

ARRAYS = ("weights", "m", "v", "residual")
"""The names of a state's arrays, in the order of its digests."""


def state_digests(step: int, weights: F32, m: F32, v: F32, residual: F32) -> StateDigests:
    """The digests of a state: optimizer step count, and float32[N] each of weights, Adam's m and v, residual."""
    return StateDigests(step, array_digest(weights), array_digest(m), array_digest(v), array_digest(residual))


@dataclass(frozen=True, eq=False)
class State:
    """A training state at a trace leaf; arrays are float32[N]. Treat them as read-only."""

    step: int
    weights: F32
    m: F32
    v: F32
    residual: F32

    @classmethod
    def fresh(cls, weights: F32) -> "State":
        """The state of a member without history: the base weights and zeros."""
        return cls(0, weights, np.zeros_like(weights), np.zeros_like(weights), np.zeros_like(weights))

    @cached_property
    def digests(self) -> StateDigests:
        """Its digests."""
        return state_digests(self.step, self.weights, self.m, self.v, self.residual)

    def to_bytes(self) -> bytes:
        """The safetensors file that a member delivers: F32 tensors weights, m, v, residual and I64 step."""
        tensors = {name: Tensor("F32", (self.weights.size,), to_bytes(getattr(self, name))) for name in ARRAYS}
        tensors["step"] = Tensor("I64", (), self.step.to_bytes(8, "little", signed=True))
        return write(tensors)

    @classmethod
    def from_bytes(cls, data: bytes, numel: int) -> "State":
        """Reads what `to_bytes` writes, for a vector of `numel` elements; FormatError or PayloadError otherwise."""
        tensors = read(data)
        expected = dict.fromkeys(ARRAYS, ("F32", (numel,))) | {"step": ("I64", ())}
        if {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()} != expected:
            raise FormatError("This is not a training state of this model", "names, shapes or types differ")
        arrays = {name: from_bytes(tensors[name].data) for name in ARRAYS}
        for name, array in arrays.items():
            require_finite(array, name)
        step = int.from_bytes(tensors["step"].data, "little", signed=True)
        if step < 0:
            raise FormatError("A training state has a negative step", str(step))
        return cls(step, **arrays)


@dataclass
class TraceBuilder:
    """Collects a member's states leaf by leaf, then binds the payload. `previous` as in `Trace`."""

    previous: str | None
    states: list[StateDigests] = field(default_factory=list)
    final: bytes | None = None

    def add(self, digests: StateDigests) -> None:
        """Appends the next leaf's state."""
        self.states.append(digests)

    def leaves(self) -> list[bytes]:
        """Leaf data in order; the last is bound to the payload once `finish` was called."""
        plain = [digests.leaf() for digests in self.states]
        return plain if self.final is None else [*plain[:-1], self.final]

    def finish(self, parts: list[str] | tuple[str, ...], new_residual: str) -> Trace:
        """The trace of the commitment, for the payload's part digests and the new residual's digest."""
        if len(self.states) < 2:
            raise FormatError("A trace needs at least two states", f"there are {len(self.states)}")
        self.final = final_leaf(self.states[-1], parts, new_residual)
        leaves = self.leaves()
        return Trace(
            root=hex32(merkle.root(leaves)),
            leaves=len(leaves),
            previous=self.previous,
            first=self.states[0],
            first_proof=tuple(map(hex32, merkle.proof(leaves, 0))),
            last=self.states[-1],
            last_proof=tuple(map(hex32, merkle.proof(leaves, len(leaves) - 1))),
            new_residual=new_residual,
        )

    def proof(self, leaf: int) -> tuple[str, ...]:
        """The Merkle proof of a leaf under the finished trace's root, 0x-hex."""
        return tuple(map(hex32, merkle.proof(self.leaves(), leaf)))
