"""Checks across the documents of a round: what section 6 of the specification calls structure.

Each function raises RuleBroken, whose `rule` is the slug that records and offences use. Signatures are checked before
(`open_signed`); payload bytes are checked by `commonweight.exact.payload`.
"""

from collections.abc import Collection, Mapping
from itertools import pairwise

from commonweight.errors import FormatError, RuleBroken
from commonweight.protocol.data import data_seed
from commonweight.protocol.exchange_documents import PartMessage, Receipt, Result
from commonweight.protocol.record_documents import Counted, LeftOut, Record
from commonweight.protocol.round_documents import Commitment, Plan, PlanMember
from commonweight.protocol.runconfig import RunConfig
from commonweight.protocol.trace import StateDigests, zero_state

__all__ = [
    "WRONG_START",
    "Previous",
    "check_commitment",
    "check_deadline",
    "check_part_message",
    "check_plan",
    "check_record",
    "check_result",
    "check_successor",
    "check_trace",
    "counted_tokens",
    "first_states",
    "next_data_start",
    "receipt_in_time",
    "went_ahead",
]

WRONG_START = "wrong-first-state"
"""The rule that a trace breaks which continues nothing that counts; a record's reason to refuse it, too."""

Previous = tuple[str, Commitment]
"""A member's last counted commitment: its digest and its body."""


def check_plan(plan: Plan, config: RunConfig, run: str) -> None:
    """A plan against the run's configuration: wrong-run, wrong-config, wrong-data."""
    training = config.training
    _same("wrong-run", "run", plan.run, run)
    _same("wrong-config", "config", plan.config, config.sha256)
    _same("wrong-data", "data_seed", plan.data_seed, data_seed(config.genesis_seed_bytes))
    mine = (plan.h, plan.overlap, plan.codec, plan.codec_version, plan.block, plan.min_members)
    right = (
        training.h, training.overlap, training.codec, training.codec_version, training.block, training.min_members
    )  # fmt: skip
    _same("wrong-config", "h, overlap, codec, codec_version, block, min_members", mine, right)
    _same("wrong-config", "topology", "butterfly" if plan.reducers else "star", training.topology)
    ranges = sorted(span for member in plan.members for span in _data_ranges(plan, member, training.batch))
    if any(stop > start for (_, stop), (start, _) in pairwise(ranges)):
        raise RuleBroken("wrong-data", "A plan gives the same data to two members", f"round {plan.round}")


def check_deadline(plan: Plan, epoch: int, anchor_window_s: int) -> None:
    """A plan against the epoch of its deadline and the run's anchor window: wrong-deadline.

    With a shorter window the block that draws could come before the commitments are anchored.
    """
    _same("wrong-deadline", "epoch", plan.epoch, epoch)
    _same("wrong-deadline", "anchor window", plan.anchor_by_ms - plan.commit_by_ms, 1000 * anchor_window_s)


def check_successor(plan: Plan, before: Plan, record: Record, record_digest: str, batch: int) -> None:
    """A plan against the round before: wrong-round, wrong-base, wrong-data."""
    _same("wrong-round", "round", plan.round, before.round + 1)
    _same("wrong-base", "previous_record", plan.previous_record, record_digest)
    _same("wrong-base", "base", plan.base, record.checkpoint)
    own = {member.index: member.next_start for member in before.members}
    given = [m.data_start for m in plan.members if m.data_start != own.get(m.index)]
    given += [m.next_start for m in plan.members if m.next_start is not None]
    if any(start < next_data_start(before, batch) for start in given):
        raise RuleBroken("wrong-data", "A plan gives out data that an earlier plan gave out", f"round {plan.round}")


def next_data_start(plan: Plan, batch: int) -> int:
    """The first data position that no member of this plan uses, or will use next; later plans start here."""
    return max(stop for member in plan.members for _, stop in _data_ranges(plan, member, batch))


def _data_ranges(plan: Plan, member: PlanMember, batch: int) -> tuple[tuple[int, int], ...]:
    """Data positions [start, stop) that a plan gives to a member: of this round, and of the next where they overlap."""
    now = (member.data_start, member.data_start + member.steps * batch)
    return (now,) if member.next_start is None else (now, (member.next_start, member.next_start + plan.h * batch))


def check_commitment(commitment: Commitment, plan: Plan, plan_digest: str, config: RunConfig) -> None:
    """A commitment against its plan and the configuration.

    wrong-plan (stale or relayed: drop it, never punish), wrong-run, wrong-round, wrong-base, not-a-member,
    wrong-layout, wrong-steps, wrong-tokens, norm-out-of-bounds, forged-trace.
    """
    _same("wrong-plan", "plan", commitment.plan, plan_digest)
    _same("wrong-run", "run", commitment.run, plan.run)
    _same("wrong-round", "round", commitment.round, plan.round)
    _same("wrong-base", "base", commitment.base, plan.base)
    if commitment.index not in plan.indices:
        raise RuleBroken("not-a-member", f"Provider {commitment.index} is not a member of round {plan.round}")
    _same("wrong-layout", "number of parts", len(commitment.parts), plan.parts)
    planned = plan.member(commitment.index).steps
    if commitment.steps > planned:
        raise RuleBroken("wrong-steps", "A commitment has more steps than planned", f"{commitment.steps} > {planned}")
    _same("wrong-tokens", "tokens", commitment.tokens, config.tokens(commitment.steps))
    bound = float(config.verification.max_part_norm)
    if any(part.norm2 > bound * bound for part in commitment.parts):
        raise RuleBroken("norm-out-of-bounds", "A committed norm exceeds the run's bound", f"{bound}")
    try:
        digests = [part.digest for part in commitment.parts]
        commitment.trace.check(digests, commitment.steps, config.training.trace_every)
    except FormatError as error:
        raise RuleBroken("forged-trace", error.what, error.why) from error


def first_states(
    base_weights: str, numel: int, previous: Previous | None
) -> tuple[tuple[str | None, StateDigests], ...]:
    """What a member's trace may start from, as (previous, first): its last counted commitment, or zeros."""
    fresh = (None, zero_state(base_weights, numel))
    if previous is None:
        return (fresh,)
    digest, commitment = previous
    return ((digest, commitment.trace.last.after(base_weights, commitment.trace.new_residual)), fresh)


def went_ahead(commitment: Commitment, previous: Previous | None, overlap: int) -> bool:
    """Whether a trace goes on from where the member's commitment to the round before ended, as rounds overlap.

    It must have steps after the one at which the base is taken in.
    """
    if previous is None or overlap == 0:
        return False
    digest, before = previous
    onward = (digest, before.trace.last.onward(before.trace.new_residual))
    mine = (commitment.trace.previous, commitment.trace.first)
    return mine == onward and before.round == commitment.round - 1 and commitment.steps > overlap


def check_trace(commitment: Commitment, base_weights: str, config: RunConfig, previous: Previous | None) -> None:
    """wrong-first-state unless the trace continues the member's last counted commitment, or starts from zeros.

    `base_weights` is the digest of the base's flat weights.
    """
    mine, numel = (commitment.trace.previous, commitment.trace.first), config.model.parameters()
    if mine in first_states(base_weights, numel, previous):
        return
    if not went_ahead(commitment, previous, config.training.overlap):
        raise RuleBroken(
            WRONG_START,
            f"The trace of provider {commitment.index} does not start where it must",
            "its first state is neither the base with its last counted optimizer state and residual, nor with zeros, "
            "nor where its work of the round before ended",
        )


def check_part_message(message: PartMessage, plan: Plan, plan_digest: str, commitment: Commitment) -> None:
    """A part's message against plan and commitment: wrong-plan (drop), wrong-run, wrong-round, wrong-base,
    wrong-layout, not-a-member, payload-mismatch.
    """
    _same("wrong-plan", "plan", message.plan, plan_digest)
    _same("wrong-run", "run", message.run, plan.run)
    _same("wrong-round", "round", message.round, plan.round)
    _same("wrong-base", "base", message.base, plan.base)
    _same("not-a-member", "sender", message.sender, commitment.index)
    if message.part >= plan.parts:
        raise RuleBroken("wrong-layout", "A part does not exist in its plan", f"part {message.part} of {plan.parts}")
    _same("payload-mismatch", "digest", message.digest, commitment.parts[message.part].digest)


def check_result(result: Result, plan: Plan, plan_digest: str) -> None:
    """A reducer's result against the plan: wrong-plan, wrong-run, wrong-round, wrong-layout, not-a-member."""
    _same("wrong-plan", "plan", result.plan, plan_digest)
    _same("wrong-run", "run", result.run, plan.run)
    _same("wrong-round", "round", result.round, plan.round)
    if result.part >= plan.parts:
        raise RuleBroken("wrong-layout", "A part does not exist in its plan", f"part {result.part} of {plan.parts}")
    if result.reducer not in plan.reducers_of(result.part):
        raise RuleBroken("not-a-member", f"Provider {result.reducer} does not reduce part {result.part}")
    if not set(result.members) <= set(plan.indices) or not {link.index for link in result.links} <= set(plan.indices):
        raise RuleBroken("not-a-member", "A result names providers that are not in its plan")


def receipt_in_time(receipt: Receipt, plan: Plan) -> bool:
    """Whether a receipt's time is not after the commit deadline."""
    return receipt.received_ms <= plan.commit_by_ms


def counted_tokens(commitment: Commitment, plan: Plan, config: RunConfig) -> int:
    """min(planned, committed) tokens: what a record counts and weighs."""
    return min(config.tokens(plan.member(commitment.index).steps), commitment.tokens)


def check_record(
    record: Record,
    plan: Plan,
    plan_digest: str,
    config: RunConfig,
    commitments: Mapping[str, Commitment],
    anchored: Collection[str],
) -> None:
    """A record against its plan: wrong-plan, wrong-run, wrong-round, wrong-base, wrong-layout, omission, not-anchored,
    wrong-entry, too-few-members.

    `commitments` by digest, checked already; `anchored` are the digests under roots that were anchored in time.
    """
    _same("wrong-plan", "plan", record.plan, plan_digest)
    _same("wrong-run", "run", record.run, plan.run)
    _same("wrong-round", "round and epoch", (record.round, record.epoch), (plan.round, plan.epoch))
    _same("wrong-base", "base", record.base, plan.base)
    entries: list[Counted | LeftOut] = [*record.counted, *record.refused, *record.missing]
    named = [entry.index for entry in entries]
    _same("omission", "members named", sorted(named), list(plan.indices))
    if record.counted and len(record.counted) < plan.min_members:
        raise RuleBroken(
            "too-few-members", "A record counts fewer members than the plan needs", f"{len(record.counted)}"
        )
    if record.counted:
        _same("wrong-layout", "number of results", len(record.results), plan.parts)
    if any(link.by not in plan.indices or link.index not in plan.indices for link in record.links):
        raise RuleBroken("not-a-member", "A record has links of providers that are not in its plan")
    for entry in record.counted:
        commitment = commitments.get(entry.commitment)
        if commitment is None or commitment.index != entry.index or commitment.plan != plan_digest:
            raise RuleBroken(
                "wrong-entry", f"A record counts provider {entry.index} for a commitment that is not there"
            )
        if entry.commitment not in anchored:
            raise RuleBroken("not-anchored", f"A record counts provider {entry.index} without an anchored commitment")
        right = (commitment.steps, counted_tokens(commitment, plan, config), commitment.payload)
        _same("wrong-entry", f"entry of provider {entry.index}", (entry.steps, entry.tokens, entry.payload), right)


def _same(rule: str, name: str, found: object, expected: object) -> None:
    if found != expected:
        raise RuleBroken(rule, f"{name} is not what it must be", f"{found!s:.100}, not {expected!s:.100}")
