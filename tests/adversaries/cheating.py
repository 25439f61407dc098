"""Members that cheat in their training: the real process, with a cheat of `benches.cheats` in the place of its steps.

`python -m tests.adversaries.as_member "cheat:NAME" provider start ...`. Where a cheat needs an accomplice, ACCOMPLICE
in the environment names the data directory of a member that works honestly; its states are read from there.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from benches.cheats import CHEATS, HONEST, SWAPPED, Around, Cheat, Deed, Round

import trainer.train
from commonweight.errors import TrainingError
from commonweight.exact.trace import TraceBuilder
from commonweight.protocol.records import Commitment, Plan
from trainer import diloco
from trainer.checkpoint import Held
from trainer.diloco import Enough, Progress, Work, commitment_of, payload_of
from trainer.journal import Journal, RoundFolder
from trainer.member import Member

ALL = (HONEST, *CHEATS)


class Cheating(Member):
    """Trains and commits as its cheat says; keys, sockets and promises are those of an honest member."""

    cheat: Cheat = HONEST

    def __post_init__(self) -> None:
        super().__post_init__()
        self.trainer._make = self.cheat.optimizer
        self.earlier: Deed | None = None
        if self.cheat.name == SWAPPED:
            _swap_data()
        if self.cheat.name == "never shown":
            self.journal.piece = self.refuse  # type: ignore[method-assign]

    def refuse(self, folder: RoundFolder, leaf: int, *_: object) -> bytes:
        raise TrainingError("This state is not shown", f"leaf {leaf}")

    def train(self, folder: RoundFolder, base: Held, enough: Enough, progress: Progress) -> Work:
        work = super().train(folder, base, enough, progress)
        trace = folder.trace
        assert trace is not None
        states = tuple(self.journal.load_state(digests) for digests in trace.states)
        deed = Deed(work.commitment, states, ())
        needed = {"earlier": self.earlier, "others": None, "": None}[self.cheat.needs]
        if self.cheat.needs == "others":
            needed = accomplice(folder.plan.digest)
        if self.cheat.needs != "earlier" or self.earlier is None:
            self.earlier = deed
        lacking = bool(self.cheat.needs) and (needed is None or len(needed.states) != len(states))
        if self.cheat.forge is None or self.cheat.name == "never shown" or lacking:
            return work
        round_ = Round(self.config, self.trainer.corpus, folder.plan, base.checkpoint.weights)
        forged, payload = self.cheat.forge(round_, deed, Around(needed, needed))
        shown = [state for state in forged if state is not None]
        if payload is None:
            last = shown[-1]
            payload = payload_of(self.config, folder.body, round_.base, last.weights, last.residual)
        builder = TraceBuilder(trace.previous, [self.journal.store_state(state) for state in shown])
        folder.save_trace(builder)
        folder.save_payload(payload.parts)
        self.journal.arrays.put(payload.new_residual, payload.new_residual_digest)
        steps = shown[-1].step - shown[0].step
        body = commitment_of(self.config, folder, self.index, steps, builder, payload)
        return replace(work, commitment=body, payload=payload)


def accomplice(plan: str, patience_s: float = 20.0) -> Deed | None:
    """The states of the member in ACCOMPLICE for a round, once it has committed; None when it does not in time."""
    journal = Journal(Path(os.environ["ACCOMPLICE"]) / "state")
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        found = _committed(journal.rounds(), plan)
        if found is not None and found.trace is not None and found.commitment is not None:
            states = tuple(journal.load_state(digests) for digests in found.trace.states)
            return Deed(Commitment.from_body(found.commitment.body), states, ())
        time.sleep(0.05)
    return None


def _committed(rounds: Iterable[RoundFolder], plan: str) -> RoundFolder | None:
    return next((one for one in rounds if one.plan.digest == plan and one.commitment is not None), None)


def _swap_data() -> None:
    """Every step on the batch of the next member of the plan."""
    honest = diloco.batch_of

    def swapped(config, corpus, plan: Plan, index: int, before: int, step: int):  # type: ignore[no-untyped-def]
        others = [other for other in plan.indices if other != index]
        other = min(others, key=lambda one: (one < index, one)) if others else index
        return honest(config, corpus, plan, other, before, step)

    diloco.batch_of = swapped


def install(name: str) -> None:
    """From now on this process's member cheats in this way."""
    cheat = next(cheat for cheat in ALL if cheat.name == name)
    trainer.train.Member = type("Cheater", (Cheating,), {"cheat": cheat})  # type: ignore[misc]
