"""The model is the one that transformers calls LlamaForCausalLM, over one flat vector."""

import numpy as np
import pytest
import torch

from commonweight.exact.genesis import genesis
from commonweight.protocol.modelconfig import PRESETS, ModelConfig
from trainer.model import Llama

pytestmark = pytest.mark.unit

SMALL = {"preset": "custom", "vocab_size": 97, "hidden_size": 48, "intermediate_size": 80, "num_layers": 3,
         "num_heads": 4, "head_dim": 12, "max_seq_len": 40}  # fmt: skip
MODELS = {
    "tied": ModelConfig(**SMALL, num_kv_heads=4, tie_embeddings=True),
    "grouped": ModelConfig(**SMALL, num_kv_heads=2, tie_embeddings=False, rope_theta=500_000, rms_eps="1e-6"),
    "nano": PRESETS["nano"],
}


def random_weights(model: ModelConfig) -> np.ndarray:
    flat = genesis(model, bytes(range(32)))
    return flat + np.random.default_rng(1).normal(0, 0.05, flat.size).astype(np.float32)


def reference(model: ModelConfig, flat: np.ndarray) -> torch.nn.Module:
    """transformers' own model with the same weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    theirs = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=model.vocab_size, hidden_size=model.hidden_size, intermediate_size=model.intermediate_size,
            num_hidden_layers=model.num_layers, num_attention_heads=model.num_heads, head_dim=model.head_dim,
            num_key_value_heads=model.num_kv_heads, max_position_embeddings=model.max_seq_len,
            rope_parameters={"rope_type": "default", "rope_theta": float(model.rope_theta)},
            rms_norm_eps=float(model.rms_eps), tie_word_embeddings=model.tie_embeddings, attention_bias=False,
        )
    )  # fmt: skip
    tensors = {name: torch.from_numpy(t.copy()) for name, t in Llama(model).layout.unflatten(flat).items()}
    missing, unexpected = theirs.load_state_dict(tensors, strict=False)
    assert not unexpected
    assert set(missing) <= {"lm_head.weight"}
    theirs.tie_weights()
    return theirs.eval()


@pytest.mark.parametrize("name", MODELS)
def test_logits_equal_those_of_transformers(name: str) -> None:
    model, flat = MODELS[name], random_weights(MODELS[name])
    ours = Llama(model)
    ours.load_flat(flat)
    tokens = torch.randint(0, model.vocab_size, (2, model.max_seq_len), generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        theirs = reference(model, flat)(tokens).logits
        logits = ours(tokens)
    assert logits.shape == theirs.shape
    assert float((logits - theirs).abs().max()) < 2e-5 * float(theirs.abs().max())


@pytest.mark.parametrize("name", MODELS)
def test_generation_with_a_cache_gives_the_same_logits(name: str) -> None:
    ours = Llama(MODELS[name])
    ours.load_flat(random_weights(MODELS[name]))
    tokens = torch.randint(0, 90, (2, 12), generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        whole, cache = ours(tokens), ours.new_cache()
        pieces = [ours(tokens[:, a:b], cache) for a, b in ((0, 5), (5, 6), (6, 7), (7, 12))]
    assert cache.length == 12
    assert torch.allclose(torch.cat(pieces, dim=1), whole, atol=1e-5)


def test_parameters_and_gradients_are_views_of_the_flat_vectors() -> None:
    model = Llama(MODELS["grouped"])
    flat = random_weights(MODELS["grouped"])
    model.load_flat(flat)
    assert sum(p.numel() for p in model.parameters()) == flat.size == MODELS["grouped"].parameters()
    model.loss(torch.arange(20).reshape(2, 10)).backward()
    for spec in model.layout.tensors:
        parameter = model.get_parameter(spec.name)
        assert torch.equal(parameter.detach().flatten(), torch.from_numpy(flat[spec.offset : spec.stop]))
        assert parameter.grad is not None
        assert torch.equal(parameter.grad.flatten(), model.flat_grad[spec.offset : spec.stop])
        assert float(parameter.grad.abs().sum()) > 0
    assert np.array_equal(model.export_flat(), flat)


def test_too_many_positions_are_refused() -> None:
    with pytest.raises(ValueError, match="41 tokens"):
        Llama(MODELS["tied"])(torch.zeros(1, 41, dtype=torch.int64))
