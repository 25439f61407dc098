"""Revenue and claims: two pools that never touch but for debts, each with an accumulator and a carried remainder."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction
from typing import TYPE_CHECKING

from tests.ledger_model.money import wrong_value
from tests.ledger_model.rules import BPS, SCALE, Refused, Rules, need, refuse
from tests.ledger_model.tree import Leaf, Sibling, fold, leaf_node

if TYPE_CHECKING:
    from tests.ledger_model.run import Run


class Distributor:
    """Section 4.1. Accumulators and leaves are scaled by 2^64."""

    def __init__(self, run: Run) -> None:
        self.run, self.p = run, run.p
        self.capital_received = self.capital_paid = 0
        self.compute_received = self.compute_paid = 0
        self.acc_capital = self.capital_remainder = 0
        self.acc_compute = self.carry = 0
        self.pending = 0
        self.finished = False
        self.capital_claimed: defaultdict[str, int] = defaultdict(int)
        self.claimed: defaultdict[int, int] = defaultdict(int)
        self.debts: defaultdict[int, int] = defaultdict(int)

    # ------------------------------------------------------------------------------------------- money in

    def pay_revenue(self, sender: str, amount: int, value: int) -> None:
        """Splits revenue; refused before the shares are fixed."""
        self._check_payment(amount, value)
        self.run.bank.move(sender, self.run.at("distributor"), amount)
        self.receive(amount)

    def pay_capital(self, sender: str, amount: int, value: int) -> None:
        """To the capital pool alone."""
        self._check_payment(amount, value)
        self.run.bank.move(sender, self.run.at("distributor"), amount)
        self.to_capital(amount)

    def _check_payment(self, amount: int, value: int) -> None:
        rules = Rules()
        rules.need(amount > 0, "ZeroAmount")
        rules.need(not wrong_value(self.run, amount, value), "WrongValue", amount if self.run.native else 0)
        rules.need(self.run.campaign.shares_fixed, "DepositsOpen")
        rules.hold()

    def receive(self, amount: int) -> None:
        """The remainder of the division goes to compute; with nobody left to earn it, all goes to capital."""
        if self.finished and self.run.ledger.live == 0:
            self.to_capital(amount)
            return
        capital = amount * self.p.capital_bps // BPS
        self.to_capital(capital)
        self.compute_received += amount - capital
        self.pending += amount - capital
        if self.finished:
            self.distribute()

    def to_capital(self, amount: int) -> None:
        """accCapital += R * 2^64 / totalShares, with the remainder carried in scaled units."""
        self.capital_received += amount
        step, self.capital_remainder = divmod(amount * SCALE + self.capital_remainder, self.run.campaign.raised)
        self.acc_capital += step
        exact = Fraction(self.capital_received * SCALE, self.run.campaign.raised)
        assert 0 <= exact - self.acc_capital < 1, "the carried remainder loses nothing"

    def receive_wages(self, amount: int, scaled: int) -> None:
        """Wages of a final epoch; what rounding up brought joins the remainder, whole units of it what is pending."""
        assert 0 <= amount * SCALE - scaled < SCALE
        self.compute_received += amount
        units, self.carry = divmod(self.carry + amount * SCALE - scaled, SCALE)
        self.pending += units

    def distribute(self) -> None:
        """Pays what is pending to the live credits; with none it stays pending."""
        live = self.run.ledger.live
        if live and self.pending:
            step, self.carry = divmod(self.pending * SCALE + self.carry, live)
            self.acc_compute += step
            self.pending = 0

    def close_epoch(self) -> int:
        """Distributes and freezes the accumulator that the epoch's own credits enter at."""
        self.distribute()
        return self.acc_compute

    def finish(self) -> None:
        """After the last settlement nothing waits: to the live credits, else to the capital pool."""
        self.distribute()
        self.finished = True
        if self.pending:
            amount, self.pending = self.pending, 0
            self.compute_paid += amount
            self.to_capital(amount)

    # ------------------------------------------------------------------------------------------- claims

    def claimable_capital(self, funder: str) -> int:
        """A funder's share so far, less what it has taken."""
        return self.run.campaign.contributions[funder] * self.acc_capital // SCALE - self.capital_claimed[funder]

    def claim_capital(self, funder: str) -> None:
        """Anyone may call; the funder is paid."""
        amount = self.claimable_capital(funder)
        need(amount > 0, "NothingDue")
        self.capital_claimed[funder] += amount
        self.capital_paid += amount
        self.run.bank.move(self.run.at("distributor"), funder, amount)

    def earned(self, leaf: Leaf) -> int:
        """((C - rC) * acc + rA + W - D) >> 64, never negative."""
        revoked = self.run.ledger.revocations[leaf.index]
        scaled = (leaf.C - revoked.credits) * self.acc_compute + revoked.acc_weighted + leaf.W - leaf.D
        return max(0, scaled // SCALE)

    def payable(self, epoch: int, leaf: Leaf) -> tuple[int, int]:
        """What a claim brings: units paid out, and units that go to the debt first. Refuses what no rule allows."""
        if epoch not in self.run.ledger.finals:
            raise refuse("NotFinal", epoch)
        revoked = self.run.ledger.revocations[leaf.index]
        rules = Rules()
        rules.need(not revoked.any or epoch >= revoked.last_epoch, "RootTooOld", revoked.last_epoch)
        possible = leaf.C * self.p.wage_per_credit * SCALE >= leaf.W and leaf.C * self.acc_compute >= leaf.D
        rules.need(possible, "LeafOutOfRange")
        rules.hold()
        given_out = self.compute_received - self.pending - self.compute_paid
        due = min(max(0, self.earned(leaf) - self.claimed[leaf.index]), given_out)
        to_debt = min(due, self.debts[leaf.index])
        return due - to_debt, to_debt

    def claim_compute(self, epoch: int, leaf: Leaf, proof: tuple[Sibling, ...]) -> None:
        """One proof covers any number of epochs; debts are paid first, the rest to the payout address."""
        if epoch not in self.run.ledger.finals:
            raise refuse("NotFinal", epoch)
        rules = Rules()
        rules.need(self.run.proves(epoch, leaf, proof), "InvalidProof")
        paid = to_debt = 0
        try:
            paid, to_debt = self.payable(epoch, leaf)
            rules.need(paid + to_debt > 0, "NothingDue")
        except Refused as refused:
            rules.broken += refused.broken
        rules.hold()
        self.claimed[leaf.index] += paid + to_debt
        self.compute_paid += paid + to_debt
        if to_debt:
            self.debts[leaf.index] -= to_debt
            self.to_capital(to_debt)
        if paid:
            payout = self.run.registry.providers[leaf.index].payout
            self.run.bank.move(self.run.at("distributor"), payout, paid)


def proof_holds(leaf: Leaf, proof: tuple[Sibling, ...], root: Sibling, depth: int) -> bool:
    """Whether a proof leads from a leaf to a root; an index beyond the tree is empty and needs none."""
    if leaf.index >> depth:
        return leaf.C == 0
    if len(proof) != depth:
        return False
    return fold(leaf_node(leaf), leaf.index, proof) == root
