"""Waiting for the round's anchor: no payload leaves a member before it has seen its commitment on chain itself."""

from __future__ import annotations

import asyncio
import logging

from commonweight.errors import CommonweightError, FormatError
from commonweight.protocol.documents import Signed, verify
from commonweight.protocol.fields import digest_bytes
from commonweight.protocol.records import Commitment, Plan
from commonweight.protocol.structure import check_commitment
from trainer.member import Member
from trainer.signers import Roster

_log = logging.getLogger("commonweight.trainer")


async def wait_for_anchor(member: Member, plan: Plan, plan_digest: str) -> dict[int, Signed]:
    """The commitments under roots that we have seen on chain ourselves, once the anchor window is over; by member.

    Empty when there are none until the end of the exchange.
    """
    await asyncio.sleep(max(0.0, plan.anchor_by_ms / 1000 - member.clock()))
    while member.now_ms() < plan.exchange_by_ms:
        try:
            over = await asyncio.to_thread(member.chain.time_s) * 1000 >= plan.anchor_by_ms
            roster = await member.signers.roster(plan.round) if over else None
            if roster is not None:
                anchored = await asyncio.to_thread(_anchored, member, plan, plan_digest, roster)
                if anchored:
                    return anchored
        except CommonweightError as problem:
            _log.warning("the anchor of round %d cannot be seen yet: %s", plan.round, problem)
        await asyncio.sleep(min(0.2, member.poll_s))
    return {}


def _anchored(member: Member, plan: Plan, plan_digest: str, roster: Roster) -> dict[int, Signed]:
    digests: set[str] = set()
    for anchor in roster.anchors:
        right = (anchor.round, anchor.deadline) == (plan.round, plan.deadline_s)
        if right and member.chain.anchored(plan.round, plan.deadline_s, digest_bytes(anchor.root)):
            digests.update(anchor.commitments)
    for peer in roster.peers:
        provider = member.chain.provider(peer.index)
        if provider is not None and ":" in peer.address:
            member.book.know(peer.index, provider.key, peer.address)
    found: dict[int, Signed] = {}
    for signed in roster.commitments:
        if signed.digest not in digests:
            continue
        try:
            body = Commitment.from_body(signed.body)
            provider = member.chain.provider(body.index)
            if provider is None:
                continue
            verify(signed, member.identity.domain, Commitment.KIND, provider.key)
            check_commitment(body, plan, plan_digest, member.config)
        except FormatError as problem:
            _log.warning("round %d: a commitment is passed over: %s", plan.round, problem)
            continue
        found[body.index] = signed
    return found
