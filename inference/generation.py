"""Generating text from the model: one token at a time in the calling thread, on a CPU deterministic for a seed.

Answers do not depend on what else the server does: no batching across requests, a fixed number of threads, sampling
from float64 probabilities with one draw of Python's Mersenne Twister per token. A card only computes the logits, in
float32 as a CPU does, and rounds their sums otherwise: where two tokens are about as likely, its answer may differ.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from commonweight.errors import DeviceFull, InferenceError
from inference.answers import Answer, Finish, Piece, Sampling
from inference.tokens import Tokenizer
from trainer.engine import PLAIN, Engine
from trainer.model import Cache, Llama

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Generator:
    """A model, which lies on the engine's device, with its tokenizer. `answer` may run in several threads at once."""

    def __init__(self, model: Llama, tokenizer: Tokenizer, engine: Engine = PLAIN) -> None:
        if tokenizer.vocab_size > model.config.vocab_size:
            raise InferenceError(
                "The tokenizer does not fit the model",
                f"it has {tokenizer.vocab_size} tokens, the model {model.config.vocab_size}",
            )
        self._model = model.eval()
        self.engine = engine
        self.tokenizer = tokenizer
        self.context = model.config.max_seq_len

    def answer(
        self, prompt: list[int], sampling: Sampling, emit: Callable[[Piece], None], stopped: Callable[[], bool]
    ) -> Answer:
        """Go on from `prompt`, which must not be empty; prompt and `max_tokens` together must fit the context.

        Calls `emit` for text as soon as it is certain, and ends early when `stopped()` says so. Raises DeviceFull and
        DeviceLost as `Engine.watched` does.
        """
        if not prompt or len(prompt) + sampling.max_tokens > self.context:
            raise InferenceError("The prompt does not fit", f"the context has {self.context} tokens", "shorten it")
        try:
            with self.engine.watched(), torch.inference_mode():
                return self._go_on(prompt, sampling, emit, stopped)
        except DeviceFull as full:
            full.__cause__ = full.__context__ = None
            raise full.with_traceback(None) from None  # the frames that led to it hold what the answer has on the card

    def _go_on(
        self, prompt: list[int], sampling: Sampling, emit: Callable[[Piece], None], stopped: Callable[[], bool]
    ) -> Answer:
        draws = random.Random(sampling.seed)
        writer = _Writer(self.tokenizer, sampling.stop)
        if stopped():
            return writer.end(emit, "interrupted")
        cache = self._model.new_cache()
        logits = self._step(prompt, cache)
        for made in range(1, sampling.max_tokens + 1):
            if stopped():
                return writer.end(emit, "interrupted")
            token = choose(logits, sampling.temperature, sampling.top_p, draws.random())
            if token == self.tokenizer.end or writer.add(token, emit):
                return writer.end(emit, "stop")
            if made < sampling.max_tokens:
                logits = self._step([token], cache)
        return writer.end(emit, "length")

    def _step(self, tokens: list[int], cache: Cache) -> NDArray[np.float32]:
        """Logits float32 [vocab] after `tokens`."""
        batch = torch.tensor([tokens], dtype=torch.int64, device=self.engine.device)
        logits: NDArray[np.float32] = self._model(batch, cache)[0, -1].cpu().numpy()
        return logits


def choose(logits: NDArray[np.float32], temperature: float, top_p: float, draw: float) -> int:
    """The token for logits [vocab] and a draw in [0, 1): nucleus sampling (arXiv 1904.09751), the likeliest at 0."""
    if temperature == 0.0:
        return int(np.argmax(logits))
    wide = logits.astype(np.float64)
    with np.errstate(over="ignore"):  # at the lowest temperatures all but the likeliest are at minus infinity
        weights = np.exp((wide - wide.max()) / temperature)
    order = np.argsort(-weights, kind="stable")
    total = np.cumsum(weights[order])
    kept = int(np.searchsorted(total, top_p * total[-1])) + 1
    kept = min(kept, len(order))
    at = int(np.searchsorted(total[:kept], draw * total[kept - 1], side="right"))
    return int(order[min(at, kept - 1)])


class _Writer:
    """Turns tokens into text as far as later tokens cannot change it, and watches for stop sequences."""

    def __init__(self, tokenizer: Tokenizer, stop: tuple[str, ...]) -> None:
        self._tokenizer = tokenizer
        self._stop = stop
        self._tokens: list[int] = []
        self._text = ""
        self._written = 0

    def add(self, token: int, emit: Callable[[Piece], None]) -> bool:
        """Take a token; True when a stop sequence has appeared."""
        self._tokens.append(token)
        self._text = self._tokenizer.decode(self._tokens)
        found = [at for stop in self._stop if (at := self._text.find(stop)) >= 0]
        if found:
            self._cut(min(found))
            return True
        certain = len(self._text.rstrip(_REPLACEMENT))
        held = max((_overlap(self._text[:certain], stop) for stop in self._stop), default=0)
        self._write(certain - held, emit)
        return False

    def end(self, emit: Callable[[Piece], None], finish: Finish) -> Answer:
        """Write what was held back."""
        self._write(len(self._text), emit)
        return Answer(self._text, self._count(self._text), finish)

    def _write(self, upto: int, emit: Callable[[Piece], None]) -> None:
        if upto > self._written:
            piece = self._text[self._written : upto]
            self._written = upto
            emit(Piece(piece, self._count(self._text[:upto])))

    def _cut(self, length: int) -> None:
        self._text = self._text[:length]
        while self._tokens and len(self._tokenizer.decode(self._tokens[:-1])) >= length:
            self._tokens.pop()

    def _count(self, text: str) -> int:
        return min(len(self._tokens), len(text.encode()))


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` may be the beginning of `stop`."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
