"""Bans: a quorum signs that an offence is proven, and whoever's turn it is puts the ban on chain."""

import asyncio
from collections.abc import Mapping

from commonweight.errors import ContractError, RuleBroken
from commonweight.net import offences
from commonweight.protocol.canonical import JsonObject
from commonweight.protocol.documents import Ban, Signed, document_digest
from commonweight.protocol.fields import digest_bytes, hex32
from commonweight.protocol.keys import sign_digest
from commonweight.protocol.offences import Offence
from oracle.db import OffenceRow, Slot
from oracle.desk import Desk
from oracle.logs import logger
from oracle.offending import Offending
from oracle.seat import in_thread
from oracle.votes import ask_vote

_TURN_MS = 6_000
_VOTE_S = 20.0
_SLOWEST_BPS = 1 << 20  # bytes per second of the slowest link between signers that evidence is given time for
FOUND, BANNED = "found", "banned"


class Banning:
    """Votes on bans, and gathers votes for those that this signer knows of."""

    def __init__(self, desk: Desk, offending: Offending) -> None:
        self._desk = desk
        self._seat = desk.seat
        self._offending = offending
        self._log = logger("bans")
        self._tried_ms: dict[bytes, int] = {}  # offences, and when their bans were tried last

    async def step(self) -> bool:
        """See to an offence whose ban is not on chain and whose turn is here: the one that was tried least lately, as
        what comes to nothing must not keep another from being banned. Returns whether one was sent.
        """
        due: list[OffenceRow] = []
        for row in self._seat.db.offences():
            if row.state == BANNED:
                continue
            provider = self._desk.view.provider(row.member)
            if provider is not None and provider.banned_until >= row.until:
                self._seat.db.set_offence(row.digest, BANNED)
            elif self._due(row):
                due.append(row)
        if not due:
            return False
        row = min(due, key=lambda row: self._tried_ms.get(row.digest, 0))
        try:
            return await self._gather(row)
        finally:
            self._rest(row)

    def _rest(self, *rows: OffenceRow) -> None:
        """Leave these alone for a turn."""
        self._tried_ms |= {row.digest: self._seat.now_ms() for row in rows}

    def _due(self, row: OffenceRow) -> bool:
        """In turn, so that one signer sends it and the next waits for that one."""
        view, document, now_ms = self._desk.view, self._seat.db.document(row.digest), self._seat.now_ms()
        turn = (view.position(self._seat.address) - row.member) % max(1, len(view.signers))
        rested = now_ms >= self._tried_ms.get(row.digest, -_TURN_MS) + _TURN_MS
        return rested and document is not None and now_ms >= document.received_ms + turn * _TURN_MS

    async def _gather(self, row: OffenceRow) -> bool:
        document = self._seat.db.document(row.digest)
        assert document is not None
        offence = Offence.from_body(Signed.from_bytes(document.signed).body)
        ban = self._offending.ban_of(row)
        blobs = await self._offending.blobs_of(offence)
        evidence = await in_thread(lambda: offences.pack(offence, blobs))
        votes = {self._seat.address: self._sign(ban)}
        asked = [self._ask(peer, ban, evidence) for peer in self._desk.peers]
        for vote in await asyncio.gather(*asked):
            if vote is not None:
                votes[vote[0]] = vote[1]
        if len(votes) < self._desk.view.quorum:
            self._log.warning("no quorum for a ban", member=row.member, votes=sorted(votes))
            return False
        signatures = [votes[signer] for signer in sorted(votes)]
        try:
            receipt = await in_thread(lambda: self._seat.run.oracle.ban_provider(ban, signatures))
        except ContractError as refused:
            self._log.info("ban not taken", member=row.member, error=refused.name)
            if self._desk.view.latest.timestamp >= row.until:
                self._seat.db.set_offence(row.digest, BANNED)
            return False
        self._log.warning("banned", member=row.member, rule=row.rule, block=receipt.block_number)
        self._rest(*self._seat.db.offences(member=row.member))  # until the registry says so at a finalised block
        return True

    async def _ask(self, peer: str, ban: Ban, evidence: tuple[int, bytes]) -> tuple[str, bytes] | None:
        index_size, body = evidence
        params: JsonObject = {"ban": ban.to_body(), "index_size": index_size}
        patience_s = _VOTE_S + len(body) / _SLOWEST_BPS
        return await ask_vote(
            self._desk, peer, "ban", params, ban.digest(self._seat.domain), timeout_s=patience_s, body=body
        )

    async def vote(self, body: JsonObject, offence: Offence, blobs: Mapping[str, bytes]) -> bytes:
        """Sign another signer's ban when its offence is proven. Raises RuleBroken or OffenceError."""
        ban, digest = Ban.from_body(body), document_digest(offence.to_body())
        await self._offending.take(offence, blobs)
        right = Ban(
            self._desk.view.config_digest, -1 if offence.index is None else offence.index, digest_bytes(digest),
            self._offending.until(),
        )  # fmt: skip
        if ban != right:
            raise RuleBroken("wrong-ban", "A ban does not follow from its offence", digest)
        return self._sign(ban)

    def _sign(self, ban: Ban) -> bytes:
        digest = ban.digest(self._seat.domain)
        slot = Slot(f"ban/{hex32(ban.config_digest)}/{ban.index}/{hex32(ban.evidence_sha256)}")
        return self._seat.db.promise(slot, digest, lambda: sign_digest(digest, self._seat.key))
