"""Payload parts on their way in: uploaded by members, or pulled from those who were slow to send."""

import asyncio

from commonweight.errors import FormatError, PayloadError, PeerError, PeerRefused, RuleBroken
from commonweight.net import Reply
from commonweight.protocol.canonical import JsonObject, sha256_hex
from commonweight.protocol.documents import Signed
from commonweight.protocol.fields import Fields
from commonweight.protocol.offences import part_blob
from commonweight.protocol.records import Commitment, PartMessage, Plan, open_signed
from commonweight.protocol.structure import check_part_message
from oracle.desk import Desk
from oracle.offending import Offending
from oracle.rounds import Doc

_CALL_S = 10.0
_SLOWEST_BPS = 1 << 16  # bytes per second of the slowest link that a part is given time for
_SLACK = 65_536


class Uploads:
    """Takes parts with their sender's word for them; a lie becomes an offence."""

    def __init__(self, desk: Desk, offending: Offending) -> None:
        self._desk = desk
        self._seat = desk.seat
        self._offending = offending

    async def take(self, sender: str, signed: Signed, data: bytes) -> None:
        """Keep a part that is what its sender (address of the key) committed to. Raises PeerRefused otherwise."""
        message = open_signed(PartMessage, signed, self._seat.domain, sender)
        plan = self._desk.rounds.by_digest(Plan, message.plan)
        if plan is None:
            raise PeerRefused("wrong-plan", "A part is for a plan that is not known here", message.plan)
        found = self._desk.rounds.receipted(plan, member=message.sender).values()
        own = next(iter(found), None)
        if own is None:
            raise PeerRefused("no-commitment", f"Provider {message.sender} has no receipt in round {message.round}")
        if self._seat.now_ms() < plan.body.anchor_by_ms:
            raise PeerRefused("too-early", "The anchor window is still open", "a payload shown now could be copied")
        await self._check(plan, own, message, signed, data)
        if self._desk.payloads.holds(own.body):
            self._desk.bell.ring()

    async def _check(
        self, plan: Doc[Plan], own: Doc[Commitment], message: PartMessage, signed: Signed, data: bytes
    ) -> None:
        documents, round_ = [plan.signed, own.signed, signed], plan.body.round
        if await asyncio.to_thread(sha256_hex, data) != message.digest:
            raise PeerRefused("damaged", "The bytes are not those of the message", "nobody has signed them")
        try:
            check_part_message(message, plan.body, plan.digest, own.body)
            await self._desk.payloads.take(plan.body, own.body, message.part, data)
        except RuleBroken as broken:
            rule = broken.rule if broken.rule == "payload-mismatch" else "wrong-target"
            await self._offending.accuse(rule, round_, message.sender, documents)
            raise PeerRefused(broken.rule, broken.what, broken.why) from None
        except PayloadError as wrong:
            blobs = {part_blob(message.sender): data}
            await self._offending.accuse("payload-mismatch", round_, message.sender, documents, blobs=blobs)
            raise PeerRefused("payload-mismatch", wrong.what, wrong.why) from None

    async def pull(self, commitment: Commitment) -> None:
        """Ask a member for the parts that have not come. What cannot be had is left to the deadline."""
        provider = self._desk.view.provider(commitment.index)
        member = self._seat.db.members().get(commitment.index)
        if provider is None or member is None:
            return
        most = min(commitment.payload_bytes, 4 * self._seat.numel)
        patience_s = _CALL_S + most / len(commitment.parts) / _SLOWEST_BPS
        for part in self._desk.payloads.missing(commitment):
            params: JsonObject = {"round": commitment.round, "part": part}
            try:
                reply: Reply = await self._desk.dialer.call(
                    member.peer, provider.signing_key, "payload", params, timeout_s=patience_s,
                    max_reply=4 * self._seat.numel + _SLACK,
                )  # fmt: skip
                signed = Signed.from_json(Fields({**reply.params}, "payload").take("message"))
                await self.take(provider.signing_key.lower(), signed, reply.body)
            except (PeerError, FormatError):
                return
