"""Rounds of one member in a folder that is emptied before each, for measuring what a round takes of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from benches.robust import make_plan
from commonweight.exact.genesis import genesis
from commonweight.protocol.canonical import JsonObject
from commonweight.protocol.documents import Domain
from commonweight.protocol.records import Plan, sign_body
from commonweight.protocol.runconfig import RunConfig
from trainer.data import Corpus
from trainer.diloco import RoundTrainer
from trainer.inner import InnerOptimizer, Optimizer
from trainer.journal import Journal

_KEY = bytes(31) + b"\x01"


class EmptyRound:
    """A plan, its base and an empty journal; what a round gives is thrown away."""

    def __init__(self, config: RunConfig, corpus: Corpus, folder: Path) -> None:
        self.config, self.corpus, self.folder = config, corpus, folder
        self.plan: Plan = make_plan(config, [0], 1)
        self.signed = sign_body(self.plan, _KEY, Domain(1, "0x" + "00" * 20))
        self.base = genesis(config.model, config.genesis_seed_bytes)

    def journal(self) -> Journal:
        """An empty one."""
        shutil.rmtree(self.folder, ignore_errors=True)
        return Journal(self.folder)

    def prepare(self) -> None:
        """What is not part of a round and goes before it."""


class TracedRound(EmptyRound):
    """The round as a member takes it; every `keep`-th trace state stays on disk, `make` gives the optimizer."""

    def __init__(
        self, config: RunConfig, corpus: Corpus, folder: Path, keep: int = 1,
        make: Callable[[RunConfig], Optimizer] = InnerOptimizer,
    ) -> None:  # fmt: skip
        super().__init__(config, corpus, folder)
        self.trainer = RoundTrainer(config, corpus, self.journal(), 0, keep_states=keep, make=make)
        self.trainer.warm_up()
        self.waited: list[float] = []

    def prepare(self) -> None:
        self.trainer.journal = self.journal()

    def __call__(self) -> None:
        work = self.trainer.train(self.trainer.journal.open_round(self.signed), self.base, _never, _silent)
        self.waited.append(work.trace_seconds / work.seconds)

    def bytes_kept(self) -> int:
        """What all arrays of the round take on disk."""
        return sum(path.stat().st_size for path in (self.folder / "arrays").iterdir())


def round_config(name: str, preset: str, manifest: str, training: JsonObject | None = None) -> RunConfig:
    """A run of that preset whose members keep their states, however long a slow machine takes to show them."""
    return RunConfig.parse({
        "name": name, "model": {"preset": preset}, "genesis_seed": "0x" + "07" * 32,
        "data": {"manifest_cid": "", "manifest_sha256": manifest}, "training": training or {},
        "verification": {"state_wait_ms": 10**8},  # so that a slow machine thins out what it is told to
    })  # fmt: skip


def _never(_: int, __: float) -> bool:
    return False


def _silent(_: int, __: float) -> None:
    return None
