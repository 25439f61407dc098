"""What becomes of a round here: its record, the step along it, and the checkpoint's name, which is computed behind it.

The next round may begin from the new weights at once. Nothing is signed that builds on them before their hash is known
to be the one that the record names (`confirm`), and nothing goes on from a record that was found wrong
(`trainer.recheck`).
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from commonweight.errors import ChainError, FormatError, PeerError, RuleBroken, SignatureError
from commonweight.exact.checkpoint import Checkpoint
from commonweight.protocol.documents import Signed, recover
from commonweight.protocol.records import Plan, Record
from commonweight.protocol.structure import WRONG_START
from trainer.allreduce import Exchange
from trainer.checkpoint import Base, Held
from trainer.journal import Position, RoundFolder
from trainer.lineage import anchored, named, outer_step_of
from trainer.recheck import Recheck
from trainer.signers import Fits

if TYPE_CHECKING:
    from trainer.member import Member

_log = logging.getLogger("commonweight.trainer")
_LOOKED_BACK = 4
"""Records that can still turn out wrong before they are left to the signers."""


@dataclass(frozen=True)
class Made:
    """A checkpoint whose name is not known yet."""

    checkpoint: Checkpoint


@dataclass
class Outcome:
    """What a record makes, while its name is being computed and its parts are being checked.

    `made` is the checkpoint until the next one is there.
    """

    signed: Signed
    record: Record
    plan: Plan
    made: Made | None
    before: Position | None
    naming: asyncio.Task[None] = field(init=False)
    checking: asyncio.Task[None] | None = None

    def close(self) -> None:
        """Give up what is still under way."""
        self.naming.cancel()
        if self.checking is not None:
            self.checking.cancel()


async def wait_for_record(member: Member, signed: Signed) -> tuple[Signed, Record]:
    """The record of a plan's round, for as long as it takes: nothing can go on without it."""
    round_ = Plan.from_body(signed.body).round
    while True:
        try:
            found = await member.signers.record(round_, _counts(member, signed))
            if found is not None:
                return found
        except (ChainError, PeerError, FormatError) as problem:
            _log.warning("the record of round %d cannot be had yet: %s", round_, problem)
            await asyncio.sleep(member.poll_s)


async def record_by_now(member: Member, signed: Signed) -> tuple[Signed, Record] | None:
    """The record of a plan's round, if whichever signer answers has one that counts."""
    round_ = Plan.from_body(signed.body).round
    try:
        return await member.signers.record(round_, _counts(member, signed), wait_ms=0)
    except SignatureError as problem:
        _log.info("round %d has no record that counts: %s", round_, problem)
        return None


def _counts(member: Member, plan: Signed) -> Fits:
    """Whether a record counts though who signed it may be out of office by now: a plan's own signer has, or it is
    anchored. What a rotation puts out of office has signed that still.
    """

    async def counts(signed: Signed, record: Record) -> bool:
        domain = member.identity.domain
        return recover(signed, domain) == recover(plan, domain) or await anchored(member, signed, record)

    return counts


async def settle_earlier(member: Member, plan: Plan) -> None:
    """Learn whether earlier commitments of ours were counted, when we were not there to see it."""
    position = member.journal.position
    for folder in list(member.journal.rounds(0 if position is None else position.round)):
        number = folder.body.round
        if number >= plan.round or folder.settled or folder.commitment is None:
            continue
        found = await record_by_now(member, folder.plan)  # a round that was given up never has one
        if found is not None and not _tainted(member, folder.body, found[0]):
            note_counted(member, folder, found[1])


def _tainted(member: Member, plan: Plan, record: Signed) -> bool:
    """Whether a record was found wrong here, or goes on from one that was."""
    known = (record.digest, plan.previous_record)
    return any(digest is not None and member.journal.refused(digest) is not None for digest in known)


def note_counted(member: Member, folder: RoundFolder, record: Record) -> None:
    """Move on from our commitment when the record counts it. One that is refused because our trace continues another
    commitment than the last that counts (a record on the way was passed over) leaves us without a history.
    """
    commitment, entry = folder.commitment, record.counted_member(member.index)
    if commitment is not None and entry is not None and entry.commitment == commitment.digest:
        member.journal.counted(commitment)
    if any((left.index, left.reason) == (member.index, WRONG_START) for left in record.refused):
        member.journal.move(None)
        _log.warning("round %d: the optimizer begins anew: its state is not the one that counts", record.round)
    folder.settle()


async def next_checkpoint(
    member: Member, signed: Signed, plan: Plan, written: Signed, record: Record, base: Base, exchange: Exchange | None
) -> None:
    """The outer step along the record's canonical parts; its name and its truth are looked at behind the next round.

    Raises FormatError when the record is about another plan or was found wrong here before.
    """
    await confirm(member)
    if record.plan != signed.digest or record.base != plan.base:
        raise FormatError(f"The record of round {plan.round} is about another plan", record.plan)
    _refuse_false(member, written.digest, plan.round)
    made = Made(await outer_step_of(member, record, base, exchange))
    outcome = Outcome(written, record, plan, made, member.journal.position)
    folder = member.journal.committed_round(plan.round)
    if folder is not None:
        note_counted(member, folder, record)
    outcome.naming = asyncio.create_task(_name(member, outcome, made.checkpoint))
    if exchange is not None:
        own = None if folder is None else member.own_part(folder)
        recheck = Recheck(member, signed, plan, written, record, exchange, own)
        outcome.checking = asyncio.create_task(_check(recheck, record, exchange))
    for earlier in member.outcomes:
        earlier.made = None
    member.outcomes.append(outcome)
    if len(member.outcomes) > _LOOKED_BACK:
        member.outcomes.pop(0).close()  # payloads that nobody shows for so long are left to the signers


async def _name(member: Member, outcome: Outcome, made: Checkpoint) -> None:
    """Raises TrainingError when the record names another checkpoint than its own parts make: we follow no lie."""
    held = await named(member, outcome.record, made)
    member.have = held.sha256
    say_outcome(member, outcome.plan, outcome.record, held)


async def _check(recheck: Recheck, record: Record, exchange: Exchange) -> None:
    """Look at the parts of a record that counts anybody, after which nobody needs what has come in for them."""
    try:
        if record.counted:
            await recheck.run()
    finally:
        exchange.forget()


async def confirm(member: Member) -> None:
    """Wait until the last round's checkpoint has its name. To be called before anything is signed that builds on it.

    Raises TrainingError when it is not the record's, RuleBroken when a record was found wrong since.
    """
    if member.outcomes:
        await member.outcomes[-1].naming
    for place, outcome in enumerate(member.outcomes):
        if (why := member.journal.refused(outcome.signed.digest)) is not None:
            await _step_back(member, place, why)


async def look_back(member: Member) -> None:
    """`confirm`, if there is something to be learnt already; does not wait."""
    if member.outcomes and member.outcomes[-1].naming.done():
        await confirm(member)


async def _step_back(member: Member, place: int, why: str) -> None:
    """To where this member was before a record that is wrong, and before all that followed; RuleBroken says so."""
    wrong, member.outcomes = member.outcomes[place:], member.outcomes[:place]
    first = wrong[0]
    member.journal.move(first.before)
    member.have = first.record.base
    for outcome in wrong:
        outcome.close()
        if outcome is not first:
            member.journal.refuse(
                outcome.signed.digest, f"it goes on from the record of round {first.plan.round}: {why}"
            )
        if outcome.record.counted:
            await asyncio.to_thread(member.checkpoints.drop, outcome.record.checkpoint)
    member.status.say("record", first.plan.round, refused="wrong-record", why=why)
    _refuse_false(member, first.signed.digest, first.plan.round)


def _refuse_false(member: Member, digest: str, round_: int) -> None:
    if (why := member.journal.refused(digest)) is not None:
        raise RuleBroken(
            "wrong-record",
            f"The record of round {round_} does not follow from its payloads",
            why,
            "the signers were told, with the evidence; this member goes on from another record",
        )


def say_outcome(member: Member, plan: Plan, record: Record, held: Held) -> None:
    """What the record says of this member, and why it is left out if it is."""
    entry = record.counted_member(member.index)
    left_out = {item.index: f"refused-{item.reason}" for item in record.refused}
    left_out |= {item.index: f"missing-{item.reason}" for item in record.missing}
    member.status.say(
        "record", plan.round, checkpoint=held.sha256, counted=entry is not None,
        tokens=0 if entry is None else entry.tokens, members=len(record.counted), planned=member.index in plan.indices,
        refused=left_out.get(member.index, ""),
    )  # fmt: skip


async def made_base(member: Member, plan: Plan) -> Base | None:
    """What the last round has made, if the plan goes on from that by name; else that name is waited for, and None."""
    last = member.outcomes[-1] if member.outcomes else None
    if last is not None and (plan.previous_record, plan.base) == (last.signed.digest, last.record.checkpoint):
        await look_back(member)
        if last.made is not None:  # it is not after a step back
            return last.made
    await confirm(member)
    return None
