"""Typed reading of the documents that this signer keeps, by round: plans, commitments, receipts, anchors, records.

Documents were verified when they came in (`oracle.intake`), so reading parses and does not verify again. Parsed bodies
are cached by digest: a document never changes.
"""

import json
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from commonweight.protocol.canonical import dumps
from commonweight.protocol.documents import Signed
from commonweight.protocol.fields import digest_bytes, hex32
from commonweight.protocol.records import Anchor, Commitment, Plan, Receipt, Record, Result, Verdict
from commonweight.protocol.structure import Previous, receipt_in_time
from oracle.db import Database, Row

B = TypeVar("B", Plan, Commitment, Receipt, Result, Anchor, Record, Verdict)
_CACHED, _TIPS = 64 << 20, 16
"""Bytes of signed documents that are held parsed, which take five times as much again, and how many lineups are."""
_DIFFERS, _LINEUP = "differs/", "lineup"


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
    """A coordinator, and from which round on its plans can begin the term."""

    coordinator: str
    since: int


@dataclass(frozen=True)
class Lineup:
    """What the rounds up to a record have come to: how many of them made a checkpoint, and the digest of each member's
    last counted commitment.
    """

    made: int
    last: Mapping[int, str]

    def dump(self) -> str:
        """As text, for `load`."""
        return dumps({"made": self.made, "last": {str(index): digest for index, digest in self.last.items()}}).decode()

    @classmethod
    def load(cls, text: str) -> "Lineup":
        """What `dump` gave."""
        body = json.loads(text)
        return cls(body["made"], {int(index): digest for index, digest in body["last"].items()})


class Rounds:
    """The rounds as this signer knows them, by the terms of the coordinators that it follows or has followed.

    A round belongs to the last term that has begun by then: what an earlier coordinator plans or records from there on
    counts for nothing, so that one which was replaced stops nobody.
    """

    def __init__(self, db: Database, *coordinators: str) -> None:
        """`coordinators` (lower case), oldest first; the last is in charge. Those known from before need no name."""
        self._db = db
        self._cache: OrderedDict[tuple[bytes, str], tuple[object, int]] = OrderedDict()
        self._cached = 0
        self._lines: dict[str, dict[int, str]] = {}
        self._lineups: OrderedDict[str, Lineup] = OrderedDict()
        if (kept_lineup := db.get_meta(_LINEUP)) is not None:
            digest, _, text = kept_lineup.partition(" ")
            self._lineups[digest] = Lineup.load(text)
        kept = (text.partition(":") for text in (db.get_meta("coordinators") or "").split())
        self._terms = [Term(name, int(since or 1)) for name, _, since in kept]
        known = tuple(term.coordinator for term in self._terms)
        shared = next(n for n in range(len(coordinators), -1, -1) if known[len(known) - n :] == coordinators[:n])
        if new := coordinators[shared:]:
            self._begin(new)

    def _begin(self, coordinators: Sequence[str]) -> None:
        """Follow others from here on. What they had signed before was refused, so that all logs are read again.

        A term begins behind the rounds that this signer has signed reports on, and behind the first one recorded in the
        term before.
        """
        first = next((first for _, first in reversed(self._begun())), 1)
        since = max(self._db.last_reported() + 1, first + (self.record(first) is not None))
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
        """With which round a term would begin: that of the coordinator's first plan in it."""
        return self._db.first_round(Plan.KIND, term.coordinator, term.since)

    def _begun(self) -> list[tuple[Term, int]]:
        """The terms that have begun and their first rounds, both ascending. A later one ends all before it."""
        found: list[tuple[Term, int]] = []
        for term in reversed(self._terms):
            first = self._first(term)
            if first is not None and (not found or first < found[-1][1]):
                found.append((term, first))
        return found[::-1]

    def whose(self, round_: int) -> str | None:
        """In whose term a round is."""
        for term in reversed(self._terms):
            first = self._first(term)
            if first is not None and first <= round_:
                return term.coordinator
        return None

    def fits(self, plan: Plan, coordinator: str) -> bool | None:
        """Whether a plan can stand: behind the one that its coordinator made last, and due later. The first plan of who
        takes over: where all is known that it goes on from, whatever else is missing: that is passed over, and which
        terms there were before is settled. True for what is before its term, too; None where something is missing that
        may still come. Were a round left without a plan, nothing that goes round by round would ever pass it.
        """
        place = max(n for n, term in enumerate(self._terms) if term.coordinator == coordinator)
        term, round_ = self._terms[place], plan.round
        first = self._first(term)
        if first is not None and term.since <= round_ < first:
            return False
        ended = [begun for later in self._terms[place + 1 :] if (begun := self._first(later)) is not None]
        if first is None and round_ < min(ended, default=0):
            return False  # a term that had not begun when it ended would begin now
        own = first is not None and round_ > first
        if first is None and place > 0:
            return self.is_whole(plan.previous_record) or None
        before = self._plan(round_ - 1, coordinator) if own else self.plan(round_ - 1)
        if own and before is not None and before.body.commit_by_ms >= plan.commit_by_ms:
            return False
        return True if round_ == 1 or before is not None else None

    # --- who sees the same -------------------------------------------------------------------------------------------

    def differ(self, peer: str, coordinator: str, round_: int) -> None:
        """Note that another signer holds a plan or record of this round by a coordinator that cannot stand here."""
        key = _DIFFERS + f"{peer}/{coordinator}"
        if round_ < int(self._db.get_meta(key) or round_ + 1):
            self._db.set_meta(key, str(round_))

    def agreed(self, record: Doc[Record], signers: Collection[str], quorum: int) -> bool:
        """Whether enough signers in office can see a record's round as this one does, without the coordinator that
        signed it: it may have told each of them something else. Who was not heard to differ is taken to agree.
        """
        lowest = {peer: int(self._db.get_meta(_DIFFERS + f"{peer}/{record.signer}") or 2**53) for peer in signers}
        others = {peer for peer, round_ in lowest.items() if round_ <= record.body.round} - {record.signer}
        return not others or len(set(signers) - others - {record.signer}) >= quorum

    # --- one document ------------------------------------------------------------------------------------------------

    def _open(self, kind: type[B], row: Row) -> Doc[B]:
        key = (row.digest, row.signer)
        if (known := self._known(kind, key)) is not None:
            return known
        signed = Signed.from_bytes(row.signed)
        doc = Doc(kind.from_body(signed.body), signed, row.signer, row.received_ms)
        self._cached += len(row.signed) - self._cache.pop(key, (None, 0))[1]
        self._cache[key] = doc, len(row.signed)
        while self._cached > _CACHED:
            self._cached -= self._cache.popitem(last=False)[1][1]
        return doc

    def _known(self, kind: type[B], key: tuple[bytes, str]) -> Doc[B] | None:
        known, _ = self._cache.get(key, (None, 0))
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
        coordinator = self.whose(round_)
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
        coordinator = self.whose(round_)
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
        """Commitments to a plan that at least one signer has receipted in time, by digest, of one member or of all."""
        known = self.commitments(plan, member=member)
        given = (r.body for r in self.receipts(plan.body.round, member=member))
        named = {receipt.commitment for receipt in given if receipt_in_time(receipt, plan.body)}
        return {digest: c for digest, c in known.items() if digest in named}

    def only(self, plan: Doc[Plan]) -> dict[str, Doc[Commitment]]:
        """The receipted commitments of members that have made no other one to a plan, by digest: what is anchored. Who
        has made two is refused in any case, and others may lack one of them, and would make nothing of the anchor.
        """
        made = Counter(commitment.body.index for commitment in self.commitments(plan).values())
        return {digest: c for digest, c in self.receipted(plan).items() if made[c.body.index] == 1}

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
        record (or there is none), or whoever took over has begun from an earlier record. False while that is not known.
        """
        record, following = self.record(number), self.plan(number + 1)
        digest = None if record is None else record.digest
        if following is not None and following.body.previous_record != digest:
            return True
        later = next(((term, first) for term, first in self._begun() if first > number), None)
        plan = None if later is None else self._plan(later[1], later[0].coordinator)
        return plan is not None and self._goes_on_from(plan, number, digest) is False

    def _goes_on_from(self, plan: Doc[Plan], number: int, digest: str | None) -> bool | None:
        """Whether a record of a round is among those that a plan goes on from; None while that cannot be told."""
        line = self._lines.get(plan.digest)
        if line is None:
            line, first = {}, plan.body.previous_record is None
            for record in self.lineage(plan.body.previous_record):
                line[record.body.round] = record.digest
                first = self._is_first(record)
            if first:
                self._lines[plan.digest] = line
            elif number not in line and min(line, default=number) >= number:
                return None  # the way down there has a gap, which may be filled yet
        return digest is not None and line.get(number) == digest

    def is_whole(self, digest: str | None) -> bool:
        """Whether a record and all that it goes on from are known here, down to the first."""
        return digest is None or any(self._is_first(record) for record in self.lineage(digest))

    def previous_counted(self, index: int, plan: Plan) -> Previous | None:
        """A member's last commitment that is counted in what a plan goes on from: its next trace has to continue it."""
        commitment = self.lineup(plan.previous_record).last.get(index)
        found = None if commitment is None else self.by_digest(Commitment, commitment)
        return None if found is None else (found.digest, found.body)

    def lineup(self, digest: str | None) -> Lineup:
        """What the rounds up to a record have come to, as far as they are known here; of the last one that was whole it
        is kept on disk, so that a start reads no record of the past.
        """
        walked, made, last = list[Doc[Record]](), 0, dict[int, str]()
        whole = digest is None
        for record in self.lineage(digest):
            if (kept := self._lineups.get(record.digest)) is not None:
                made, last, whole = kept.made, dict(kept.last), True
                break
            walked.append(record)
            whole = self._is_first(record)
        for record in reversed(walked):
            made += bool(record.body.counted)
            last |= {entry.index: entry.commitment for entry in record.body.counted}
        found = Lineup(made, last)
        if whole and digest is not None and walked:
            self._lineups[digest] = found
            self._db.set_meta(_LINEUP, f"{digest} {found.dump()}")
            if len(self._lineups) > _TIPS:
                self._lineups.popitem(last=False)
        return found

    def _is_first(self, record: Doc[Record]) -> bool:
        """Whether a record goes on from none."""
        plan = self.by_digest(Plan, record.body.plan)
        return plan is not None and plan.body.previous_record is None

    def finalized_roots(self, round_: int) -> set[bytes]:
        """Roots that the finalised chain has for a round's own deadline."""
        plan = self.plan(round_)
        if plan is None:
            return set()
        rows = self._db.anchors(round_=round_)
        return {a.root for a in rows if a.deadline == plan.body.deadline_s and a.root != bytes(32)}
