"""Judging a deed as a signer does: structure first, then the drawn segment by what the member shows.

The checks are the oracle's own (`oracle.states.require_leaf`, `trainer.replay`), in this process. Where a signer asks
a member over the network, the deed's states are taken as its answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benches.cheats import Deed, Round
from commonweight.errors import FormatError, RuleBroken
from commonweight.exact.arrays import array_digest
from commonweight.exact.layout import Layout
from commonweight.exact.payload import check_part
from commonweight.exact.trace import State
from commonweight.protocol.canonical import Json, JsonObject
from commonweight.protocol.fields import Fields
from commonweight.protocol.parts import part_ranges
from commonweight.protocol.safetensors import Tensor, write
from commonweight.protocol.structure import check_commitment, check_trace
from commonweight.protocol.trace import leaf_count
from oracle.states import require_leaf
from trainer.replay import Worker


@dataclass(frozen=True)
class Finding:
    """What a check found: `outcome` is pass, fail or unavailable, or structure when it never came to a draw."""

    outcome: str
    reason: str
    rel_l2: float | None = None
    exact: bool = False

    @property
    def caught(self) -> bool:
        """Whether the work is refused."""
        return self.outcome != "pass"


class Court:
    """Judges deeds of one round at a time. `folder` takes the files that the worker reads; `data` holds the text."""

    def __init__(self, folder: Path, data: Path) -> None:
        self._folder = folder
        self._data = data
        self._worker = Worker()
        folder.mkdir(parents=True, exist_ok=True)

    def structure(self, round_: Round, deed: Deed) -> Finding | None:
        """What is found without a draw, or None: commitment, first state, every part."""
        config, plan = round_.config, round_.plan
        spans = part_ranges(round_.base.size, plan.block, plan.parts)
        try:
            check_commitment(deed.commitment, plan, round_.signed.digest, config)
            check_trace(deed.commitment, array_digest(round_.base), round_.config, None)
            for span, part, committed in zip(spans, deed.parts, deed.commitment.parts, strict=True):
                check_part(part, span.size, plan.codec, plan.block, committed)
        except RuleBroken as broken:
            return Finding("structure", broken.rule)
        return None

    def replay(self, round_: Round, deed: Deed, segment: int) -> Finding:
        """The verdict on a drawn segment."""
        shown = [self._shown(deed, leaf) for leaf in (segment, segment + 1)]
        if None in shown:
            return Finding("unavailable", "a state was not shown")
        try:
            for leaf, data in zip((segment, segment + 1), shown, strict=True):
                state = State.from_bytes(data or b"", round_.base.size)
                require_leaf(deed.commitment, leaf, state.digests, deed.proofs[leaf])
        except FormatError as forged:
            return Finding("fail", f"forged: {forged}")
        answer = self._worker.answer(self._request(round_, deed, segment, shown))
        f = Fields(answer, "answer")
        outcome, rel_l2 = f.choice("outcome", ("pass", "fail")), f.f64("rel_l2_f64")
        return Finding(outcome, f.text("reason", 500), rel_l2, f.boolean("exact"))

    def every(self, round_: Round, deed: Deed) -> list[Finding]:
        """The verdict on each segment, were it drawn."""
        found = self.structure(round_, deed)
        if found is not None:
            return [found] * deed.segments
        return [self.replay(round_, deed, segment) for segment in range(deed.segments)]

    def ask(self, round_: Round, request: JsonObject) -> JsonObject:
        """Another operation of the worker: `request` without what is common to all."""
        return self._worker.answer({**self._common(round_), **request})

    def put(self, name: str, data: bytes) -> str:
        """A file for the worker; its path."""
        path = self._folder / name
        path.write_bytes(data)
        return str(path)

    def weights(self, round_: Round) -> str:
        """The file of a round's base weights."""
        layout = Layout.from_model(round_.config.model)
        tensors = {
            entry.name: Tensor("F32", entry.shape, round_.base[entry.offset : entry.offset + entry.numel].tobytes())
            for entry in layout.tensors
        }
        return self.put("base", write(tensors))

    def plan(self, round_: Round) -> str:
        """The file of a round's signed plan."""
        return self.put("plan", round_.signed.to_bytes())

    def _common(self, round_: Round) -> JsonObject:
        config = self.put(f"run-{round_.config.sha256[2:18]}.json", round_.config.to_bytes())
        return {"id": 1, "config": config, "data": str(self._data)}

    def _request(self, round_: Round, deed: Deed, segment: int, shown: Sequence[bytes | None]) -> JsonObject:
        training = round_.config.training
        last = segment + 2 == leaf_count(deed.commitment.steps, training.trace_every)
        parts: list[Json] = [part.digest for part in deed.commitment.parts]
        return {
            **self._common(round_), "op": "replay", "plan": self.plan(round_),
            "index": deed.commitment.index, "steps": deed.commitment.steps,
            "segment": segment, "base": self.weights(round_), "state": self.put("start", shown[0] or b""),
            "claimed": self.put("claimed", shown[1] or b""), "parts": parts if last else None,
            "residual": deed.commitment.trace.new_residual if last else None,
        }  # fmt: skip

    def _shown(self, deed: Deed, leaf: int) -> bytes | None:
        state = deed.states[leaf]
        return None if state is None else state.to_bytes()


# --- what is sent and how often it strikes --------------------------------------------------------------------------


def draw_bytes(parameters: int, *, exact: bool) -> int:
    """What one draw moves from member to signer, besides some kilobytes of digests and proofs: the arrays of the state
    before the segment and, unless the member's last replay was exact, of the state after it, which has the same
    residual.
    """
    return 4 * parameters * (4 if exact else 7)


def caught_within(share: float, rate: float, rounds: int) -> float:
    """The chance to be caught in some of `rounds` rounds: each draws at `rate`, and `share` of segments are false."""
    return 1.0 - (1.0 - rate * share) ** rounds


def draws_for(share: float, wanted: float) -> int:
    """How many draws catch with this chance who does `share` of its segments falsely."""
    return math.ceil(math.log(1.0 - wanted) / math.log(1.0 - share))
