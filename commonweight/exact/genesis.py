"""The weights that a run starts from: a function of the model's shape and the genesis seed, exact on every machine.

Norms are 1. Every other tensor is uniform in [-bound, bound): 24 bits of SHAKE-256(seed, name) an element, as a
multiple of 2^-23 less 1, times the bound. The bound is that of standard deviation 0.02; the two projections that
write into the residual stream have it divided by sqrt(2 * layers).
"""

import hashlib
import math

import numpy as np

from commonweight.errors import FormatError
from commonweight.exact.arrays import F32
from commonweight.exact.layout import Layout
from commonweight.protocol.modelconfig import ModelConfig

__all__ = ["BOUND", "RESIDUAL_SUFFIXES", "genesis", "uniform"]

BOUND = 0.034641016151377546
"""0.02 * sqrt(3) as binary64."""
RESIDUAL_SUFFIXES = (".self_attn.o_proj.weight", ".mlp.down_proj.weight")


def genesis(model: ModelConfig, seed: bytes) -> F32:
    """float32[numel] of the model's genesis weights, for a seed of 32 bytes."""
    if len(seed) != 32:
        raise FormatError("A genesis seed must have 32 bytes", f"this one has {len(seed)}")
    layout = Layout.from_model(model)
    flat = np.empty(layout.numel, np.float32)
    small = BOUND / math.sqrt(2.0 * model.num_layers)
    for spec in layout.tensors:
        if spec.name.endswith("norm.weight"):
            flat[spec.offset : spec.stop] = np.float32(1.0)
        else:
            bound = small if spec.name.endswith(RESIDUAL_SUFFIXES) else BOUND
            flat[spec.offset : spec.stop] = uniform(seed, spec.name, spec.numel, np.float32(bound))
    return flat


def uniform(seed: bytes, name: str, count: int, bound: np.float32) -> F32:
    """float32[count]: ((u >> 8) * 2^-23 - 1) * bound for little-endian uint32 u of SHAKE-256(seed, name)."""
    stream = hashlib.shake_256(seed + name.encode()).digest(4 * count)
    bits = (np.frombuffer(stream, "<u4") >> np.uint32(8)).astype(np.float32)
    unit = bits * np.float32(2.0**-23) - np.float32(1.0)
    result: F32 = unit * bound
    return result
