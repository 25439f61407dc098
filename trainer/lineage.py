"""What a member trains from: only what follows from a checkpoint that a quorum has attested, or from genesis.

A plan names the record of the round before, and so on down. Whoever made the base itself has been through this already.
A joiner walks down the records until one starts from a checkpoint that it holds, from the last attested one, or, before
the first attestation, from genesis, which it computes. On that way every record must be anchored on chain, but for the
newest: the chain learns that one with the next round's commitments, so the member takes that round's step itself.
See docs/protocol.md, section 13.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from commonweight.errors import FormatError, RuleBroken, TrainingError
from commonweight.exact.arrays import F32
from commonweight.exact.checkpoint import Checkpoint
from commonweight.exact.codecs import decode, encoded_size
from commonweight.exact.round import apply_parts
from commonweight.protocol.canonical import sha256_hex
from commonweight.protocol.documents import Signed
from commonweight.protocol.fields import digest_bytes
from commonweight.protocol.parts import part_range
from commonweight.protocol.records import Plan, Record
from trainer.allreduce import Exchange
from trainer.checkpoint import Base, Held
from trainer.signers import Fits

if TYPE_CHECKING:
    from trainer.member import Member

_GIVEN_UP = 256
_PARTS_AT_ONCE = 4

Attested = tuple[int, str] | None


async def ready_base(member: Member, plan: Plan) -> Held:
    """The checkpoint that a plan starts from, once it is known to follow from what is attested.

    Raises RuleBroken (wrong-base) when it does not, or cannot be seen to yet, StoreError when it cannot be had.
    """
    attested = await asyncio.to_thread(member.chain.attested)
    if plan.previous_record is None:
        held = await _genesis(member, plan, attested)
    else:
        held = await _from_record(member, plan, attested)
    member.have = held.sha256
    return held


async def _genesis(member: Member, plan: Plan, attested: Attested) -> Held:
    held = await asyncio.to_thread(member.checkpoints.genesis)
    if plan.base != held.sha256:
        raise _unproven(plan, plan.base, f"the plan follows no record, and genesis is {held.sha256}")
    if attested is not None and attested[1] != held.sha256:
        raise _unproven(plan, plan.base, f"the plan begins anew, and {attested[1]} is attested already")
    return held


async def _from_record(member: Member, plan: Plan, attested: Attested) -> Held:
    """The base of a plan that goes on from a record."""

    async def meant(signed: Signed, _: Record) -> bool:
        return signed.digest == plan.previous_record

    newest = await _record_below(member, plan.round, attested, meant)
    if newest is None:
        raise _unproven(plan, plan.base, "no signer shows the record that the plan names")
    signed, record = newest
    if (wrong := member.journal.refused(signed.digest)) is not None:
        raise _unproven(plan, plan.base, f"the record that made it was found wrong here: {wrong}")
    if record.checkpoint != plan.base:
        raise _unproven(plan, plan.base, f"the record that the plan names made {record.checkpoint}")
    if await _stands(member, plan.base, attested):
        return await member.checkpoint(plan.base)
    await _walk(member, plan, record, attested)
    if not record.counted or await anchored(member, signed, record):
        return await member.checkpoint(plan.base)
    try:
        return await take_outer_step(member, record, await member.checkpoint(record.base), None)
    except TrainingError as lie:
        raise _unproven(plan, plan.base, lie.what) from lie


async def _walk(member: Member, plan: Plan, record: Record, attested: Attested) -> None:
    """Follow anchored records down from one to a checkpoint that stands; RuleBroken when they do not lead there."""
    while not await _stands(member, wanted := record.base, attested):
        below = await _record_below(member, record.round, attested, partial(_made, member, wanted))
        if below is not None:
            record = below[1]
        elif attested is None and (await asyncio.to_thread(member.checkpoints.genesis)).sha256 == wanted:
            return
        else:
            raise _unproven(plan, wanted, "not attested, and no record on chain of an earlier round made it (yet)")


async def _made(member: Member, checkpoint: str, signed: Signed, record: Record) -> bool:
    if record.checkpoint != checkpoint or member.journal.refused(signed.digest) is not None:
        return False
    return await anchored(member, signed, record)


async def _stands(member: Member, sha256: str, attested: Attested) -> bool:
    """Whether a checkpoint was attested last, or is kept here and later than that: what is kept was accepted once."""
    if attested is not None and attested[1] == sha256:
        return True
    kept = await asyncio.to_thread(member.checkpoints.round_of, sha256)
    return kept is not None and (attested is None or kept > attested[0])


async def anchored(member: Member, signed: Signed, record: Record) -> bool:
    """Whether a record is on chain as one of its round."""
    return await asyncio.to_thread(member.chain.record_anchored, record.round, digest_bytes(signed.digest))


async def _record_below(member: Member, round_: int, attested: Attested, fits: Fits) -> tuple[Signed, Record] | None:
    """The latest record of an earlier round that fits. Rounds that were given up have none that does; so many in a row
    are passed over, and none below what is attested is asked for, so that a lie does not make members flood signers.
    """
    lowest = max(1, round_ - _GIVEN_UP, 0 if attested is None else attested[0])
    for number in range(round_ - 1, lowest - 1, -1):
        found = await member.signers.past_record(number, fits)
        if found is not None:
            return found
    return None


def _unproven(plan: Plan, checkpoint: str, why: str) -> RuleBroken:
    return RuleBroken(
        "wrong-base",
        f"Nothing shows that the base of round {plan.round} follows from an attested checkpoint",
        f"{checkpoint}: {why}",
        "it is looked at again; `commonweight audit lineage` shows what the chain knows",
    )


# --- a round's step --------------------------------------------------------------------------------------------------


async def take_outer_step(member: Member, record: Record, base: Base, exchange: Exchange | None) -> Held:
    """The checkpoint that a record's canonical parts make of its base; TrainingError when it names another one."""
    return await named(member, record, await outer_step_of(member, record, base, exchange))


async def outer_step_of(member: Member, record: Record, base: Base, exchange: Exchange | None) -> Checkpoint:
    """The values that a record's canonical parts make of its base."""
    if not record.counted:
        return base.checkpoint
    at_once = asyncio.Semaphore(_PARTS_AT_ONCE)

    async def one(part: int) -> F32:
        async with at_once:
            return await canonical_part(member, record, part, exchange)

    parts = await asyncio.gather(*(one(part) for part in range(len(record.results))))
    return await asyncio.to_thread(apply_parts, member.config, base.checkpoint, parts)


async def named(member: Member, record: Record, made: Checkpoint) -> Held:
    """What a record makes, with its name; TrainingError when the record names another one."""
    if record.counted:
        held = await asyncio.to_thread(member.checkpoints.make, record.round, record.base, record.plan, made)
    else:
        held = await member.checkpoint(record.base)
    if held.sha256 != record.checkpoint:
        raise TrainingError(
            f"The record of round {record.round} names a checkpoint that its parts do not make",
            f"they make {held.sha256}, it says {record.checkpoint}",
            "ask the signers; `commonweight audit lineage` shows where it went wrong",
        )
    return held


async def canonical_part(member: Member, record: Record, part: int, exchange: Exchange | None) -> F32:
    """The part that the record names, decoded: from the exchange if its reducer was right, else from a signer."""
    training = member.config.training
    size = part_range(member.config.model.parameters(), training.block, len(record.results), part).size
    data = exchange.results[part].data if exchange is not None and part in exchange.results else b""
    if await asyncio.to_thread(sha256_hex, data) != record.results[part]:
        encoded = encoded_size(size, training.result_codec, training.block)
        data = await member.signers.part(record.round, part, encoded)
        if await asyncio.to_thread(sha256_hex, data) != record.results[part]:
            raise FormatError(f"A signer gave a wrong part {part} of round {record.round}", "it is asked again")
    return await asyncio.to_thread(decode, data, size, training.result_codec, training.block)
