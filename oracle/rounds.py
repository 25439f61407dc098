"""Typed reading of the documents that this signer keeps, by round: plans, commitments, receipts, anchors, records.

Documents were verified when they came in (`oracle.intake`), so reading parses and does not verify again. Parsed bodies
are cached by digest: a document never changes.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

from commonweight.protocol.documents import Signed
from commonweight.protocol.fields import digest_bytes, hex32
from commonweight.protocol.records import Anchor, Commitment, Plan, Receipt, Record, Result, Verdict
from commonweight.protocol.structure import Previous
from oracle.db import Database, Row

B = TypeVar("B", Plan, Commitment, Receipt, Result, Anchor, Record, Verdict)
_CACHED = 4096


@dataclass(frozen=True)
class Doc(Generic[B]):
    """A verified document: its body, the signed form, and who signed it (lower-case address)."""

    body: B
    signed: Signed
    signer: str
    received_ms: int

    @property
    def digest(self) -> str:
        """The document's name in other documents."""
        return self.signed.digest


class Rounds:
    """The rounds as this signer knows them. `coordinator` (lower case) is whose plans and records are followed;
    `followed` has the earlier ones too.
    """

    def __init__(self, db: Database, coordinator: str) -> None:
        self._db = db
        self.coordinator = coordinator
        self.followed = frozenset((db.get_meta("coordinators") or "").split()) | {coordinator}
        db.set_meta("coordinators", " ".join(sorted(self.followed)))
        self._cache: OrderedDict[tuple[bytes, str], object] = OrderedDict()

    # --- one document ------------------------------------------------------------------------------------------------

    def _open(self, kind: type[B], row: Row) -> Doc[B]:
        key = (row.digest, row.signer)
        if (known := self._known(kind, key)) is not None:
            return known
        signed = Signed.from_bytes(row.signed)
        doc = Doc(kind.from_body(signed.body), signed, row.signer, row.received_ms)
        self._cache[key] = doc
        if len(self._cache) > _CACHED:
            self._cache.popitem(last=False)
        return doc

    def _known(self, kind: type[B], key: tuple[bytes, str]) -> Doc[B] | None:
        known = self._cache.get(key)
        if isinstance(known, Doc) and isinstance(known.body, kind):
            self._cache.move_to_end(key)
            return known
        return None

    def _all(self, kind: type[B], round_: int, *, member: int | None = None, signer: str | None = None) -> list[Doc[B]]:
        names = self._db.document_names(kind.KIND, round_=round_, member=member, signer=signer)
        known = [doc for name in names if (doc := self._known(kind, name)) is not None]
        if len(known) == len(names):
            return known
        rows = self._db.documents(kind.KIND, round_=round_, member=member, signer=signer)
        return [self._open(kind, row) for row in rows]

    def by_digest(self, kind: type[B], digest: str) -> Doc[B] | None:
        """The document of this kind with this digest, or None."""
        row = self._db.document(digest_bytes(digest))
        return self._open(kind, row) if row is not None and row.kind == kind.KIND else None

    # --- by round ----------------------------------------------------------------------------------------------------

    def plan(self, round_: int) -> Doc[Plan] | None:
        """The plan of a round: the one that its anchored record names, else the coordinator's, else the first kept."""
        record = self.record(round_)
        if record is not None and (named := self.by_digest(Plan, record.body.plan)) is not None:
            return named
        plans = self._all(Plan, round_)
        return next((p for p in plans if p.signer == self.coordinator), plans[0] if plans else None)

    def last_plan(self) -> Doc[Plan] | None:
        """The plan with the highest round."""
        last = self._db.last_round(Plan.KIND)
        return self.plan(last) if last else None

    def record(self, round_: int) -> Doc[Record] | None:
        """The record of a round: the anchored one if it is known, else the coordinator's, else an earlier one's."""
        anchored = self.anchored_record(round_)
        if anchored is not None:
            return anchored
        records = self._all(Record, round_)
        return next((r for r in records if r.signer == self.coordinator), records[0] if records else None)

    def anchored_record(self, round_: int) -> Doc[Record] | None:
        """The record of this round whose digest was anchored first; None if no such record is known here."""
        named = (self.by_digest(Record, hex32(anchor.record_hash)) for anchor in self._db.record_anchors(round_))
        return next((record for record in named if record is not None and record.body.round == round_), None)

    def last_record(self) -> Doc[Record] | None:
        """The record with the highest round."""
        last = self._db.last_round(Record.KIND)
        return self.record(last) if last else None

    def commitments(self, plan: Doc[Plan], *, member: int | None = None) -> dict[str, Doc[Commitment]]:
        """Commitments to this plan by digest, of one member or of all. A round may have been planned by two
        coordinators, and nothing that follows from one plan has to do with work for the other.
        """
        known = self._all(Commitment, plan.body.round, member=member)
        return {c.digest: c for c in known if c.body.plan == plan.digest}

    def receipts(self, round_: int, *, member: int | None = None, signer: str | None = None) -> list[Doc[Receipt]]:
        """Receipts in the order in which they came, for one member or all, of one signer or of all."""
        return self._all(Receipt, round_, member=member, signer=signer)

    def results(self, plan: Doc[Plan]) -> list[Doc[Result]]:
        """Reducers' signed results by this plan."""
        return [result for result in self._all(Result, plan.body.round) if result.body.plan == plan.digest]

    def anchors(self, round_: int) -> list[Doc[Anchor]]:
        """What signers say that they anchor."""
        return self._all(Anchor, round_)

    def verdicts(self, round_: int, *, member: int | None = None) -> list[Doc[Verdict]]:
        """Signers' verdicts."""
        return self._all(Verdict, round_, member=member)

    # --- what follows from them --------------------------------------------------------------------------------------

    def receipted(self, plan: Doc[Plan], *, member: int | None = None) -> dict[str, Doc[Commitment]]:
        """Commitments to a plan that at least one signer has receipted, by digest, of one member or of all."""
        known = self.commitments(plan, member=member)
        named = {r.body.commitment for r in self.receipts(plan.body.round, member=member)}
        return {digest: c for digest, c in known.items() if digest in named}

    def explained(self, plan: Doc[Plan]) -> list[Doc[Anchor]]:
        """Anchors of a plan's round and deadline all of whose leaves are commitments to it that are known here. Any
        signer can anchor any root; one over leaves that nobody has signed, or for another plan, says nothing, and
        neither does what else is under it.
        """
        known, mine = self.commitments(plan), self.anchors(plan.body.round)
        return [
            anchor
            for anchor in mine
            if anchor.body.deadline == plan.body.deadline_s and all(leaf in known for leaf in anchor.body.commitments)
        ]

    def anchored(self, round_: int, roots: set[bytes]) -> dict[str, Doc[Commitment]]:
        """Commitments to the round's plan under one of the given anchored roots, by digest."""
        plan = self.plan(round_)
        if plan is None:
            return {}
        leaves: set[str] = set()
        for anchor in self.explained(plan):
            if digest_bytes(anchor.body.root) in roots:
                leaves.update(anchor.body.commitments)
        return {digest: c for digest, c in self.commitments(plan).items() if digest in leaves}

    def previous_counted(self, index: int, before: int) -> Previous | None:
        """A member's last counted commitment before a round: what its next trace has to continue."""
        for number in range(before - 1, 0, -1):
            record = self.record(number)
            entry = None if record is None else record.body.counted_member(index)
            if entry is not None:
                found = self.by_digest(Commitment, entry.commitment)
                return None if found is None else (found.digest, found.body)
        return None

    def finalized_roots(self, round_: int) -> set[bytes]:
        """Roots that the finalised chain has for a round's own deadline."""
        plan = self.plan(round_)
        if plan is None:
            return set()
        rows = self._db.anchors(round_=round_)
        return {a.root for a in rows if a.deadline == plan.body.deadline_s and a.root != bytes(32)}
