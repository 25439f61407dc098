"""The end of a round: who is counted, what the payloads make of the base, and the record that says so.

The canonical result is what the record recomputes to, whoever computes it: reducers' results are not trusted, only
their measurements of links are used. Arithmetic runs in a thread.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from commonweight.errors import OracleError, RuleBroken
from commonweight.exact.round import ReducedPart, apply_parts, reduce_part
from commonweight.protocol.evidence import measured_links
from commonweight.protocol.fields import digest_over
from commonweight.protocol.offences import part_blob
from commonweight.protocol.records import Commitment, Counted, LeftOut, Plan, Record
from commonweight.protocol.structure import WRONG_START, check_trace, counted_tokens
from oracle.checkpoints import Held
from oracle.desk import Desk
from oracle.offending import Offending
from oracle.rounds import Doc
from oracle.seat import in_thread

BELOW, TWO, LOST, LATE, ABSENT, UNANCHORED = (
    "below-minimum", "two-commitments", "payload-missing", "late", "no-commitment", "not-anchored",
)  # fmt: skip


@dataclass(frozen=True)
class Sorted:
    """The members of a plan at the end of a round."""

    counted: tuple[Doc[Commitment], ...]
    refused: tuple[LeftOut, ...]
    missing: tuple[LeftOut, ...]


class Closing:
    """Closes rounds for the coordinator."""

    def __init__(self, desk: Desk, offending: Offending) -> None:
        self._desk = desk
        self._offending = offending
        self._seat = desk.seat

    def complete(self, plan: Doc[Plan], roots: set[bytes]) -> bool:
        """Whether waiting longer would bring nothing: every payload that can count is here, and every part's result of
        the members that reduce.
        """
        reduced = {result.body.part for result in self._desk.rounds.results(plan)}
        if plan.body.reducers and len(reduced) < plan.body.parts:
            return False
        offenders = {row.member for row in self._seat.db.offences()}
        anchored = self._desk.rounds.anchored(plan.body.round, roots).values()
        return all(self._desk.payloads.holds(c.body) for c in anchored if c.body.index not in offenders)

    async def close(self, plan: Doc[Plan], roots: set[bytes]) -> Record:
        """Sign the record of a round and return it; a record that was promised before is returned as it is."""
        slot, number = f"record/{plan.body.round}", plan.body.round
        signed = self._seat.promised(slot)
        if signed is None:
            base = await in_thread(lambda: self._desk.checkpoints.get(plan.body.base, plan.body.base_cid))
            record = await self._build(plan, self.sort(plan, roots, base), base)
            signed = self._seat.promise(slot, Record.KIND, record.to_body())
        self._seat.keep(signed, self._seat.address, round_=number)
        return Record.from_body(signed.body)

    async def check_reducers(self, plan: Doc[Plan], record: Record) -> None:
        """Compute again every part that a reducer has signed; one that is wrong is an offence.

        A result over members whose payloads are not all here cannot be judged here; members report those themselves.
        """
        anchored = {c.body.index: c for c in self._desk.rounds.receipted(plan).values()}
        for result in self._desk.rounds.results(plan):
            body = result.body
            agrees = body.members == tuple(c.index for c in record.counted) and body.digest == record.results[body.part]
            members = tuple(anchored[i] for i in body.members if i in anchored)
            named = digest_over(c.digest for c in members) == body.commitments
            judged = named and all(self._desk.payloads.holds(c.body) for c in members)
            if agrees or not judged:
                continue
            encoded = await in_thread(partial(self._one_part, members, body.part))
            tokens = {c.body.index: counted_tokens(c.body, plan.body, self._seat.config) for c in members}
            reduced = await in_thread(partial(self._reduce, plan.body, body.part, encoded, tokens, members))
            if reduced.digest != body.digest:
                documents = [plan.signed, result.signed, *(c.signed for c in members)]
                blobs = {part_blob(index): data for index, data in encoded.items()}
                await self._offending.accuse(
                    "wrong-reduction", record.round, body.reducer, documents, part=body.part, blobs=blobs
                )  # fmt: skip

    # --- who ---------------------------------------------------------------------------------------------------------

    def sort(self, plan: Doc[Plan], roots: set[bytes], base: Held) -> Sorted:
        """Counted, refused or missing: every member of the plan is exactly one of them."""
        anchored = list(self._desk.rounds.anchored(plan.body.round, roots).values())
        offences = {row.member: row for row in self._seat.db.offences()}
        late = self._seat.db.late(plan.body.round)
        receipted = self._desk.rounds.receipted(plan)
        unanchored = {c.body.index: digest for digest, c in receipted.items()}
        counted, refused, missing = [], [], []
        for index in plan.body.indices:
            own = [c for c in anchored if c.body.index == index]
            digest = own[0].digest if own else unanchored.get(index)  # what was receipted is owed a name
            if index in offences:
                row = offences[index]
                refused.append(LeftOut(index, digest, row.rule, "0x" + row.digest.hex()))
            elif len(own) > 1:
                refused.append(LeftOut(index, digest, TWO, None))
            elif not own and index in unanchored:
                missing.append(LeftOut(index, digest, UNANCHORED, None))
            elif not own:
                missing.append(LeftOut(index, None, LATE if index in late else ABSENT, None))
            elif own[0].digest not in receipted:  # any signer can anchor what nobody has taken in time
                missing.append(LeftOut(index, digest, LATE, None))
            elif not self._continues(own[0].body, plan.body, base):
                refused.append(LeftOut(index, digest, WRONG_START, None))
            elif not self._desk.payloads.holds(own[0].body):
                missing.append(LeftOut(index, digest, LOST, None))
            else:
                counted.append(own[0])
        if len(counted) < plan.body.min_members:
            missing += [LeftOut(c.body.index, c.digest, BELOW, None) for c in counted]
            counted = []
        return Sorted(tuple(counted), tuple(refused), tuple(sorted(missing, key=lambda m: m.index)))

    def _continues(self, commitment: Commitment, plan: Plan, base: Held) -> bool:
        """Whether a trace starts from the base with the member's last counted state, or with zeros."""
        previous = self._desk.rounds.previous_counted(commitment.index, plan)
        try:
            check_trace(commitment, base.checkpoint.weights_digest, self._seat.config, previous)
        except RuleBroken:
            return False
        return True

    # --- what --------------------------------------------------------------------------------------------------------

    async def _build(self, plan: Doc[Plan], members: Sorted, base: Held) -> Record:
        results = [result.body for result in self._desk.rounds.results(plan)]
        try:
            counted, reduced, held = await in_thread(lambda: self._compute(plan, members.counted, base))
        except PayloadLostError as lost:
            self._seat.db.drop_payloads(plan.body.round, lost.member)
            raise
        return Record(
            run=self._seat.campaign, round=plan.body.round, epoch=plan.body.epoch, plan=plan.digest,
            base=plan.body.base, counted=counted, refused=members.refused, missing=members.missing,
            results=tuple(part.digest for part in reduced), checkpoint=held.sha256, checkpoint_cid=held.cid,
            links=measured_links(results, {c.index for c in counted}) if counted else (),
        )  # fmt: skip

    def _compute(
        self, plan: Doc[Plan], members: tuple[Doc[Commitment], ...], base: Held
    ) -> tuple[tuple[Counted, ...], tuple[ReducedPart, ...], Held]:
        """Blocks: reads payloads, publishes them, reduces every part and makes the checkpoint."""
        payloads = {c.body.index: self._parts(c.body) for c in members}
        if not payloads:
            return (), (), base
        config = self._seat.config
        tokens = {c.body.index: counted_tokens(c.body, plan.body, config) for c in members}
        counted = tuple(
            Counted(
                c.body.index, c.digest, c.body.steps, tokens[c.body.index], c.body.payload,
                self._desk.payloads.publish(payloads[c.body.index]),
            )
            for c in members
        )  # fmt: skip
        reduced = tuple(
            self._reduce(plan.body, part, {i: parts[part] for i, parts in payloads.items()}, tokens, members)
            for part in range(plan.body.parts)
        )
        after = apply_parts(config, base.checkpoint, [part.x for part in reduced])
        held = self._desk.checkpoints.make(plan.body.round, plan.body.base, plan.digest, after)
        return counted, reduced, held

    def _reduce(
        self, plan: Plan, part: int, encoded: Mapping[int, bytes], tokens: Mapping[int, int],
        members: tuple[Doc[Commitment], ...],
    ) -> ReducedPart:  # fmt: skip
        norms2 = {c.body.index: c.body.parts[part].norm2 for c in members}
        reduced = reduce_part(self._seat.config, plan, self._seat.numel, part, encoded, tokens, norms2)
        self._desk.files.put(reduced.encoded)
        return reduced

    def _parts(self, commitment: Commitment) -> tuple[bytes, ...]:
        return self._held(commitment, tuple(part.digest for part in commitment.parts))

    def _one_part(self, members: Iterable[Doc[Commitment]], part: int) -> dict[int, bytes]:
        """A part of each of these members, encoded."""
        return {c.body.index: self._held(c.body, (c.body.parts[part].digest,))[0] for c in members}

    def _held(self, commitment: Commitment, digests: tuple[str, ...]) -> tuple[bytes, ...]:
        held = self._desk.payloads.read(digests)
        if held is None:
            raise PayloadLostError(commitment.round, commitment.index)
        return held


class PayloadLostError(OracleError):
    """A payload that was held is gone from the disk or damaged: the round is closed without it."""

    def __init__(self, round_: int, member: int) -> None:
        super().__init__(f"a payload of provider {member} for round {round_} is gone from this signer's disk")
        self.args = (round_, member)
        self.member = member
