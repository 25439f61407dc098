"""Loading an attested checkpoint in two steps: fetching its weights, which may take long, and making the model of them.

A model that is served already stays where it is meanwhile: whether there is room for another beside it is looked at
before.
"""

from __future__ import annotations

from dataclasses import dataclass

from commonweight.chain.run import Run
from commonweight.checks import available_memory
from commonweight.errors import InferenceError
from commonweight.exact.arrays import F32
from commonweight.protocol.runconfig import RunConfig
from commonweight.quantities import show_size
from commonweight.store import open_store
from inference.checkpoint import Attested, find_newer, load_weights
from inference.generation import Generator
from inference.memory import loading_bytes, serving_bytes
from inference.serving import ServedModel
from inference.tokens import Tokenizer
from trainer.engine import Engine
from trainer.model import Llama


@dataclass(frozen=True)
class Loader:
    """Loads checkpoints of one run for a server that makes `at_once` answers at a time. Its methods block."""

    run: Run
    config: RunConfig
    store: str
    tokenizer: Tokenizer
    engine: Engine
    at_once: int

    def find(self, than: Attested) -> Attested | None:
        """A newer checkpoint than this one, if there is one."""
        return find_newer(self.run, than)

    def require_memory(self) -> None:
        """Refuse a card without room for model and answers. Raises UsageError."""
        takes = f"it and {self.at_once} answers at once take"
        needed = serving_bytes(self.config.model, self.at_once)
        self.engine.require_memory(needed, takes, "answer on the processor")

    def require_room(self) -> None:
        """Refuse to load one more beside the one that is served. Raises InferenceError, or UsageError for a card."""
        needed, free = loading_bytes(self.config.model), available_memory()
        if free is not None and free < needed:
            raise InferenceError(
                "There is no room for a second model in memory",
                f"loading it takes about {show_size(needed)}, and {show_size(free)} is free",
                "end other programs, or start the server again, which then has one model only",
            )
        answers = serving_bytes(self.config.model, self.at_once)
        takes = f"a second model beside the one that is served, and {self.at_once} answers at once, take"
        self.engine.require_memory(answers, takes, "start the server again, which then has one model only")

    def fetch(self, attested: Attested) -> F32:
        """The weights of a checkpoint, verified. Raises StoreError's subclasses and FormatError."""
        store = open_store(self.store, make=False)
        try:
            return load_weights(self.run, self.config, store, attested)
        finally:
            store.close()

    def build(self, attested: Attested, weights: F32) -> ServedModel:
        """The model of these weights, on the engine's device. Raises DeviceFull and DeviceLost."""
        with self.engine.watched():
            llama = Llama(self.config.model, self.engine.device, learns=False)
            llama.load_flat(weights)
        return ServedModel(self.config.name, attested, Generator(llama, self.tokenizer, self.engine))
