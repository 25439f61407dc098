"""The funders' money: contributions, refunds, escrow, milestones, wages, fees, the return of the unspent."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from tests.ledger_model.money import wrong_value
from tests.ledger_model.rules import BPS, Rules, need

if TYPE_CHECKING:
    from tests.ledger_model.epochs import Epoch
    from tests.ledger_model.run import Run


class Campaign:
    """Section 4.1 (wages) and the Campaign row of section 4."""

    def __init__(self, run: Run) -> None:
        self.run, self.p = run, run.p
        self.contributions: defaultdict[str, int] = defaultdict(int)
        self.raised = 0
        self.refunded = 0
        self.met = {k for k, m in enumerate(self.p.milestones) if m.from_the_start}
        self.released = 0
        self.fees: defaultdict[str, int] = defaultdict(int)
        self.ended = False
        self.returnable = 0
        self.unspent_paid: defaultdict[str, int] = defaultdict(int)

    # ------------------------------------------------------------------------------------------- funders

    @property
    def deposits_closed(self) -> bool:
        """At the deadline or at the cap."""
        return self.run.now >= self.p.deposit_deadline or self.raised == self.p.cap

    @property
    def shares_fixed(self) -> bool:
        """Succeeded with deposits closed: nothing about the shares can change any more."""
        return self.deposits_closed and self.raised >= self.p.goal

    @property
    def failed(self) -> bool:
        """The deadline has passed below the goal."""
        return self.run.now >= self.p.deposit_deadline and self.raised < self.p.goal

    def deposit(self, sender: str, amount: int, value: int) -> None:
        """Money comes in until the deadline or the cap, never after."""
        rules = Rules()
        rules.need(amount > 0, "ZeroAmount")
        rules.need(not wrong_value(self.run, amount, value), "WrongValue", amount if self.run.native else 0)
        open_ = rules.need(not self.deposits_closed, "DepositsClosed")
        if open_:
            rules.need(self.raised + amount <= self.p.cap, "CapExceeded", self.p.cap - self.raised)
        rules.hold()
        self.contributions[sender] += amount
        self.raised += amount
        self.run.bank.move(sender, self.run.at("campaign"), amount)

    def refund(self, sender: str) -> None:
        """A failed run gives everyone back exactly what it put in."""
        rules = Rules()
        rules.need(self.failed, "NotFailed")
        rules.need(self.contributions[sender] > 0, "NothingDue")
        rules.hold()
        amount, self.contributions[sender] = self.contributions[sender], 0
        self.refunded += amount
        self.run.bank.move(self.run.at("campaign"), sender, amount)

    def claim_unspent(self, sender: str) -> None:
        """The return of the unspent, pro rata."""
        rules = Rules()
        rules.need(self.ended, "NotEnded")
        if self.ended:
            rules.need(self.unspent_of(sender) > 0, "NothingDue")
        rules.hold()
        amount = self.unspent_of(sender)
        self.unspent_paid[sender] += amount
        self.run.bank.move(self.run.at("campaign"), sender, amount)

    def unspent_of(self, funder: str) -> int:
        """Its share of what nobody will spend, less what it has taken."""
        if not self.ended:
            return 0
        return self.contributions[funder] * self.returnable // self.raised - self.unspent_paid[funder]

    def claim_fee(self, signer: str) -> None:
        """A signer's fees."""
        need(self.fees[signer] > 0, "NothingDue")
        amount, self.fees[signer] = self.fees[signer], 0
        self.run.bank.move(self.run.at("campaign"), signer, amount)

    # ------------------------------------------------------------------------------------------- escrow

    @property
    def unlocked(self) -> int:
        """What the milestones that were met have unlocked, neither spent nor reserved."""
        if self.ended or not self.shares_fixed:
            return 0
        share = sum(self.p.milestones[k].tranche_bps for k in self.met)
        return self.raised * share // BPS - self.released - self.reserved

    @property
    def reserved(self) -> int:
        """The whole unlocked escrow from close to report, wages plus fee from report to settlement."""
        epoch = self.run.epochs.open
        if epoch is None:
            return 0
        return epoch.escrow if epoch.report is None else epoch.wages + epoch.fee_each * len(epoch.signed_by)

    def settle(self, epoch: Epoch, final: bool, last: bool) -> None:
        """Books an epoch's wages and fees, and judges the milestones."""
        if final:
            fees = epoch.fee_each * len(epoch.signed_by)
            self.released += epoch.wages + fees
            for signer in epoch.signed_by:
                self.fees[signer] += epoch.fee_each
        missed = False
        for k, milestone in enumerate(self.p.milestones):
            if k in self.met or epoch.number > milestone.deadline_epoch:
                continue
            reached = final and self.run.ledger.sum >= milestone.min_credits
            if reached and epoch.loss_micro <= milestone.max_loss_micro:
                self.met.add(k)
            elif epoch.number == milestone.deadline_epoch:
                missed = True
        if (missed or last) and not self.ended:
            self.ended = True
            self.returnable = self.raised - self.released

    def pay_wages(self, epoch: Epoch) -> None:
        """A final epoch's wages move to the compute pool."""
        if epoch.wages:
            self.run.bank.move(self.run.at("campaign"), self.run.at("distributor"), epoch.wages)
            self.run.distributor.receive_wages(epoch.wages, epoch.credits * epoch.wage)
