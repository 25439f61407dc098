"""Collecting: every signer copies every other signer's documents, in order, and verifies each as if a stranger sent it.

A log is read from where the last reading ended (kept on disk). A document that names one which is not here yet stops
the reading for a moment; one that is refused is passed over and counted. A silent peer delays nobody but itself.
"""

import asyncio

from commonweight.errors import CommonweightError, ContentUnavailable, FormatError, PeerError
from commonweight.protocol.canonical import loads
from commonweight.protocol.documents import Signed
from commonweight.protocol.fields import Fields, digest_bytes, hex32
from commonweight.protocol.merkle import anchor_root
from commonweight.protocol.offences import Offence
from commonweight.protocol.records import Anchor, Plan
from oracle.desk import Desk
from oracle.intake import Intake, NotYetError, OtherPlanError, TwoDocumentsError
from oracle.logs import logger
from oracle.offending import Offending
from oracle.rounds import Doc
from oracle.seat import in_thread

_POLL_MS = 8_000
_PAUSE_S = 0.3
_RETRY_S = 1.0
_PATIENCE = 100
_PAGE_BYTES = 64 << 20
_ANCHOR_GAS = 250_000
_COORDINATOR_FIRST_MS = 2_500
_LAST_CALL_MS = 700


class Collecting:
    """Copies the logs of the other signers, and anchors what only this one has receipted."""

    def __init__(self, desk: Desk, intake: Intake, offending: Offending) -> None:
        self._desk = desk
        self._seat = desk.seat
        self._intake = intake
        self._offending = offending
        self._log = logger("collect")
        self._reached: set[str] = set()
        self._missed: set[str] = set()

    async def follow(self, peer: str) -> None:
        """Copy one signer's log, for ever."""
        patience = _PATIENCE
        while True:
            try:
                went_on = await self._page(peer, patience <= 0)
                if peer not in self._reached:
                    self._log.info("following", peer=peer)
                    self._reached.add(peer)
                patience = _PATIENCE if went_on else patience - 1
                if not went_on:
                    await asyncio.sleep(_PAUSE_S)
            except CommonweightError as problem:
                if peer in self._reached or peer not in self._missed:
                    self._log.warning("cannot be followed", peer=peer, error=str(problem))
                self._reached.discard(peer)
                self._missed.add(peer)
                self._desk.heard.add(peer)
                await asyncio.sleep(_RETRY_S)
            self._desk.metrics.peers.set(len(self._reached))

    async def _page(self, peer: str, skip: bool) -> bool:
        """Read on; False when a document has to wait for another one. With `skip` such a document is passed over."""
        address = self._desk.peers.get(peer)
        if address is None:
            raise PeerError(f"nobody says where signer {peer} listens", "", "name it by --peers or in run.json")
        key = f"log/{peer}"
        log, after = (self._seat.db.get_meta(key) or " 0").split(" ")
        wait_ms = _POLL_MS if peer in self._desk.heard else 0
        reply = await self._desk.dialer.call(
            address, peer, "sync", {"after": int(after), "wait_ms": wait_ms}, timeout_s=_POLL_MS / 1000 + 10,
            max_reply=_PAGE_BYTES,
        )  # fmt: skip
        f = Fields(loads(reply.body, _PAGE_BYTES), "sync")
        name, last = f.text("log", 64), f.integer("last")
        documents = f.objects("documents", _read_entry, 0, 1000)
        f.done()
        if log and name != log:  # a new database: from its beginning
            self._seat.db.set_meta(key, f"{name} 0")
            return True
        if not documents:
            self._desk.heard.add(peer)
        for seq, signed in documents:
            if not await self._take(signed, peer) and not skip:
                return False
            self._seat.db.set_meta(key, f"{name} {seq}")
        self._seat.db.set_meta(key, f"{name} {last}")
        return True

    async def _take(self, signed: Signed, peer: str) -> bool:
        """Accept a document from a log; False when it has to wait."""
        try:
            if signed.kind == Offence.KIND:
                offence = Offence.from_body(signed.body)
                await self._offending.take(offence, await self._offending.blobs_of(offence))
            else:
                self._intake.accept(signed, peer)
        except OtherPlanError as other:
            self._desk.rounds.differ(peer, other.coordinator, other.round)
            self._refused(signed, other)
            if peer != other.coordinator == self._desk.rounds.coordinator:
                self._desk.metrics.failures.labels("divided").inc()
                self._log.error("told otherwise", peer=peer, round=other.round, error=str(other))
        except (NotYetError, ContentUnavailable):
            return False
        except TwoDocumentsError as two:
            round_ = Fields(dict(signed.body), signed.kind).integer("round", 1)
            await self._offending.accuse("equivocation", round_, two.member, [two.first, two.second])
        except FormatError as refused:
            self._refused(signed, refused)
        return True

    def _refused(self, signed: Signed, why: FormatError) -> None:
        self._desk.metrics.refused.labels("copied").inc()
        self._log.info("refused", kind=signed.kind, digest=signed.digest, error=str(why))

    # --- own anchors -------------------------------------------------------------------------------------------------

    async def anchor_own(self) -> bool:
        """Anchor this signer's receipted commitments when the coordinator's anchors leave one of them out that counts.

        In the second half of the window, so that the coordinator comes first. Returns whether it was needed.
        """
        plan = self._desk.rounds.last_plan()
        if plan is None or self._desk.coordinates or not self._coordinator_had_time(plan):
            return False
        known = self._desk.rounds.only(plan)
        given = self._desk.rounds.receipts(plan.body.round, signer=self._seat.address)
        mine = {receipt.body.commitment for receipt in given if receipt.body.commitment in known}
        if not mine or mine <= await self._on_chain(plan):
            return False
        digests = tuple(sorted(mine))
        root = hex32(anchor_root([digest_bytes(d) for d in digests]))
        body = Anchor(self._seat.campaign, plan.body.round, plan.body.deadline_s, digests, root).to_body()
        signed = self._seat.promise(f"anchor/{plan.body.round}", Anchor.KIND, body)
        self._seat.keep(signed, self._seat.address, round_=plan.body.round)
        anchor = Anchor.from_body(signed.body)
        call = self._seat.run.oracle.make_call(
            "anchorRound", anchor.round, anchor.deadline, digest_bytes(anchor.root), 0, bytes(32)
        )  # fmt: skip
        receipt = await in_thread(lambda: self._seat.run.chain.send(call, gas=_ANCHOR_GAS))
        self._log.warning("anchored on its own", round=plan.body.round, block=receipt.block_number)
        return True

    def _coordinator_had_time(self, plan: Doc[Plan]) -> bool:
        """Half of the window or some blocks, but early enough to be mined within it."""
        body = plan.body
        half_ms = max((body.commit_by_ms + body.anchor_by_ms) // 2, body.commit_by_ms + _COORDINATOR_FIRST_MS)
        return min(half_ms, body.anchor_by_ms - _LAST_CALL_MS) <= self._seat.now_ms() < body.anchor_by_ms

    async def _on_chain(self, plan: Doc[Plan]) -> set[str]:
        """Commitments under roots that the latest block has, and that everybody can make something of."""
        anchors, oracle = self._desk.rounds.explained(plan), self._seat.run.oracle

        def ask() -> set[str]:
            found: set[str] = set()
            for anchor in anchors:
                if oracle.is_anchored(plan.body.round, plan.body.deadline_s, digest_bytes(anchor.body.root)):
                    found.update(anchor.body.commitments)
            return found

        return await in_thread(ask)


def _read_entry(f: Fields) -> tuple[int, Signed]:
    return f.integer("seq", 1), Signed.from_json(f.take("document"))
