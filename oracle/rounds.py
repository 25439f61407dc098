"""Typed reading of the documents that this signer keeps, by round: plans, commitments, receipts, anchors, records.

Documents were verified when they came in (`oracle.intake`), so reading parses and does not verify again. Parsed bodies
are cached by digest: a document never changes.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
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


@dataclass(frozen=True)
class Term:
    """A coordinator, and from which round on it could plan: the one after the last record that was on chain then."""

    coordinator: str
    since: int


class Rounds:
    """The rounds as this signer knows them, by the terms of the coordinators that it follows or has followed.

    A round belongs to the last term that has begun by then: what an earlier coordinator plans or records from there on
    counts for nothing, so that one which was replaced stops nobody.
    """

    def __init__(self, db: Database, *coordinators: str) -> None:
        """`coordinators` (lower case), oldest first; the last is in charge. Those known from before need no name."""
        self._db = db
        self._cache: OrderedDict[tuple[bytes, str], object] = OrderedDict()
        self._lines: dict[str, frozenset[str]] = {}
        kept = (text.split(":") for text in (db.get_meta("coordinators") or "").split())
        self._terms = [Term(name, int(since)) for name, since in kept]
        known = tuple(term.coordinator for term in self._terms)
        shared = next(n for n in range(len(coordinators), -1, -1) if known[len(known) - n :] == coordinators[:n])
        if new := coordinators[shared:]:
            self._begin(new)

    def _begin(self, coordinators: Sequence[str]) -> None:
        """Follow others from here on. What they had signed before was refused, so that all logs are read again."""
        last = self._db.last_round(Record.KIND)
        since = next((number + 1 for number in range(last, 0, -1) if self.anchored_record(number) is not None), 1)
        self._terms += [Term(name, since) for name in coordinators]
        with self._db.transaction():
            self._db.set_meta("coordinators", " ".join(f"{term.coordinator}:{term.since}" for term in self._terms))
            self._db.read_logs_again()

    # --- whose rounds ------------------------------------------------------------------------------------------------

    @property
    def coordinator(self) -> str:
        """Who is in charge (lower case)."""
        return self._terms[-1].coordinator

    def follows(self, signer: str) -> bool:
        """Whether plans and records by this signer count, or have counted."""
        return any(term.coordinator == signer for term in self._terms)

    def _first(self, term: Term) -> int | None:
        """With which round a term has begun: that of the coordinator's first plan in it."""
        return self._db.first_round(Plan.KIND, term.coordinator, term.since)

    def _who(self, round_: int) -> str | None:
        """In whose term a round is."""
        for term in reversed(self._terms):
            first = self._first(term)
            if first is not None and first <= round_:
                return term.coordinator
        return None

    def fits(self, round_: int, coordinator: str) -> bool | None:
        """Whether a coordinator can plan this round next: it follows the one that it has planned last, or for the first
        of its term any that has a plan. True for what is before its term, too; None where a plan is missing that may
        still come. Were a round left without a plan, nothing that goes round by round would ever pass it.
        """
        term = next(term for term in reversed(self._terms) if term.coordinator == coordinator)
        first = self._first(term)
        if first is not None and term.since <= round_ < first:
            return False
        own = first is not None and round_ > first
        before = self._plan(round_ - 1, coordinator) if own else self.plan(round_ - 1)
        return True if round_ == 1 or before is not None else None

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
        """The plan of a round, by the coordinator in whose term it is."""
        coordinator = self._who(round_)
        return None if coordinator is None else self._plan(round_, coordinator)

    def _plan(self, round_: int, coordinator: str) -> Doc[Plan] | None:
        return next(iter(self._all(Plan, round_, signer=coordinator)), None)

    def last_plan(self) -> Doc[Plan] | None:
        """The newest plan: of the coordinator in charge, or while it has none of the one before."""
        for term in reversed(self._terms):
            if self._first(term) is not None:
                return self._plan(self._db.last_round(Plan.KIND, term.coordinator), term.coordinator)
        return None

    def record(self, round_: int) -> Doc[Record] | None:
        """The record of a round, by the coordinator in whose term it is."""
        coordinator = self._who(round_)
        return None if coordinator is None else next(iter(self._all(Record, round_, signer=coordinator)), None)

    def anchored_record(self, round_: int) -> Doc[Record] | None:
        """The same if its digest is on chain. What else was anchored for the round, by whomever, is not looked at."""
        record = self.record(round_)
        hashes = {hex32(anchor.record_hash) for anchor in self._db.record_anchors(round_)}
        return record if record is not None and record.digest in hashes else None

    def last_record(self) -> Doc[Record] | None:
        """The newest record, up to the newest plan."""
        last = self.last_plan()
        numbers = range(0 if last is None else last.body.round, 0, -1)
        return next((record for number in numbers if (record := self.record(number)) is not None), None)

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

    def lineage(self, digest: str | None) -> Iterator[Doc[Record]]:
        """The record with this digest and those that it goes on from, newest first, as far as they are known here."""
        while digest is not None and (record := self.by_digest(Record, digest)) is not None:
            yield record
            plan = self.by_digest(Plan, record.body.plan)
            digest = None if plan is None else plan.body.previous_record

    def passed_over(self, number: int) -> bool:
        """Whether the rounds go on from earlier than this one: the next plan is of the same coordinator without this
        record (or there is none), or whoever took over has begun from an earlier record.
        """
        record, following = self.record(number), self.plan(number + 1)
        digest = None if record is None else record.digest
        if following is not None and following.body.previous_record != digest:
            return True
        begun = [(first, term) for term in self._terms if (first := self._first(term)) is not None and first > number]
        later = None if not begun else self._plan(begun[0][0], begun[0][1].coordinator)
        return later is not None and digest not in self._line(later)

    def _line(self, plan: Doc[Plan]) -> frozenset[str]:
        """The digests of the records that a term's first plan goes on from."""
        known = self._lines.get(plan.digest)
        if known is None:
            line = list(self.lineage(plan.body.previous_record))
            known = frozenset(record.digest for record in line)
            if line and (last := self.by_digest(Plan, line[-1].body.plan)) and last.body.previous_record is None:
                self._lines[plan.digest] = known  # to the beginning: there is nothing to come
        return known

    def previous_counted(self, index: int, plan: Plan) -> Previous | None:
        """A member's last commitment that is counted in what a plan goes on from: its next trace has to continue it."""
        for record in self.lineage(plan.previous_record):
            entry = record.body.counted_member(index)
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
