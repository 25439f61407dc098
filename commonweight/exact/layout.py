"""Where each tensor of the model lies in the flat parameter vector.

Names and shapes are those of `LlamaForCausalLM` in transformers. Tensors follow each other in ascending order of
their names as ASCII strings, row-major, which is also their order in weights.safetensors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from commonweight.errors import FormatError
from commonweight.exact.arrays import F32, as_f32
from commonweight.protocol.modelconfig import ModelConfig

__all__ = ["Layout", "TensorSpec"]


@dataclass(frozen=True)
class TensorSpec:
    """One tensor: name, shape, offset of its first element and number of elements."""

    name: str
    shape: tuple[int, ...]
    offset: int
    numel: int

    @property
    def stop(self) -> int:
        """Offset after the last element."""
        return self.offset + self.numel


@dataclass(frozen=True)
class Layout:
    """All tensors in order; `numel` is P, the elements of all distinct tensors."""

    tensors: tuple[TensorSpec, ...]

    @classmethod
    def from_model(cls, model: ModelConfig) -> "Layout":
        """The layout of a model. With tied embeddings there is no lm_head.weight."""
        hidden, inter = model.hidden_size, model.intermediate_size
        queries, keys = model.num_heads * model.head_dim, model.num_kv_heads * model.head_dim
        shapes: dict[str, tuple[int, ...]] = {
            "model.embed_tokens.weight": (model.vocab_size, hidden),
            "model.norm.weight": (hidden,),
        }
        if not model.tie_embeddings:
            shapes["lm_head.weight"] = (model.vocab_size, hidden)
        for number in range(model.num_layers):
            prefix = f"model.layers.{number}."
            shapes[prefix + "input_layernorm.weight"] = (hidden,)
            shapes[prefix + "post_attention_layernorm.weight"] = (hidden,)
            shapes[prefix + "mlp.gate_proj.weight"] = (inter, hidden)
            shapes[prefix + "mlp.up_proj.weight"] = (inter, hidden)
            shapes[prefix + "mlp.down_proj.weight"] = (hidden, inter)
            shapes[prefix + "self_attn.q_proj.weight"] = (queries, hidden)
            shapes[prefix + "self_attn.k_proj.weight"] = (keys, hidden)
            shapes[prefix + "self_attn.v_proj.weight"] = (keys, hidden)
            shapes[prefix + "self_attn.o_proj.weight"] = (hidden, queries)
        tensors = []
        offset = 0
        for name in sorted(shapes):
            tensors.append(TensorSpec(name, shapes[name], offset, prod(shapes[name])))
            offset = tensors[-1].stop
        return cls(tuple(tensors))

    @cached_property
    def numel(self) -> int:
        """P."""
        return self.tensors[-1].stop

    def flatten(self, tensors: Mapping[str, F32]) -> F32:
        """float32[numel] out of tensors by name; FormatError when a name or a shape differs."""
        if set(tensors) != {spec.name for spec in self.tensors}:
            odd = set(tensors) ^ {spec.name for spec in self.tensors}
            raise FormatError("These are not the model's tensors", "differing: " + ", ".join(sorted(odd)[:3]))
        flat = np.empty(self.numel, np.float32)
        for spec in self.tensors:
            if tensors[spec.name].shape != spec.shape:
                raise FormatError(
                    f"Tensor {spec.name} has a wrong shape", f"{tensors[spec.name].shape}, not {spec.shape}"
                )
            flat[spec.offset : spec.stop] = as_f32(tensors[spec.name])
        return flat

    def unflatten(self, flat: F32) -> dict[str, F32]:
        """Views into a float32[numel] by name, with their shapes."""
        if flat.shape != (self.numel,):
            raise FormatError("A parameter vector has a wrong length", f"{flat.shape}, not ({self.numel},)")
        return {spec.name: flat[spec.offset : spec.stop].reshape(spec.shape) for spec in self.tensors}
