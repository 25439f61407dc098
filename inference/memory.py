"""What a server's model and its answers take on a device, and what it takes to load one."""

from __future__ import annotations

from commonweight.protocol.modelconfig import ModelConfig

_FLOAT = 4


def weights_bytes(model: ModelConfig) -> int:
    """The weights, and the tables of the rotary embedding."""
    return _FLOAT * (model.parameters() + 2 * model.max_seq_len * model.head_dim)


def answer_bytes(model: ModelConfig) -> int:
    """What an answer takes at most: a prompt that fills the context, at its peak.

    Keys and values of all layers, and of one layer twice, as a cache grows by a copy; beside them what one layer works
    with, the residuals included, or the logits of all positions, whichever is more. The attention's matrix is not
    among it, as a fused kernel does not keep it, but its mask is, also as the numbers that the kernel adds.
    """
    time, queries = model.max_seq_len, model.num_heads * model.head_dim
    cached = 2 * model.num_kv_heads * model.head_dim * (model.num_layers + 1)
    attention, feed_forward = 8 * queries, 4 * model.intermediate_size
    working = 4 * model.hidden_size + max(attention, feed_forward, model.vocab_size)
    return _FLOAT * time * (cached + working) + (_FLOAT + 1) * time * time


def serving_bytes(model: ModelConfig, at_once: int) -> int:
    """The weights, and that many answers at once."""
    return weights_bytes(model) + at_once * answer_bytes(model)


def loading_bytes(model: ModelConfig) -> int:
    """What loading a checkpoint takes of a processor's memory at its peak: a file in blocks and whole, or whole and as
    an array, or as an array and as the model; and a byte of each number that is found to be one.
    """
    return (2 * _FLOAT + 1) * model.parameters()
