"""The shape of the model: a decoder-only transformer in Llama layout, and the presets that a run may name.

The normative list of tensors, their order and their shapes is in docs/protocol.md; `commonweight.exact.layout` lays
them out.
"""

import json
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from commonweight.errors import ConfigError
from commonweight.protocol.canonical import JsonObject

__all__ = ["PRESETS", "ModelConfig", "Real", "real_between"]

Real = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]*)(\.[0-9]+)?(e-?[1-9][0-9]?)?$", max_length=24)]
"""A real number as decimal text, for example 3e-3; its value is the nearest binary64."""


def real_between(name: str, text: str, low: float, high: float) -> None:
    """Raises ConfigError unless low <= value <= high."""
    if not low <= float(text) <= high:
        raise ConfigError(
            f"{name} is out of range", f"{text} is not from {low} to {high}", "change the run configuration"
        )


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Sizes of the model, with the names that `transformers` gives them; `rms_eps` is decimal text."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    preset: Annotated[str, Field(max_length=32, pattern=r"^[A-Za-z0-9.-]+$")]
    vocab_size: Annotated[int, Field(ge=2, le=2**20)]
    hidden_size: Annotated[int, Field(ge=8, le=2**16)]
    intermediate_size: Annotated[int, Field(ge=8, le=2**18)]
    num_layers: Annotated[int, Field(ge=1, le=256)]
    num_heads: Annotated[int, Field(ge=1, le=256)]
    num_kv_heads: Annotated[int, Field(ge=1, le=256)]
    head_dim: Annotated[int, Field(ge=2, le=1024)]
    max_seq_len: Annotated[int, Field(ge=8, le=2**20)]
    rope_theta: Annotated[int, Field(ge=100, le=10**9)] = 10000
    rms_eps: Real = "1e-5"
    tie_embeddings: bool = True

    def check(self) -> None:
        """Raises ConfigError when the sizes do not fit each other or a preset's name is used for another shape."""
        if self.num_heads % self.num_kv_heads:
            raise ConfigError(
                "The attention heads do not divide into key-value heads",
                f"{self.num_heads} heads, {self.num_kv_heads} key-value heads",
            )
        if self.head_dim % 2:
            raise ConfigError("head_dim is odd", "rotary embeddings turn pairs of elements")
        real_between("model.rms_eps", self.rms_eps, 1e-12, 1e-2)
        if self.preset != "custom":
            if self.preset not in PRESETS:
                raise unknown_preset(self.preset)
            if self.sizes() != PRESETS[self.preset].sizes():
                raise ConfigError(
                    f"The model is not the preset {self.preset} that it names",
                    "sizes differ",
                    "use the preset's sizes, or name it custom",
                )

    def sizes(self) -> tuple[int | str | bool, ...]:
        """What a preset fixes; the vocabulary and the context length follow the data instead."""
        return (
            self.hidden_size,
            self.intermediate_size,
            self.num_layers,
            self.num_heads,
            self.num_kv_heads,
            self.head_dim,
            self.rope_theta,
            self.rms_eps,
            self.tie_embeddings,
        )

    def to_json(self) -> JsonObject:
        """All fields."""
        return {
            "preset": self.preset,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "num_kv_heads": self.num_kv_heads,
            "head_dim": self.head_dim,
            "max_seq_len": self.max_seq_len,
            "rope_theta": self.rope_theta,
            "rms_eps": self.rms_eps,
            "tie_embeddings": self.tie_embeddings,
        }

    def transformers_config(self) -> bytes:
        """config.json, with which transformers loads a checkpoint directory as LlamaForCausalLM."""
        value = {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_kv_heads,
            "head_dim": self.head_dim,
            "max_position_embeddings": self.max_seq_len,
            "rope_theta": float(self.rope_theta),
            "rms_norm_eps": float(self.rms_eps),
            "tie_word_embeddings": self.tie_embeddings,
            "hidden_act": "silu",
            "attention_bias": False,
            "mlp_bias": False,
            "bos_token_id": None,
            "eos_token_id": None,
            "torch_dtype": "float32",
        }
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()

    def parameters(self) -> int:
        """P: the elements of all distinct tensors."""
        attention = self.hidden_size * self.head_dim * 2 * (self.num_heads + self.num_kv_heads)
        layer = attention + 3 * self.hidden_size * self.intermediate_size + 2 * self.hidden_size
        embeddings = self.vocab_size * self.hidden_size * (1 if self.tie_embeddings else 2)
        return embeddings + self.num_layers * layer + self.hidden_size


def unknown_preset(name: str) -> ConfigError:
    """The error for a model that names a preset that is none."""
    return ConfigError(
        f"There is no model preset {name}",
        "known are " + ", ".join(PRESETS),
        "name one of them, or custom with all sizes",
    )


def _preset(
    name: str, vocab: int, hidden: int, inter: int, layers: int, heads: int, kv: int, seq: int, tie: bool = False
) -> ModelConfig:
    return ModelConfig(
        preset=name,
        vocab_size=vocab,
        hidden_size=hidden,
        intermediate_size=inter,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=kv,
        head_dim=hidden // heads,
        max_seq_len=seq,
        tie_embeddings=tie,
    )


PRESETS = {
    preset.preset: preset
    for preset in (
        _preset("nano", 256, 128, 384, 4, 4, 4, 128, tie=True),
        _preset("micro", 256, 256, 768, 6, 8, 8, 256, tie=True),
        _preset("25M", 8192, 384, 1024, 12, 6, 6, 512, tie=True),
        _preset("125M", 32000, 768, 2048, 12, 12, 12, 1024, tie=True),
        _preset("350M", 32000, 1024, 2816, 24, 16, 16, 2048, tie=True),
        _preset("1B", 32000, 2048, 5632, 22, 32, 4, 2048),
        _preset("7B", 32000, 4096, 11008, 32, 32, 32, 4096),
    )
}
