"""Generation is deterministic for a seed, ends where it was told to, and charges for nothing that is not in the
answer.
"""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from commonweight.errors import DeviceFull, DeviceLost, InferenceError
from commonweight.exact.genesis import genesis
from commonweight.protocol.modelconfig import ModelConfig
from inference.answers import Answer, Piece, Sampling
from inference.generation import Generator, choose
from inference.memory import answer_bytes, serving_bytes, weights_bytes
from inference.tokens import ByteTokenizer
from trainer.engine import PLAIN, Engine
from trainer.model import Cache, Llama

pytestmark = pytest.mark.unit
MODEL = ModelConfig(
    preset="custom", vocab_size=256, hidden_size=16, intermediate_size=32, num_layers=2, num_heads=2, num_kv_heads=1,
    head_dim=8, max_seq_len=64,
)  # fmt: skip


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.set_num_threads(1)
    llama = Llama(MODEL)
    llama.load_flat(genesis(MODEL, b"\x01" * 32))
    return Generator(llama, ByteTokenizer())


class Scripted(Generator):
    """A generator whose model says what a test wants it to say."""

    def __init__(self, text: bytes) -> None:
        self._script = text
        self.engine = PLAIN
        self.tokenizer = ByteTokenizer()
        self.context = 1000
        self._at = 0

    def answer(self, prompt, sampling, emit, stopped):  # type: ignore[no-untyped-def]
        self._at = 0
        self._model = self  # type: ignore[assignment]
        return super().answer(prompt, sampling, emit, stopped)

    def new_cache(self) -> None:
        return None

    def _step(self, tokens, cache):  # type: ignore[no-untyped-def]
        logits = np.zeros(256, dtype=np.float32)
        logits[self._script[self._at]] = 50.0
        self._at += 1
        return logits


def run(generator: Generator, sampling: Sampling, prompt: str = "abc") -> tuple[Answer, list[Piece]]:
    pieces: list[Piece] = []
    answer = generator.answer(generator.tokenizer.encode(prompt), sampling, pieces.append, lambda: False)
    assert "".join(piece.text for piece in pieces) == answer.text
    assert [piece.tokens for piece in pieces] == sorted(piece.tokens for piece in pieces)
    assert not pieces or pieces[-1].tokens == answer.tokens
    return answer, pieces


def test_a_seed_fixes_the_answer(generator: Generator) -> None:
    answers = [run(generator, Sampling(30, seed=seed))[0].text for seed in (1, 1, 2)]
    assert answers[0] == answers[1] != answers[2]


def test_temperature_zero_takes_the_likeliest_whatever_the_seed(generator: Generator) -> None:
    assert run(generator, Sampling(20, temperature=0.0, seed=1)) == run(
        generator, Sampling(20, temperature=0.0, seed=2)
    )


def test_the_cache_changes_nothing(generator: Generator) -> None:
    """Token by token with a cache gives what the whole text at once gives."""
    tokens = list(b"some text to go on with")
    llama = generator._model
    with torch.inference_mode():
        cache = llama.new_cache()
        llama(torch.tensor([tokens[:7]]), cache)
        for token in tokens[7:]:
            last = llama(torch.tensor([[token]]), cache)
        whole = llama(torch.tensor([tokens]))
    assert torch.allclose(last[0, -1], whole[0, -1], atol=1e-5)


def test_the_context_is_a_limit(generator: Generator) -> None:
    run(generator, Sampling(61))
    for prompt, tokens in (("abc", 62), ("", 5)):
        with pytest.raises(InferenceError, match="does not fit"):
            run(generator, Sampling(tokens), prompt)


def test_it_stops_when_told_to(generator: Generator) -> None:
    seen: list[Piece] = []
    answer = generator.answer([65], Sampling(60), seen.append, lambda: len(seen) >= 2)
    assert answer.finish == "interrupted" and answer.tokens < 60


def test_a_prompt_that_nobody_waits_for_is_not_read(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "_step", lambda tokens, cache: pytest.fail("the prompt was read"))
    assert generator.answer([65], Sampling(5), pytest.fail, lambda: True).tokens == 0


def test_a_stop_sequence_ends_the_answer_before_it_and_is_not_charged() -> None:
    answer, pieces = run(Scripted(b"one two END more"), Sampling(16, stop=("END", "never")))
    assert (answer.text, answer.tokens, answer.finish) == ("one two ", 8, "stop")
    assert all("E" not in piece.text for piece in pieces), "what may be a stop sequence is held back"


def test_what_only_looks_like_a_stop_sequence_is_given_out() -> None:
    answer, _ = run(Scripted(b"ENDING ENE"), Sampling(10, stop=("ENDX",)))
    assert (answer.text, answer.tokens, answer.finish) == ("ENDING ENE", 10, "length")


def test_the_first_stop_sequence_counts() -> None:
    assert run(Scripted(b"ab.cd!"), Sampling(6, stop=("!", ".")))[0].text == "ab"


def test_characters_of_several_bytes_are_given_out_whole() -> None:
    answer, pieces = run(Scripted("aé€😀z".encode()), Sampling(11))
    assert [piece.text for piece in pieces] == ["a", "é", "€", "😀", "z"]
    assert [piece.tokens for piece in pieces] == [1, 3, 6, 10, 11]
    assert answer == Answer("aé€😀z", 11, "length")


def test_bytes_that_are_no_text_are_replaced() -> None:
    answer, _ = run(Scripted(b"a\xff\xe2\x82b\xe2"), Sampling(6))
    assert answer.text == "a\ufffd\ufffdb\ufffd" and answer.tokens == 6


@given(st.binary(min_size=1, max_size=40), st.lists(st.text(min_size=1, max_size=3), max_size=3))
def test_an_answer_never_has_more_tokens_than_bytes(script: bytes, stop: list[str]) -> None:
    answer, _ = run(Scripted(script), Sampling(len(script), stop=tuple(stop)))
    assert answer.tokens <= min(len(answer.text.encode()), len(script))
    assert all(text not in answer.text for text in stop)
    assert script.decode(errors="replace").startswith(answer.text)


def test_tokens_without_text_are_not_charged() -> None:
    class Silent(ByteTokenizer):
        def decode(self, tokens: list[int]) -> str:
            return super().decode([token for token in tokens if token != 0])

    scripted = Scripted(b"a\x00\x00b")
    scripted.tokenizer = Silent()
    assert run(scripted, Sampling(4))[0] == Answer("ab", 2, "length")


def test_choices_follow_the_probabilities() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.2], dtype=np.float32))
    drawn = Counter(choose(logits, 1.0, 1.0, (n + 0.5) / 1000) for n in range(1000))
    assert [round(drawn[token] / 100) for token in range(3)] == [5, 3, 2]


def test_the_nucleus_leaves_out_the_tail() -> None:
    logits = np.log(np.array([0.2, 0.5, 0.3], dtype=np.float32))
    assert {choose(logits, 1.0, 0.75, n / 100) for n in range(100)} == {1, 2}
    assert {choose(logits, 1.0, 0.01, n / 100) for n in range(100)} == {1}


def test_low_temperature_sharpens() -> None:
    logits = np.array([1.0, 2.0], dtype=np.float32)
    cold = Counter(choose(logits, 0.1, 1.0, n / 1000) for n in range(1000))
    warm = Counter(choose(logits, 2.0, 1.0, n / 1000) for n in range(1000))
    assert cold[1] > 990 > warm[1] > 500


@pytest.mark.parametrize("temperature", [1e-300, 1e-310, 5e-324])
def test_the_lowest_temperatures_take_the_likeliest(temperature: float) -> None:
    logits = np.array([1.0, 30.0, -20.0], dtype=np.float32)
    assert choose(logits, temperature, 1.0, 0.999) == 1


@given(
    st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=20),
    st.floats(0, 1, exclude_max=True),
    st.floats(0.01, 1),
)
def test_a_choice_is_always_a_token(logits: list[float], draw: float, top_p: float) -> None:
    assert 0 <= choose(np.array(logits, dtype=np.float32), 0.7, top_p, draw) < len(logits)


def test_a_tokenizer_larger_than_the_model_is_refused(generator: Generator) -> None:
    class Large(ByteTokenizer):
        vocab_size = 257

    with pytest.raises(InferenceError, match="does not fit the model"):
        Generator(generator._model, Large())


# --- devices ---------------------------------------------------------------------------------------------------------


def test_a_device_without_memory_holds_nothing_of_the_answer_that_it_refused(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, held = generator._step, []

    def fails(tokens: list[int], cache: Cache) -> Any:
        if cache.length:
            held.append(weakref.ref(cache))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(tokens, cache)

    monkeypatch.setattr(generator, "_step", fails)
    gc.disable()
    try:
        with pytest.raises(DeviceFull, match="no memory left on cpu") as kept:
            run(generator, Sampling(5, seed=1))
        assert held[0]() is None and kept.value is not None, "whoever keeps the error keeps no memory by it"
    finally:
        gc.enable()


def test_a_device_that_has_failed_is_called_so(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(generator, "_step", fails)
    monkeypatch.setattr(Engine, "kind", "cuda")
    with pytest.raises(DeviceLost, match="illegal memory access"):
        run(generator, Sampling(5))


class Peak(TorchDispatchMode):
    """How many bytes of tensors there are at once at most, of those that are made in its block."""

    def __init__(self) -> None:
        super().__init__()
        self.there: dict[int, int] = {}
        self.most = 0

    def __torch_dispatch__(
        self, function: Callable[..., Any], types: object, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, Tensor) and (name := tensor.untyped_storage()._cdata) not in self.there:
                self.there[name] = tensor.untyped_storage().nbytes()
                weakref.finalize(tensor.untyped_storage(), self.there.pop, name, None)
                self.most = max(self.most, sum(self.there.values()))
        return made


@pytest.mark.parametrize("changes", [
    {"vocab_size": 4000}, {"intermediate_size": 512}, {"num_heads": 8, "num_layers": 6, "max_seq_len": 512},
])  # fmt: skip
def test_an_answer_takes_no_more_than_what_is_required_for_it(changes: dict[str, int]) -> None:
    model = replace(MODEL, **{"max_seq_len": 256, **changes})
    llama = Llama(model, learns=False)
    generator = Generator(llama, ByteTokenizer())
    with torch.inference_mode(), Peak() as peak:
        cache = llama.new_cache()
        generator._step([1] * (model.max_seq_len - 1), cache)
        generator._step([1], cache)
    assert answer_bytes(model) / 3 < peak.most <= answer_bytes(model)
    lies = sum(tensor.nbytes for tensor in (llama.flat, llama.flat_grad, llama.cos, llama.sin))
    assert lies == weights_bytes(model)
    assert serving_bytes(model, 3) == lies + 3 * answer_bytes(model)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no card")
def test_a_card_comes_to_the_logits_of_a_processor(generator: Generator) -> None:
    there = Llama(MODEL, "cuda", learns=False)
    there.load_flat(generator._model.export_flat())
    card = Generator(there, ByteTokenizer(), Engine("cuda"))
    with torch.inference_mode():
        ours, theirs = (g._step(list(b"def f("), g._model.new_cache()) for g in (generator, card))
    assert np.allclose(ours, theirs, atol=1e-4)
    assert run(card, Sampling(20, seed=3)) == run(card, Sampling(20, seed=3))
