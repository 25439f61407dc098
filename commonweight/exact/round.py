"""One round recomputed from its plan, its record and the payloads: the canonical parts and the next checkpoint.

The one function for everyone: coordinator, members who miss a part, signers and auditors call `recompute_round`;
reducers call `reduce_part`, of which it is made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from commonweight.errors import PayloadError, ReplayMismatch
from commonweight.exact.aggregate import Contribution, aggregate_part
from commonweight.exact.arrays import F32
from commonweight.exact.checkpoint import Checkpoint
from commonweight.exact.codecs import decode, requantise
from commonweight.exact.outer import outer_step
from commonweight.protocol.canonical import sha256_hex
from commonweight.protocol.fields import digest_over
from commonweight.protocol.parts import part_range
from commonweight.protocol.record_documents import Record
from commonweight.protocol.round_documents import Plan
from commonweight.protocol.runconfig import RunConfig

__all__ = ["ReducedPart", "RoundOutcome", "apply_parts", "planned_tokens", "recompute_round", "reduce_part"]


@dataclass(frozen=True, eq=False)
class ReducedPart:
    """A canonical part: encoded bytes, their SHA-256, the decoded float32[n], and who was kept and clipped."""

    encoded: bytes
    digest: str
    x: F32
    kept: tuple[int, ...]
    clipped: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class RoundOutcome:
    """What a record recomputes to: the checkpoint after it and its canonical parts (none when nobody is counted)."""

    checkpoint: Checkpoint
    parts: tuple[ReducedPart, ...]

    @property
    def results(self) -> tuple[str, ...]:
        """The digests of the canonical parts, as the record lists them."""
        return tuple(part.digest for part in self.parts)


def planned_tokens(config: RunConfig, plan: Plan) -> int:
    """The tokens of all members of a plan."""
    return sum(config.tokens(member.steps) for member in plan.members)


def reduce_part(
    config: RunConfig,
    plan: Plan,
    numel: int,
    part: int,
    encoded: Mapping[int, bytes | F32],
    weights: Mapping[int, int],
    norms2: Mapping[int, float] | None = None,
) -> ReducedPart:
    """Aggregates part `part` of a plan and encodes the result, for encoded or already decoded parts by member index.

    `weights` are min(planned, committed) tokens. `norms2` spares computing the decoded parts' squared norms again.
    PayloadError when a part does not decode.
    """
    span = part_range(numel, plan.block, plan.parts, part)
    contributions = [
        Contribution(
            index,
            data if isinstance(data, np.ndarray) else decode(data, span.size, plan.codec, plan.block),
            weights[index],
            None if norms2 is None else norms2[index],
        )
        for index, data in encoded.items()
    ]
    result = aggregate_part(contributions, config.training.aggregation, planned_tokens(config, plan))
    data, x = requantise(result.x, config.training.result_codec, plan.block)
    return ReducedPart(data, sha256_hex(data), x, result.kept, result.clipped)


def apply_parts(config: RunConfig, parent: Checkpoint, parts: Sequence[F32]) -> Checkpoint:
    """The checkpoint after an outer step along the canonical parts, decoded, in order."""
    training = config.training.outer
    gradient = np.concatenate(list(parts))
    return Checkpoint(*outer_step(parent.weights, parent.momentum, gradient, training.lr, training.momentum))


def recompute_round(
    config: RunConfig, plan: Plan, record: Record, parent: Checkpoint, payloads: Mapping[int, Sequence[bytes]]
) -> RoundOutcome:
    """The checkpoint that a record's counted payloads make of its parent, bit for bit, and the canonical parts.

    `payloads` holds each counted member's encoded parts by index. PayloadError when a payload is missing, is not what
    the record lists, or does not decode; ReplayMismatch when the record lists other results than these.
    """
    if not record.counted:
        return RoundOutcome(parent, ())
    if len(record.results) != plan.parts:
        why = f"round {record.round} has {plan.parts} parts, its record {len(record.results)} results"
        raise ReplayMismatch("A record has not one result for each part", why)
    for entry in record.counted:
        if entry.index not in payloads:
            raise PayloadError(f"The payload of provider {entry.index} is missing", f"round {record.round}")
        if digest_over(sha256_hex(data) for data in payloads[entry.index]) != entry.payload:
            what = f"The payload of provider {entry.index} is not what the record lists"
            raise PayloadError(what, f"round {record.round}")
    weights = {entry.index: entry.tokens for entry in record.counted}
    parts = []
    for part in range(plan.parts):
        encoded = {entry.index: payloads[entry.index][part] for entry in record.counted}
        reduced = reduce_part(config, plan, parent.weights.size, part, encoded, weights)
        if record.results[part] != reduced.digest:
            raise ReplayMismatch(
                f"Part {part} of round {record.round} is not what its record says",
                f"it recomputes to {reduced.digest}, the record has {record.results[part]}",
            )
        parts.append(reduced)
    return RoundOutcome(apply_parts(config, parent, [part.x for part in parts]), tuple(parts))
