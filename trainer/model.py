"""The model: a decoder-only transformer in Llama layout whose parameters are views of one flat float32 vector.

Tensor names, shapes and arithmetic are those of `LlamaForCausalLM` in transformers (RMSNorm, rotary embedding by
`rotate_half`, SwiGLU, grouped-query attention, optionally tied embeddings), so that an exported weights file gives
the same logits there. The flat vector is what the rest of the project hashes, encodes and steps:
`commonweight.exact.layout` says which slice of it is which tensor, and no copy is made between the two views.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from commonweight.exact.layout import Layout
from commonweight.protocol.modelconfig import ModelConfig


class RMSNorm(nn.Module):
    """Root-mean-square normalisation over the last dimension (arXiv 1910.07467)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """[..., size] -> [..., size]."""
        return self.weight * (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps))


class Cache:
    """Keys and values of the positions seen so far, one pair per layer, for generating token by token."""

    def __init__(self, layers: int) -> None:
        self.pairs: list[tuple[Tensor, Tensor] | None] = [None] * layers

    @property
    def length(self) -> int:
        """How many positions the cache holds."""
        return 0 if self.pairs[0] is None else self.pairs[0][0].shape[2]

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append [batch, kv_heads, time, head_dim] of one layer; returns all keys and values of that layer."""
        old = self.pairs[layer]
        pair = (k, v) if old is None else (torch.cat((old[0], k), dim=2), torch.cat((old[1], v), dim=2))
        self.pairs[layer] = pair
        return pair


class Attention(nn.Module):
    """Causal self-attention with rotary positions (arXiv 2104.09864) and grouped key/value heads (arXiv 2305.13245)."""

    def __init__(self, model: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.heads, self.kv_heads, self.head_dim = model.num_heads, model.num_kv_heads, model.head_dim
        self.q_proj = nn.Linear(model.hidden_size, self.heads * self.head_dim, bias=False)
        self.k_proj = nn.Linear(model.hidden_size, self.kv_heads * self.head_dim, bias=False)
        self.v_proj = nn.Linear(model.hidden_size, self.kv_heads * self.head_dim, bias=False)
        self.o_proj = nn.Linear(self.heads * self.head_dim, model.hidden_size, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: Cache | None) -> Tensor:
        """x [batch, time, hidden]; cos and sin [time, head_dim] -> [batch, time, hidden]."""
        batch, time, _ = x.shape
        q = self.q_proj(x).view(batch, time, self.heads, self.head_dim).transpose(1, 2)
        k = self.k_proj(x).view(batch, time, self.kv_heads, self.head_dim).transpose(1, 2)
        v = self.v_proj(x).view(batch, time, self.kv_heads, self.head_dim).transpose(1, 2)
        q, k = q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin
        mask = None
        if cache is not None:
            k, v = cache.extend(self.layer, k, v)
            mask = torch.ones(time, k.shape[2], dtype=torch.bool, device=k.device).tril(k.shape[2] - time)
        if self.kv_heads != self.heads:
            k = k.repeat_interleave(self.heads // self.kv_heads, dim=1)
            v = v.repeat_interleave(self.heads // self.kv_heads, dim=1)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        out: Tensor = self.o_proj(y.transpose(1, 2).reshape(batch, time, self.heads * self.head_dim))
        return out


class FeedForward(nn.Module):
    """SwiGLU (arXiv 2002.05202)."""

    def __init__(self, model: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(model.hidden_size, model.intermediate_size, bias=False)
        self.up_proj = nn.Linear(model.hidden_size, model.intermediate_size, bias=False)
        self.down_proj = nn.Linear(model.intermediate_size, model.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., hidden] -> [..., hidden]."""
        out: Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Block(nn.Module):
    """One decoder layer: attention and feed-forward, each with a norm before and a residual around."""

    def __init__(self, model: ModelConfig, layer: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(model.hidden_size, float(model.rms_eps))
        self.self_attn = Attention(model, layer)
        self.post_attention_layernorm = RMSNorm(model.hidden_size, float(model.rms_eps))
        self.mlp = FeedForward(model)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: Cache | None) -> Tensor:
        """[batch, time, hidden] -> [batch, time, hidden]."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, cache)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Decoder(nn.Module):
    """Embedding, the layers and the final norm: what transformers names `model.`"""

    def __init__(self, model: ModelConfig) -> None:
        super().__init__()
        # Without weights, Embedding() draws some that nobody keeps; on "meta" that imports the compiler, for seconds.
        weights = torch.empty(model.vocab_size, model.hidden_size)
        self.embed_tokens = nn.Embedding(model.vocab_size, model.hidden_size, _weight=weights)
        self.layers = nn.ModuleList(Block(model, layer) for layer in range(model.num_layers))
        self.norm = RMSNorm(model.hidden_size, float(model.rms_eps))


class Llama(nn.Module):
    """The whole model over one flat vector: `flat` holds the weights and `flat_grad` the gradients, both float32 [N].

    The parameters are views of `flat`, and their gradients views of `flat_grad`: writing one writes the other. One that
    does not learn has no gradients, and `flat_grad` is empty.
    """

    def __init__(self, model: ModelConfig, device: str = "cpu", *, learns: bool = True) -> None:
        super().__init__()
        self.config = model
        with torch.device("meta"):
            self.model = Decoder(model)
            self.lm_head = None if model.tie_embeddings else nn.Linear(model.hidden_size, model.vocab_size, bias=False)
        self.layout = Layout.from_model(model)
        self.flat = torch.zeros(self.layout.numel, dtype=torch.float32, device=device)
        self.flat_grad = torch.zeros_like(self.flat) if learns else self.flat[:0]
        self._bind(learns)
        cos, sin = rotary_tables(model.max_seq_len, model.head_dim, float(model.rope_theta))
        self.cos: Tensor
        self.sin: Tensor
        self.register_buffer("cos", cos.to(device), persistent=False)
        self.register_buffer("sin", sin.to(device), persistent=False)

    def _bind(self, learns: bool) -> None:
        """Replace every parameter by its view of the flat vectors; names and shapes must be the layout's."""
        missing = set(dict(self.named_parameters()))
        for entry in self.layout.tensors:
            module_name, _, parameter_name = entry.name.rpartition(".")
            at = slice(entry.offset, entry.offset + entry.numel)
            parameter = nn.Parameter(self.flat[at].view(entry.shape), requires_grad=learns)
            if learns:
                parameter.grad = self.flat_grad[at].view(entry.shape)
            setattr(self.get_submodule(module_name), parameter_name, parameter)
            missing.remove(entry.name)
        if missing:
            raise ValueError(f"the layout lacks {sorted(missing)}")

    def load_flat(self, weights: NDArray[np.float32]) -> None:
        """Take over weights, float32 [N] in the layout's order."""
        self.flat.copy_(torch.from_numpy(weights))

    def export_flat(self) -> NDArray[np.float32]:
        """A copy of the weights, float32 [N] in the layout's order."""
        return self.flat.cpu().numpy().copy()

    def forward(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
        """Tokens int64 [batch, time] -> logits float32 [batch, time, vocab]; with a cache, positions go on after it."""
        start = 0 if cache is None else cache.length
        end = start + tokens.shape[1]
        if end > self.config.max_seq_len:
            raise ValueError(f"{end} tokens are more than the model's {self.config.max_seq_len} positions")
        x = self.model.embed_tokens(tokens)
        for layer in self.model.layers:
            x = layer(x, self.cos[start:end], self.sin[start:end], cache)
        head = self.model.embed_tokens.weight if self.lm_head is None else self.lm_head.weight
        return functional.linear(self.model.norm(x), head)

    def new_cache(self) -> Cache:
        """An empty cache for this model."""
        return Cache(self.config.num_layers)

    def loss(self, tokens: Tensor) -> Tensor:
        """Mean cross-entropy in nats of predicting each next token; tokens int64 [batch, time + 1]."""
        logits = self(tokens[:, :-1])
        return functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1))


def rotate_half(x: Tensor) -> Tensor:
    """Swap the halves of the last dimension and negate the new first one, as transformers does."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


def rotary_tables(positions: int, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary embedding, each float32 [positions, head_dim]."""
    frequencies = 1.0 / (theta ** (torch.arange(0, head_dim, 2, dtype=torch.int64).float() / head_dim))
    angles = torch.outer(torch.arange(positions, dtype=torch.float32), frequencies)
    both = torch.cat((angles, angles), dim=-1)
    return both.cos(), both.sin()
