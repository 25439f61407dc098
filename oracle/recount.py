"""Every record recomputed: payloads fetched by CID, checked against their commitments, reduced, stepped, compared.

A signer credits nothing from a round before it has recomputed it bit for bit. What it finds about members (a trace that
does not continue the member's last, a payload that is not what was committed to) goes into verdicts of kind structure;
so does what becomes of payloads that are like others (oracle.judging).
"""

import contextlib
from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt

from commonweight.errors import ContentUnavailable, FormatError, ReplayMismatch, RuleBroken, StoreError
from commonweight.exact.copies import Copy, Shown, coordinates, copies, sampled
from commonweight.exact.payload import check_part, split_payload
from commonweight.exact.round import recompute_round
from commonweight.protocol.canonical import sha256_hex
from commonweight.protocol.fields import digest_over
from commonweight.protocol.parts import part_ranges
from commonweight.protocol.records import Commitment, Counted, Plan, Record
from commonweight.protocol.structure import check_record, check_trace, receipt_in_time
from commonweight.store import parse_cid
from oracle.desk import Desk
from oracle.logs import logger
from oracle.rounds import Doc
from oracle.seat import in_thread
from oracle.uploads import Uploads

OK, WRONG, LOST = "ok", "wrong", "lost"
_SLACK = 1 << 20


class Recount:
    """Recomputes rounds in order, each once; the result is kept as `recount/R` in the database."""

    def __init__(self, desk: Desk, uploads: Uploads) -> None:
        self._desk = desk
        self._uploads = uploads
        self._seat = desk.seat
        self._log = logger("recount")

    def result(self, round_: int) -> str | None:
        """`ok`, `wrong`, `lost` (no record goes on from it), or None while the round has not been recomputed.

        What was right is lost when whoever took over goes on from earlier, or has planned the round anew.
        """
        verdict, _, digest = (self._seat.db.get_meta(f"recount/{round_}") or "").partition(" ")
        if verdict == OK:
            record = self._desk.rounds.record(round_)
            counts = record is not None and record.digest == digest and not self._desk.rounds.passed_over(round_)
            return OK if counts else LOST
        return verdict or None

    def findings(self, round_: int) -> dict[int, str]:
        """What is wrong with members of a recomputed round: index -> reason."""
        text = self._seat.db.get_meta(f"findings/{round_}") or ""
        return {int(line.split(" ", 1)[0]): line.split(" ", 1)[1] for line in text.splitlines()}

    def alike(self, round_: int) -> dict[int, Copy]:
        """Members of a recomputed round whose payload is like another, by index: a doubt, and no finding yet."""
        text = self._seat.db.get_meta(f"alike/{round_}") or ""
        found = [[int(word) for word in line.split()] for line in text.splitlines()]
        return {index: Copy(other, number) for index, other, number in found}

    async def step(self) -> bool:
        """Recompute the next round whose record is anchored on the finalised chain. Returns whether there was one.

        A payload that cannot be had yet leaves the round for later.
        """
        number = int(self._seat.db.get_meta("recounted") or "0") + 1
        record, plan = self._desk.rounds.record(number), self._desk.rounds.plan(number)
        anchored = self._desk.rounds.anchored_record(number)
        if self._desk.rounds.passed_over(number):
            self._log.warning("a round was passed over", round=number)
            self._settle(number, {}, LOST)
            return True
        if record is None or plan is None or not self._seat.db.record_anchors(number):
            return False
        if self._desk.view.finalized.timestamp * 1000 < plan.body.anchor_by_ms:
            return False  # nothing can be said yet of what is anchored: no honest record comes so early
        if anchored is None and self._desk.rounds.anchored_record(number + 1) is None:
            return False  # a hash whose record nobody has may be anybody's: the coordinator's own is still to come
        if anchored is None:
            self._log.warning("another record is anchored", round=number)
            self._settle(number, {}, WRONG)
            return True
        try:
            roots = self._desk.rounds.finalized_roots(number)
            findings = await self._recompute(plan, record, set(self._desk.rounds.anchored(number, roots)))
            alike = await self._copies(plan, record)
            verdict = OK
        except StoreError as missing:
            self._log.warning("payload not to be had, asking its members", round=number, error=str(missing))
            await self._pull(record)
            return False
        except FormatError as wrong:  # RuleBroken and PayloadError too
            findings, alike, verdict = {}, {}, WRONG
            self._alarm(number, str(wrong))
        except ReplayMismatch as wrong:
            findings, alike, verdict = {}, {}, WRONG
            self._alarm(number, str(wrong))
        self._settle(number, findings, verdict, alike)
        return True

    def _settle(
        self, number: int, findings: Mapping[int, str], verdict: str, alike: Mapping[int, Copy] | None = None
    ) -> None:
        doubts = [f"{i} {copy.index} {copy.round}" for i, copy in (alike or {}).items() if i not in findings]
        with self._seat.db.transaction():
            self._seat.db.set_meta(f"alike/{number}", "\n".join(doubts))
            self._seat.db.set_meta(f"findings/{number}", "\n".join(f"{i} {why}" for i, why in findings.items()))
            record = self._desk.rounds.record(number)
            self._seat.db.set_meta(f"recount/{number}", f"{verdict} {record.digest}" if record else verdict)
            self._seat.db.set_meta("recounted", str(number))
        self._desk.bell.ring()

    def _alarm(self, number: int, why: str) -> None:
        self._desk.metrics.failures.labels("recount").inc()
        self._log.error("a record is wrong", round=number, error=why)

    async def holds(self, plan: Doc[Plan], record: Doc[Record], roots: set[bytes]) -> bool | None:
        """Whether a record follows from its payloads and counts what is anchored under these roots, though the chain
        may not have it yet; None while something that it needs cannot be had. One that does has its checkpoint here.
        """
        if not {entry.commitment for entry in record.body.counted} <= set(self._desk.rounds.commitments(plan)):
            return None
        try:
            await self._recompute(plan, record, set(self._desk.rounds.anchored(plan.body.round, roots)))
        except StoreError as missing:
            self._log.warning("payload not to be had, asking its members", round=plan.body.round, error=str(missing))
            await self._pull(record)
            return None
        except (FormatError, ReplayMismatch) as wrong:
            self._alarm(plan.body.round, str(wrong))
            return False
        return True

    async def _recompute(self, plan: Doc[Plan], record: Doc[Record], anchored: Collection[str]) -> dict[int, str]:
        """Raises when the record is wrong; returns what is wrong with its members."""
        rounds, body = self._desk.rounds, record.body
        commitments = {digest: c.body for digest, c in rounds.commitments(plan).items()}
        check_record(body, plan.body, plan.digest, self._seat.config, commitments, anchored)
        base = await in_thread(lambda: self._desk.checkpoints.get(plan.body.base, plan.body.base_cid))
        findings: dict[int, str] = {}
        for entry in body.counted:
            previous = rounds.previous_counted(entry.index, plan.body)
            try:
                check_trace(
                    commitments[entry.commitment], base.checkpoint.weights_digest, self._seat.config, previous
                )  # fmt: skip
            except FormatError as wrong:
                findings[entry.index] = wrong.what
        if not body.counted:
            return findings

        def compute() -> None:
            payloads = {e.index: self._payload(plan.body, e, commitments[e.commitment]) for e in body.counted}
            outcome = recompute_round(self._seat.config, plan.body, body, base.checkpoint, payloads)
            for part in outcome.parts:
                self._desk.files.put(part.encoded)
            held = self._desk.checkpoints.make(body.round, plan.body.base, plan.digest, outcome.checkpoint)
            if held.sha256 != body.checkpoint:
                raise ReplayMismatch(f"The checkpoint of round {body.round} is not what its record recomputes to")
            self._desk.checkpoints.require_at(held.sha256, body.checkpoint_cid, held.cid)

        await in_thread(compute)
        return findings

    async def _copies(self, plan: Doc[Plan], record: Doc[Record]) -> Mapping[int, Copy]:
        """Counted payloads that are too like another's, or an older one's of the rounds that the configuration names.

        An older payload that is gone is passed over.
        """
        number, at = plan.body.round, coordinates(record.digest, self._seat.numel)
        first = max(1, number - self._seat.config.verification.copy_window)
        earlier = [n for n in range(first, number) if self.result(n) == OK]
        old, new = [work for n in earlier for work in self._counted(n)], self._counted(number)

        def find() -> Mapping[int, Copy]:
            before = []
            for work in old:
                with contextlib.suppress(ContentUnavailable):
                    before.append(self._shown(work, at))
            return copies([self._shown(work, at) for work in new], before, self._seat.config)

        return await in_thread(find)

    def _counted(self, number: int) -> list[tuple[Plan, Counted, Commitment, int]]:
        """Plan, entry, commitment and first receipt (2^53 without one in time) of everyone counted in a round."""
        rounds, plan, record = self._desk.rounds, self._desk.rounds.plan(number), self._desk.rounds.record(number)
        if plan is None or record is None:
            return []
        receipts = [r.body for r in rounds.receipts(number) if receipt_in_time(r.body, plan.body)]
        found = []
        for entry in record.body.counted:
            commitment = rounds.by_digest(Commitment, entry.commitment)
            first = min((r.received_ms for r in receipts if r.commitment == entry.commitment), default=2**53)
            if commitment is not None:
                found.append((plan.body, entry, commitment.body, first))
        return found

    def _shown(self, work: tuple[Plan, Counted, Commitment, int], at: npt.NDArray[np.int64]) -> Shown:
        """A counted payload at the sampled coordinates. Blocks."""
        plan, entry, commitment, first = work
        sample = sampled(self.payload(plan, entry, commitment), plan, self._seat.numel, at)
        return Shown(commitment, entry.commitment, first, sample)

    async def _pull(self, record: Doc[Record]) -> None:
        """Ask the members themselves for payloads that the store does not have."""
        for entry in record.body.counted:
            commitment = self._desk.rounds.by_digest(Commitment, entry.commitment)
            if commitment is not None and not self._desk.payloads.holds(commitment.body):
                await self._uploads.pull(commitment.body)

    def payload(self, plan: Plan, entry: Counted, commitment: Commitment) -> tuple[bytes, ...]:
        """A counted member's parts, from this disk or the store, that are what the record counts. Blocks.

        Raises StoreError when they cannot be had, FormatError when the record's CID is of something else.
        """
        held = self._desk.payloads.read(tuple(part.digest for part in commitment.parts))
        if held is None:
            data = self._seat.store.get(parse_cid(entry.payload_cid), max_bytes=8 * self._seat.numel + _SLACK)
            held = split_payload(data, self._seat.numel, plan.parts, plan.codec, plan.block)
        if digest_over(sha256_hex(part) for part in held) != entry.payload:
            raise _misnamed(entry, plan)
        return held

    def _payload(self, plan: Plan, entry: Counted, commitment: Commitment) -> tuple[bytes, ...]:
        """The same, checked part by part against the commitment, norms too, and in this signer's store, too. Blocks.

        Whether the record names it by its CID must not depend on where it came from: all signers have to find the same.
        """
        held = self.payload(plan, entry, commitment)
        for span, part, committed in zip(
            part_ranges(self._seat.numel, plan.block, plan.parts), held, commitment.parts, strict=True
        ):
            check_part(part, span.size, plan.codec, plan.block, committed)
        if self._desk.payloads.publish(held) != entry.payload_cid:
            raise _misnamed(entry, plan)
        return held


def _misnamed(entry: Counted, plan: Plan) -> RuleBroken:
    """A record names something else than a counted payload by its CID: nobody could ever find the payload by it."""
    why = f"round {plan.round} names {entry.payload_cid or 'nothing'}"
    return RuleBroken("wrong-entry", f"The payload of provider {entry.index} is not what the record names", why)
