"""The epoch machine of section 4.2: close, report, settle, strictly in order; caps over voids; the tail; the end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from tests.ledger_model.ledger import FinalEpoch
from tests.ledger_model.rules import BPS, SCALE, Refused, Rules, need, refuse
from tests.ledger_model.tree import ENTRY_BYTES, MAX_CID_BYTES, MAX_ENTRIES, Sibling, Tree, depth_for, keccak
from tests.ledger_model.typed import Report

if TYPE_CHECKING:
    from tests.ledger_model.run import Run

MAX_CREDITS = 2**64 - 1
BLOCK_AGE = 256


class State(IntEnum):
    """As the contracts number them; an epoch that was never closed is in no list."""

    NONE = 0
    CLOSED = 1
    REPORTED = 2
    FINAL = 3
    VOID = 4


@dataclass
class Epoch:
    """A closed epoch, from its closing on."""

    number: int
    closed_at: int
    provider_count: int
    acc: int
    escrow: int
    before: Tree  # the last final tree when it was closed, and what the ledger says of it
    before_root: Sibling
    state: State = State.CLOSED
    settled_at: int = 0
    report: Report | None = None
    digest: bytes = b""
    packed: bytes = b""
    tree: Tree | None = None
    window_end: int = 0
    open_until: int = 0
    rotation: int = 0
    signed_by: tuple[str, ...] = ()
    wage: int = 0
    wages: int = 0
    fee_each: int = 0
    unanswered: bool = False  # void because a node was not answered
    fraud: bool = False

    @property
    def credits(self) -> int:
        """What its report credits."""
        return self.report.epoch_credits if self.report else 0

    @property
    def loss_micro(self) -> int:
        """The evaluation loss of its report."""
        return self.report.loss_micro if self.report else 0


def wage_for(escrow: int, credits: int, wage_per_credit: int, oracle_bps: int) -> int:
    """min(wagePerCredit * 2^64, B * 2^64 / epochCredits) with B = unlockedEscrow * 10000 / (10000 + oracleBps)."""
    if credits == 0:
        return 0
    for_wages = escrow * BPS // (BPS + oracle_bps)
    return min(wage_per_credit * SCALE, for_wages * SCALE // credits)


class Epochs:
    """All closed epochs, in order."""

    def __init__(self, run: Run) -> None:
        self.run, self.p = run, run.p
        self.all: list[Epoch] = []
        self.reports: dict[bytes, Epoch] = {}  # every report ever accepted, by digest
        self.trees: dict[bytes, Tree] = {}  # what signers know: the tree behind a root
        self.finished_at = 0

    @property
    def next(self) -> int:
        """The lowest epoch that has not been closed."""
        return len(self.all)

    @property
    def open(self) -> Epoch | None:
        """The epoch that is closed and not settled."""
        last = self.all[-1] if self.all else None
        return last if last is not None and last.settled_at == 0 else None

    @property
    def pending(self) -> Epoch | None:
        """The epoch whose report can be challenged or made final."""
        return self.open if self.open and self.open.report else None

    def span_end(self, epoch: Epoch) -> int:
        """Until when a report is accepted."""
        return epoch.closed_at + self.p.report_span

    # ------------------------------------------------------------------------------------------- close

    def close(self, number: int) -> None:
        """Strictly in order, after the epoch's end, once the one before is settled; voids one that lapsed."""
        if number != self.next:
            raise refuse("WrongEpoch", self.next)
        rules, before = Rules(), self.open
        rules.need(self.run.campaign.shares_fixed, "CampaignNotSucceeded")
        rules.need(number <= self.p.final_epoch, "OutsideTraining")
        rules.need(self.run.now >= self.p.epoch_end(number), "EpochNotOver", self.p.epoch_end(number))
        if before is not None and before.report is None:
            rules.need(self.run.now >= self.span_end(before), "ReportSpanOpen", self.span_end(before))
        elif before is not None:
            rules.need(False, "NotSettled", before.number)
        rules.hold()
        if before is not None:
            self._settle(before, State.VOID)
        acc = self.run.distributor.close_epoch()
        escrow = self.run.campaign.unlocked
        providers = len(self.run.registry.providers)
        ledger = self.run.ledger
        last = Sibling(ledger.root, ledger.sum)
        self.all.append(Epoch(number, self.run.now, providers, acc, escrow, ledger.tree, last))

    # ------------------------------------------------------------------------------------------- report

    def attempt(self, number: int) -> int:
        """The attempt that time has reached within the span."""
        epoch = self.all[number] if number < self.next else None
        if epoch is None or epoch.state != State.CLOSED:
            raise refuse("NotClosed")
        need(self.run.now < self.span_end(epoch), "ReportSpanOver")
        return (self.run.now - epoch.closed_at) // self.p.attempt_length

    @property
    def credits_limit(self) -> int:
        """The cap, added up over void epochs in a row, within 64 bits of total credits."""
        voids, settled = 0, [e for e in self.all if e.settled_at]
        for epoch in reversed(settled):
            if epoch.state != State.VOID:
                break
            voids += 1
        return min(self.p.max_credits_per_epoch * (voids + 1), MAX_CREDITS - self.run.ledger.sum)

    def submit(self, report: Report, packed: bytes, signatures: tuple[bytes, ...]) -> None:
        """Accepts what a quorum signed for the closed epoch and attempt. A malformed list is fraud, not refused."""
        number = max(0, self.next - 1)
        if report.epoch != number or self.next == 0:
            raise refuse("WrongEpoch", number)
        epoch, ledger = self.all[number], self.run.ledger
        need(epoch.state == State.CLOSED, "NotClosed")
        rules = Rules()
        rules.need(
            report.config_digest == self.run.signers.config_digest, "WrongConfig", self.run.signers.config_digest
        )
        if rules.need(self.run.now < self.span_end(epoch), "ReportSpanOver"):
            rules.need(report.attempt == self.attempt(number), "WrongAttempt", self.attempt(number))
        rules.need(report.prev_root == ledger.root, "WrongPrevRoot", ledger.root)
        rules.need(report.sum == ledger.sum + report.epoch_credits, "WrongSum", ledger.sum + report.epoch_credits)
        depth = depth_for(epoch.provider_count, ledger.depth)
        rules.need(report.depth == depth, "WrongDepth", depth)
        rules.need(report.epoch_credits <= self.credits_limit, "TooManyCredits", self.credits_limit)
        cids = (report.evidence_cid, report.checkpoint_cid)
        rules.need(all(len(cid.encode()) <= MAX_CID_BYTES for cid in cids), "CidTooLong")
        rules.need(len(packed) <= MAX_ENTRIES * ENTRY_BYTES, "ListTooLong")
        rules.need(keccak(packed) == report.credits_hash, "WrongListHash")
        rules.need(self.run.block_is(report.block_number, report.block_hash), "WrongBlock")
        signed: tuple[str, ...] = ()
        try:
            signed = self.run.signers.quorum_of(report.struct_hash(), signatures)
        except Refused as refused:
            rules.broken += refused.broken
        rules.hold()
        epoch.state, epoch.report, epoch.packed = State.REPORTED, report, packed
        epoch.digest = self.run.signers.digest(report.struct_hash())
        epoch.tree = self.trees[report.root]
        epoch.rotation, epoch.signed_by = self.run.signers.rotation, signed
        epoch.window_end = epoch.open_until = self.run.now + self.p.challenge_window
        epoch.wage = wage_for(epoch.escrow, report.epoch_credits, self.p.wage_per_credit, self.p.oracle_bps)
        epoch.wages = -(-report.epoch_credits * epoch.wage // SCALE)
        epoch.fee_each = epoch.wages * self.p.oracle_bps // BPS // len(signed)
        assert epoch.wages + epoch.fee_each * len(signed) <= epoch.escrow, "a report never costs more than was reserved"
        self.reports[epoch.digest] = epoch

    def hold(self, until: int) -> None:
        """A move of a game keeps the pending report open."""
        if self.pending is not None:
            self.pending.open_until = max(self.pending.open_until, until)

    # ------------------------------------------------------------------------------------------- settle

    def finalize(self, report: Report) -> None:
        """Final once the window is over and no game holds it: its credits are in the ledger for good."""
        epoch = self.pending
        digest = self.run.signers.digest(report.struct_hash())
        if epoch is None or report.epoch != epoch.number:
            raise refuse("NotReported")
        if epoch.digest != digest:
            raise refuse("WrongReport")
        need(self.run.now >= epoch.open_until, "StillOpen", epoch.open_until)
        assert epoch.report is not None
        assert epoch.tree is not None
        r = epoch.report
        entry = FinalEpoch(
            epoch.number,
            epoch.tree,
            r.root,
            r.sum,
            r.depth,
            r.epoch_credits,
            self.run.now,
            epoch.acc,
            epoch.wage,
            digest,
        )
        self.run.ledger.record(entry)
        self.run.ledger.attest(epoch.number, r.round, r.loss_micro, r.checkpoint)
        self._settle(epoch, State.FINAL)

    def void(self, number: int) -> None:
        """An epoch with no report accepted in its span."""
        epoch = self.all[number] if number < self.next else None
        if epoch is None or epoch.state != State.CLOSED:
            raise refuse("NotClosed")
        need(self.run.now >= self.span_end(epoch), "ReportSpanOpen", self.span_end(epoch))
        self._settle(epoch, State.VOID)

    def void_by_fraud(self, epoch: Epoch, prover: str) -> None:
        """The report falls, and every signer of it loses its bond."""
        self.run.signers.slash(epoch.signed_by, prover)
        epoch.fraud = True
        if not epoch.settled_at:
            self._settle(epoch, State.VOID)

    def void_unanswered(self, epoch: Epoch) -> None:
        """The report falls at once; whether that was fraud is decided later."""
        epoch.unanswered = True
        self._settle(epoch, State.VOID)

    def _settle(self, epoch: Epoch, state: State) -> None:
        epoch.state, epoch.settled_at = state, self.run.now
        last = epoch.number == self.p.final_epoch
        self.run.campaign.settle(epoch, state == State.FINAL, last)
        if last:
            self.finished_at = self.run.now
            self.run.distributor.finish()
        if state == State.FINAL:
            self.run.campaign.pay_wages(epoch)
