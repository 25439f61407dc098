"""A checkpoint: weights and outer momentum, as the two safetensors files that a manifest names.

The data section of each file is the flat vector itself, so the digest of the weights is a function of the file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from commonweight.errors import FormatError
from commonweight.exact.arrays import F32, array_digest, as_f32, from_bytes, require_finite, to_bytes
from commonweight.exact.genesis import genesis
from commonweight.exact.layout import Layout
from commonweight.protocol.canonical import sha256_hex
from commonweight.protocol.outcome_documents import FILES, Manifest, ManifestFile
from commonweight.protocol.runconfig import RunConfig
from commonweight.protocol.safetensors import Tensor, read, write

__all__ = ["OUTER_FILE", "WEIGHTS_FILE", "Checkpoint", "genesis_checkpoint", "make_manifest", "read_flat"]

OUTER_FILE, WEIGHTS_FILE = FILES


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Weights and outer momentum, float32[N] each. Treat both as read-only."""

    weights: F32
    momentum: F32

    @cached_property
    def weights_digest(self) -> str:
        """SHA-256 of the flat weights, as states and traces name them."""
        return array_digest(self.weights)

    def equals(self, other: "Checkpoint") -> bool:
        """Whether all bits are equal."""
        return self.weights_digest == other.weights_digest and array_digest(self.momentum) == array_digest(
            other.momentum
        )

    def to_files(self, layout: Layout) -> dict[str, bytes]:
        """weights.safetensors and outer.safetensors by name."""
        return {OUTER_FILE: _file(layout, self.momentum), WEIGHTS_FILE: _file(layout, self.weights)}

    @classmethod
    def from_files(cls, layout: Layout, files: Mapping[str, bytes]) -> "Checkpoint":
        """Reads both files; FormatError when they do not hold this layout's tensors, PayloadError when not finite."""
        return cls(*(read_flat(layout, files[name], name) for name in (WEIGHTS_FILE, OUTER_FILE)))


def genesis_checkpoint(config: RunConfig) -> Checkpoint:
    """The checkpoint of round 0: genesis weights, no momentum."""
    weights = genesis(config.model, config.genesis_seed_bytes)
    return Checkpoint(weights, np.zeros_like(weights))


def make_manifest(
    run: str, number: int, parent: str | None, plan: str | None, config: str, files: Mapping[str, bytes],
    cids: Mapping[str, str],
) -> Manifest:  # fmt: skip
    """The manifest of a round's checkpoint files; `cids` by file name, as the content store computes them."""
    entries = {name: ManifestFile(sha256_hex(files[name]), len(files[name]), cids[name]) for name in FILES}
    return Manifest(run, number, parent, plan, config, entries[WEIGHTS_FILE], entries[OUTER_FILE])


def _file(layout: Layout, flat: F32) -> bytes:
    data = memoryview(to_bytes(flat))
    tensors = {spec.name: Tensor("F32", spec.shape, data[4 * spec.offset : 4 * spec.stop]) for spec in layout.tensors}
    return write(tensors, {"format": "pt"})


def read_flat(layout: Layout, data: bytes, name: str) -> F32:
    """The flat vector of one of the files, float32[N]; raises as `Checkpoint.from_files` does."""
    tensors = read(data)
    expected = {spec.name: ("F32", spec.shape) for spec in layout.tensors}
    if {key: (tensor.dtype, tensor.shape) for key, tensor in tensors.items()} != expected:
        raise FormatError(f"{name} does not hold this model's tensors", "names, shapes or types differ")
    flat = as_f32(from_bytes(memoryview(data)[len(data) - 4 * layout.numel :]))
    require_finite(flat, name)
    return flat
