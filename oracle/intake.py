"""The one door for signed documents, whoever brings them: a member by request, another signer by its log.

What comes through is verified and kept; what is not is refused by name. A document that needs another one first raises
NotYetError, and its bringer tries again later. What a lie proves becomes an offence (`oracle.offending`).
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from commonweight.errors import FormatError, OracleError, RuleBroken, SignatureError
from commonweight.protocol.documents import Signed, recover
from commonweight.protocol.fields import digest_bytes
from commonweight.protocol.records import Anchor, Commitment, Plan, Receipt, Record, Result, Verdict
from commonweight.protocol.structure import check_commitment, check_deadline, check_plan, check_result, receipt_in_time
from oracle.desk import Desk
from oracle.rounds import Doc

N = TypeVar("N", Plan, Commitment)
_BROKEN_MOST = 10_000


class NotYetError(OracleError):
    """A document names another one, or is by a key, that is not known here yet."""


class TwoDocumentsError(OracleError):
    """The same author signed two different documents of which there may be one; `first` and `second` prove it."""

    def __init__(self, member: int, first: Signed, second: Signed) -> None:
        super().__init__(f"Provider {member} signed two different documents of kind {first.kind}")
        self.member = member
        self.first = first
        self.second = second


class OtherPlanError(RuleBroken):
    """A coordinator's plan or record that cannot stand beside what is kept of it: whoever brings it sees another round
    than this signer does.
    """

    def __init__(self, rule: str, what: str, coordinator: str, round_: int) -> None:
        cure = "replace a coordinator that tells different things to different signers: --coordinator NEW, at all"
        super().__init__(rule, what, coordinator, cure)
        self.coordinator = coordinator
        self.round = round_
        self.args = (rule, what, coordinator, round_)


class Intake:
    """Verifies and keeps documents. Everything here is quick and synchronous."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._seat = desk.seat
        self._broken: OrderedDict[str, None] = OrderedDict()
        self._doors: dict[str, Callable[[Signed, str], bool]] = {
            Plan.KIND: self._plan, Receipt.KIND: self._receipt, Result.KIND: self._result, Anchor.KIND: self._anchor,
            Record.KIND: self._record, Verdict.KIND: self._verdict,
        }  # fmt: skip

    def accept(self, signed: Signed, log: str | None = None) -> bool:
        """Verify and keep a document, out of a signer's log or by its author; whether it was new.

        Raises NotYetError, RuleBroken (the rule it breaks), SignatureError or FormatError (it is nobody's, or not of
        its kind), TwoDocumentsError.
        """
        door = self._doors.get(signed.kind)
        if signed.kind == Commitment.KIND:
            door = partial(self._commitment, log=log)
        if door is None:
            raise FormatError("A document of this kind is not taken here", signed.kind[:32])
        signer = recover(signed, self._seat.domain)
        if self._seat.db.has_document(digest_bytes(signed.digest), signer):
            return False
        try:
            new = door(signed, signer)
        except RuleBroken as broken:
            self._remember(signed.digest, broken)
            raise
        if new:
            self._desk.bell.ring()
        return new

    def _remember(self, digest: str, broken: RuleBroken) -> None:
        """Note what is refused for good; not a plan that may still come by whose round it is: others can sign it."""
        theirs = isinstance(broken, OtherPlanError) and broken.coordinator != self._desk.rounds.whose(broken.round)
        if not theirs:
            self._refuse(digest)

    def _refuse(self, digest: str) -> None:
        """What names this document is refused from here on, unless it is kept all the same."""
        self._broken[digest] = None
        if len(self._broken) > _BROKEN_MOST:
            self._broken.popitem(last=False)

    def plan_of(self, digest: str) -> Doc[Plan]:
        """The plan that a document names. Raises NotYetError, or RuleBroken when it was refused."""
        return self._named(Plan, digest, "plan")

    def _named(self, kind: type[N], digest: str, word: str) -> Doc[N]:
        """A document that another one names. What was refused will not come, and with it all that belongs to it."""
        found = self._desk.rounds.by_digest(kind, digest)
        if found is None and digest in self._broken:
            raise RuleBroken("refused-before", f"A document belongs to a {word} that is refused here", digest)
        if found is None:
            raise NotYetError(f"A document names a {word} that is not known here", digest)
        return found

    # --- by kind -----------------------------------------------------------------------------------------------------

    def _plan(self, signed: Signed, signer: str) -> bool:
        self._require_coordinator(signer, "plan")
        plan, params = Plan.from_body(signed.body), self._seat.params
        check_plan(plan, self._seat.config, self._seat.campaign)
        check_deadline(plan, params.epoch_of(plan.deadline_s), params.anchor_window)
        if not 0 <= plan.epoch <= params.last_epoch:
            raise RuleBroken("wrong-deadline", "A plan's deadline is in no epoch of training")
        if self._seat.db.documents(Plan.KIND, round_=plan.round, signer=signer):
            what = f"A second plan of round {plan.round} by its coordinator"
            raise OtherPlanError("equivocation", what, signer, plan.round)
        match self._desk.rounds.fits(plan, signer):
            case None:
                raise NotYetError(
                    f"A plan is of round {plan.round}, and none of the round before is known here", signer,
                    "who comes into office later names all that have coordinated, oldest first: --coordinator OLD,NEW",
                )  # fmt: skip
            case False:
                what = f"Round {plan.round} is in no term of who planned it, or due too early"
                raise OtherPlanError("wrong-round", what, signer, plan.round)
        return self._seat.keep(signed, signer, round_=plan.round)

    def _commitment(self, signed: Signed, signer: str, log: str | None) -> bool:
        commitment = Commitment.from_body(signed.body)
        plan = self.plan_of(commitment.plan)
        self._require_member(signer, commitment.index, "commitment")
        check_commitment(commitment, plan.body, plan.digest, self._seat.config)
        others = list(self._desk.rounds.commitments(plan, member=commitment.index).values())
        with self._seat.db.transaction():
            if len(others) < 2 or self._is_first_of(log, commitment):
                self._seat.keep(signed, signer, round_=commitment.round, member=commitment.index)
            else:
                self._refuse(signed.digest)
        if others:
            raise TwoDocumentsError(commitment.index, others[0].signed, signed)
        return True

    def _is_first_of(self, log: str | None, commitment: Commitment) -> bool:
        """Whether a log brings the first of a member's commitments to a plan that has found no place. Signers give a
        receipt only to the first that they know of, which is the first in their log: all that they anchor has to be
        known here, however many commitments a member has spread. To be asked once for each.
        """
        key = f"brought/{log}/{commitment.plan}/{commitment.index}"
        if log is None or self._seat.db.get_meta(key) is not None:
            return False
        self._seat.db.set_meta(key, "1")
        return True

    def _receipt(self, signed: Signed, signer: str) -> bool:
        self._require_signer(signer, "receipt")
        receipt = Receipt.from_body(signed.body)
        commitment = self._named(Commitment, receipt.commitment, "commitment")
        plan = self.plan_of(commitment.body.plan)
        if (receipt.index, receipt.round) != (commitment.body.index, commitment.body.round):
            raise RuleBroken("wrong-receipt", "A receipt does not fit its commitment")
        if not receipt_in_time(receipt, plan.body):
            raise RuleBroken("late-receipt", "A receipt was given after the deadline")
        if self._seat.db.documents(Receipt.KIND, round_=receipt.round, member=receipt.index, signer=signer):
            raise RuleBroken("equivocation", f"A second receipt for provider {receipt.index} by {signer}")
        return self._seat.keep(signed, signer, round_=receipt.round, member=receipt.index)

    def _result(self, signed: Signed, signer: str) -> bool:
        result = Result.from_body(signed.body)
        plan = self.plan_of(result.plan)
        self._require_member(signer, result.reducer, "result")
        check_result(result, plan.body, plan.digest)
        named = (result.part, result.reducer)
        same = [r for r in self._desk.rounds.results(plan) if (r.body.part, r.body.reducer) == named]
        if same and (same[0].body.members, same[0].body.commitments) == (result.members, result.commitments):
            raise TwoDocumentsError(result.reducer, same[0].signed, signed)
        if same:  # it reduced again with others: the first word stands
            return False
        return self._seat.keep(signed, signer, round_=result.round, member=result.reducer)

    def _anchor(self, signed: Signed, signer: str) -> bool:
        self._require_signer(signer, "anchor")
        anchor = Anchor.from_body(signed.body)
        if anchor.run != self._seat.campaign:
            raise RuleBroken("wrong-run", "An anchor is of another run")
        if not self._seat.db.document_names(Plan.KIND, round_=anchor.round):
            raise NotYetError("An anchor is for a round that is not known here")
        if self._seat.db.documents(Anchor.KIND, round_=anchor.round, signer=signer):
            raise RuleBroken("equivocation", f"A second anchor of round {anchor.round} by {signer}")
        return self._seat.keep(signed, signer, round_=anchor.round)

    def _record(self, signed: Signed, signer: str) -> bool:
        self._require_coordinator(signer, "record")
        record = Record.from_body(signed.body)
        plan = self.plan_of(record.plan)
        if (record.run, record.round) != (self._seat.campaign, plan.body.round):
            raise RuleBroken("wrong-round", "A record does not fit its plan")
        if not self._seat.db.has_document(digest_bytes(plan.digest), signer):
            raise NotYetError("A record is of a plan that its signer is not known to have signed", signer)
        if self._seat.db.documents(Record.KIND, round_=record.round, signer=signer):
            what = f"A second record of round {record.round} by its coordinator"
            raise OtherPlanError("equivocation", what, signer, record.round)
        return self._seat.keep(signed, signer, round_=record.round)

    def _verdict(self, signed: Signed, signer: str) -> bool:
        self._require_signer(signer, "verdict")
        verdict = Verdict.from_body(signed.body)
        if verdict.signer != signer or verdict.run != self._seat.campaign:
            raise RuleBroken("wrong-verdict", "A verdict is signed by another than it names, or of another run")
        commitment = self._named(Commitment, verdict.commitment, "commitment")
        if (verdict.round, verdict.index) != (commitment.body.round, commitment.body.index):
            raise RuleBroken("wrong-verdict", "A verdict does not fit its commitment")
        said = [v.body for v in self._desk.rounds.verdicts(verdict.round, member=verdict.index) if v.signer == signer]
        if any((v.check, v.segment) == (verdict.check, verdict.segment) for v in said):
            raise RuleBroken("equivocation", f"A second verdict of {signer} on one segment")
        if verdict.segment is not None and verdict.segment.stop >= commitment.body.trace.leaves:
            raise RuleBroken("wrong-verdict", "A verdict is about a segment that is not there")
        return self._seat.keep(signed, signer, round_=verdict.round, member=verdict.index)

    # --- who -----------------------------------------------------------------------------------------------------

    def _require_coordinator(self, signer: str, kind: str) -> None:
        """Plans and records count only from whoever this signer follows, or has followed."""
        if not self._desk.rounds.follows(signer):
            raise SignatureError(f"A {kind} is not signed by the coordinator", signer)

    def _require_signer(self, signer: str, kind: str) -> None:
        """Who has left office since has signed all the same; who comes into it may be known to others first."""
        if signer not in self._desk.view.offices.ever:
            raise NotYetError(f"A {kind} is signed by nobody in office up to the finalised block", signer)

    def _require_member(self, signer: str, index: int, kind: str) -> None:
        """By any key that the provider has had: it may have another one since, and others may know of that first."""
        if signer not in self._desk.view.keys.get(index, frozenset()):
            raise NotYetError(f"A {kind} is signed by no key of provider {index} up to the finalised block", signer)
