"""Lies with evidence: from a document that cannot be honest to a ban that a quorum signs.

An offence is taken only when `commonweight.exact.offences.check` proves it, whoever reports it; then it is signed,
kept, copied to the other signers and banned on chain. The banned earn nothing for the refused round.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

from commonweight.errors import CommonweightError, OffenceError
from commonweight.exact.offences import Context, check
from commonweight.protocol.canonical import sha256_hex
from commonweight.protocol.documents import Ban, Signed
from commonweight.protocol.fields import digest_bytes
from commonweight.protocol.offences import Blob, Offence
from commonweight.protocol.records import Plan
from commonweight.store import parse_cid
from oracle.db import OffenceRow
from oracle.desk import Desk
from oracle.logs import logger
from oracle.seat import in_thread

TARGET = ("wrong-run", "wrong-round", "wrong-base", "not-a-member", "wrong-layout")
INVALID = ("wrong-steps", "wrong-tokens", "norm-out-of-bounds", "forged-trace")


class Offending:
    """Takes, proves and keeps offences."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._seat = desk.seat
        self._log = logger("offences")
        self._one_at_a_time = asyncio.Lock()
        self._lies: set[tuple[str | None, str, int]] = set()  # of signers, by rule and round, since this one's start

    def known(self, member: int, round_: int) -> bool:
        """Whether an offence of this member in this round is proven already."""
        return any(row.round == round_ for row in self._seat.db.offences(member=member))

    async def accuse(
        self, rule: str, round_: int, member: int, documents: Sequence[Signed], *, part: int | None = None,
        blobs: Mapping[str, bytes] | None = None,
    ) -> None:  # fmt: skip
        """Make an offence of what this signer has seen itself. One that proves nothing is logged and dropped."""
        if self.known(member, round_):
            return
        try:
            named = tuple([await self._blob(name, data) for name, data in (blobs or {}).items()])
            await self.take(
                Offence(self._seat.campaign, rule, round_, member, None, part, tuple(documents), named), blobs or {}
            )
        except CommonweightError as error:
            self._log.warning("not proven", rule=rule, member=member, round=round_, error=str(error))

    async def take(self, offence: Offence, blobs: Mapping[str, bytes]) -> None:
        """Prove an offence and keep it, one for each member and round, and for each rule that a signer has broken in a
        round; the others add nothing, and evidence about many members is long. In rounds that nobody has planned one
        could be guilty without end.

        Raises OffenceError, or another FormatError, when it proves nothing.
        """
        async with self._one_at_a_time:
            lie = (offence.signer, offence.rule, offence.round)
            if lie in self._lies or (offence.index is not None and self.known(offence.index, offence.round)):
                return
            if not self._seat.db.document_names(Plan.KIND, round_=offence.round):
                raise OffenceError("An offence is about a round that is not known here", f"round {offence.round}")
            await in_thread(lambda: check(offence, blobs, self.context()))
            for blob in offence.blobs:
                made = await self._blob(blob.name, blobs[blob.name])
                if made != blob:
                    raise OffenceError("A blob of an offence has another CID than it names", blob.name)
            self._keep(offence)
            if offence.signer is not None:
                self._lies.add(lie)

    async def blobs_of(self, offence: Offence) -> dict[str, bytes]:
        """The bytes that an offence names, from this disk or the store. Raises ContentUnavailable."""
        found: dict[str, bytes] = {}
        for blob in offence.blobs:
            data = self._desk.files.get(blob.sha256)
            found[blob.name] = await in_thread(partial(self._fetch, blob)) if data is None else data
        return found

    def context(self) -> Context:
        """What an offence is checked against."""
        view = self._desk.view
        return Context(
            self._seat.domain, self._seat.campaign, self._seat.config, self._seat.numel,
            lambda index: view.keys.get(index, frozenset()), view.offices.ever,
        )  # fmt: skip

    def ban_of(self, row: OffenceRow) -> Ban:
        """The ban for an offence."""
        return Ban(self._desk.view.config_digest, row.member, row.digest, row.until)

    def until(self) -> int:
        """When bans end, Unix seconds: a dispute period after the run's last epoch."""
        params = self._seat.params
        return params.epoch_end(params.last_epoch + params.tail_epochs) + params.dispute_period

    # --- keeping -----------------------------------------------------------------------------------------------------

    def _keep(self, offence: Offence) -> None:
        signed = self._seat.sign(Offence.KIND, offence.to_body())
        with self._seat.db.transaction():
            member = -1 if offence.index is None else offence.index
            self._seat.keep(signed, self._seat.address, round_=offence.round, member=member)
            if offence.index is not None:
                row = OffenceRow(
                    digest_bytes(signed.digest), offence.index, offence.round, offence.rule, self.until(), "found"
                )
                self._seat.db.add_offence(row)
        self._desk.metrics.offences.labels(offence.rule).inc()
        accused = {"member": offence.index, "signer": offence.signer}
        self._log.warning("offence", rule=offence.rule, round=offence.round, **accused)
        self._desk.bell.ring()

    async def _blob(self, name: str, data: bytes) -> Blob:
        cid = await in_thread(lambda: self._seat.store.put(data))
        await in_thread(lambda: self._desk.files.put(data))
        return Blob(name, sha256_hex(data), str(cid))

    def _fetch(self, blob: Blob) -> bytes:
        data = self._seat.store.get(parse_cid(blob.cid), sha256=blob.sha256)
        self._desk.files.put(data)
        return data
