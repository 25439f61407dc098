"""What a member computes again of a record: parts of it, from the payloads that the record counts.

A coordinator can sign a record whose results do not follow from its payloads, and nothing is attested until much later.
So each member checks the parts that it has reduced itself, of which it holds what everybody sent, and in one round of
`ONE_IN` one more, which it draws by a hash under its own key: nobody else knows which before it asks for the payloads.
A result that does not follow is evidence (rule wrong-record of docs/protocol.md); payloads that cannot be had prove
nothing, and are left to the signers.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from commonweight.errors import CommonweightError, FormatError, PayloadError, PeerError, PeerRefused
from commonweight.exact.offences import Context, check
from commonweight.exact.payload import check_part
from commonweight.exact.round import reduce_part
from commonweight.net import offences
from commonweight.protocol.canonical import JsonObject, sha256_hex
from commonweight.protocol.documents import Signed, recover
from commonweight.protocol.fields import digest_bytes
from commonweight.protocol.offences import Blob, Offence, part_blob
from commonweight.protocol.parts import part_range
from commonweight.protocol.records import Commitment, Counted, Plan, Record
from commonweight.store.cid import cid_of
from trainer.allreduce import Exchange, OwnPart

if TYPE_CHECKING:
    from trainer.member import Member

_log = logging.getLogger("commonweight.trainer")
ONE_IN = 8
"""A drawn part costs as many bytes as one payload has, times members / parts; one round in so many pays that."""
_TAG = b"commonweight.recheck.v1"
_PATIENCE_S = 20.0
_TOLD, _TELL_AGAIN_S = 10, 2.0
_TOLD_AT_ONCE = 16  # members, so that evidence of many members gets to somebody in time
_SLOWEST_BPS = 1 << 16  # bytes per second of the slowest link that evidence is given time for


def drawn_part(key: bytes, record: str, parts: int, one_in: int = ONE_IN) -> int | None:
    """The part of a record (by its digest) that the holder of a key checks besides its own; None in most rounds.

    The same key and record always give the same part, so a restart draws nothing better.
    """
    draw = hmac.new(key, _TAG + digest_bytes(record), hashlib.sha256).digest()
    if int.from_bytes(draw[:8], "big") % one_in:
        return None
    return int.from_bytes(draw[8:16], "big") % parts


class Recheck:
    """One record looked at by one member that took part in the round."""

    def __init__(
        self, member: Member, signed_plan: Signed, plan: Plan, written: Signed, record: Record, exchange: Exchange,
        own: OwnPart | None,
    ) -> None:  # fmt: skip
        self._member = member
        self._signed_plan = signed_plan
        self._plan = plan
        self._written = written
        self._record = record
        self._exchange = exchange
        self._own = own
        self._numel = member.config.model.parameters()

    async def run(self) -> None:
        """Check what is to be checked. A record that is wrong is noted in the journal, and told to everybody."""
        for part in self._parts():
            try:
                await self._one(part)
            except (CommonweightError, TimeoutError) as problem:
                _log.info("round %d: part %d of the record is not checked: %s", self._plan.round, part, problem)
            if self._member.journal.refused(self._written.digest) is not None:
                return

    def _parts(self) -> Iterator[int]:
        """Those reduced here, then the drawn one."""
        for part in range(self._plan.parts):
            if self._exchange.received(part):
                yield part
        drawn = drawn_part(self._member.identity.key, self._written.digest, self._plan.parts)
        if drawn is not None and not self._exchange.received(drawn):
            yield drawn

    async def _one(self, part: int) -> None:
        if self._exchange.agrees(part, [entry.index for entry in self._record.counted], self._record.results[part]):
            return
        async with asyncio.timeout(_PATIENCE_S):
            found = await asyncio.gather(*(self._payload(entry, part) for entry in self._record.counted))
        payloads = {entry.index: data for entry, data in zip(self._record.counted, found, strict=True)}
        commitments = {index: self._exchange.commitment(index) for index in payloads}
        digest = await asyncio.to_thread(self._reduce, part, payloads, commitments)
        if digest == self._record.results[part]:
            return
        why = f"part {part} recomputes to {digest}, the record has {self._record.results[part]}"
        _log.error("round %d: %s", self._plan.round, why)
        self._member.journal.refuse(self._written.digest, why)
        # Stepping back ends this check, but everybody is still told.
        self._member.tell(self._report(part, payloads, commitments))

    async def _payload(self, entry: Counted, part: int) -> bytes:
        """A counted member's part: from here, or from that member. Raises CommonweightError when it cannot be had."""
        signed = self._exchange.commitment(entry.index)
        if signed.digest != entry.commitment:
            raise PayloadError(f"The record counts member {entry.index} for a commitment that is not known here")
        right = Commitment.from_body(signed.body).parts[part].digest
        if entry.index == self._member.index and self._own is not None:
            data = (await asyncio.to_thread(self._own, part))[1]
        else:
            data = self._exchange.received(part).get(entry.index, b"")
        if await asyncio.to_thread(sha256_hex, data) != right:
            params: JsonObject = {"round": self._plan.round, "part": part}
            data = (await self._member.book.call(entry.index, "payload", params, b"", _PATIENCE_S)).body
        if await asyncio.to_thread(sha256_hex, data) != right:
            raise PayloadError(f"Member {entry.index} shows another part {part} than it committed to")
        return data

    def _reduce(self, part: int, payloads: dict[int, bytes], commitments: dict[int, Signed]) -> str:
        """The digest that the part recomputes to. PayloadError when a payload is not what was committed to."""
        span = part_range(self._numel, self._plan.block, self._plan.parts, part)
        decoded = {}
        for index, data in payloads.items():
            committed = Commitment.from_body(commitments[index].body).parts[part]
            decoded[index] = check_part(data, span.size, self._plan.codec, self._plan.block, committed)
        weights = {entry.index: entry.tokens for entry in self._record.counted}
        return reduce_part(self._member.config, self._plan, self._numel, part, decoded, weights).digest

    async def _report(self, part: int, payloads: dict[int, bytes], commitments: dict[int, Signed]) -> None:
        blobs = {part_blob(index): data for index, data in payloads.items()}
        offence = Offence(
            self._plan.run, "wrong-record", self._plan.round, None,
            recover(self._written, self._member.identity.domain), part,
            (self._signed_plan, self._written, *commitments.values()),
            tuple(Blob(name, sha256_hex(data), cid_of(data)) for name, data in blobs.items()),
        )  # fmt: skip
        index_size, body = await asyncio.to_thread(offences.pack, offence, blobs)
        turns = asyncio.Semaphore(_TOLD_AT_ONCE)
        others = [index for index in self._plan.indices if index != self._member.index]
        await asyncio.gather(
            self._member.offence(offence, blobs), *(self._tell(index, index_size, body, turns) for index in others)
        )

    async def _tell(self, index: int, index_size: int, body: bytes, turns: asyncio.Semaphore) -> None:
        """Tell another member, who may have followed the record, or is about to: it proves the evidence itself."""
        params: JsonObject = {"index_size": index_size}
        for _ in range(_TOLD):
            try:
                async with turns:
                    patience_s = _PATIENCE_S + len(body) / _SLOWEST_BPS
                    await self._member.book.call(index, "offence", params, body, patience_s)
            except PeerError as problem:
                _log.info("member %d could not be told of a wrong record: %s", index, problem)
                if isinstance(problem, PeerRefused) and problem.code != "not-followed":
                    return
                await asyncio.sleep(_TELL_AGAIN_S)
            else:
                return


class Accused:
    """Evidence against records that other members send. Proving one costs about what reducing a part does."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._vain: set[int] = set()
        self._one_at_a_time = asyncio.Lock()

    async def take(self, sender: int, offence: Offence, blobs: dict[str, bytes]) -> None:
        """Refuse the record if the evidence proves it wrong. PeerRefused for whatever is not about a record that was
        followed here lately, or proves nothing; who has sent such a thing once is not listened to again.
        """
        records = {d.digest for d in offence.documents if d.kind == Record.KIND}
        ours = records & {outcome.signed.digest for outcome in self._member.outcomes}
        if offence.rule != "wrong-record" or len(records) != 1 or not ours or sender in self._vain:
            raise PeerRefused("not-followed", "This is not about a record that was followed here lately")
        digest = ours.pop()
        async with self._one_at_a_time:
            if self._member.journal.refused(digest) is not None:
                return
            try:
                await asyncio.to_thread(self._prove, offence, blobs)
            except FormatError as problem:
                self._vain.add(sender)
                raise PeerRefused("not-proven", problem.what, problem.why) from None
            _log.error("round %d: member %d has proven that the record is wrong", offence.round, sender)
            self._member.journal.refuse(digest, f"member {sender} has proven part {offence.part} wrong")

    def _prove(self, offence: Offence, blobs: dict[str, bytes]) -> None:
        member, chain = self._member, self._member.chain
        identity, config = member.identity, member.config

        def keys(index: int) -> set[str]:
            provider = chain.provider(index)
            return set() if provider is None else {provider.key}

        context = Context(
            identity.domain, identity.run, config, config.model.parameters(), keys, tuple(chain.signers())
        )
        check(offence, blobs, context)
