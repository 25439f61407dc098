"""The distributor's books kept a second time: revenue and its split, both pools, the accumulators, and every claim.

Section 4.1 of the specification in integers. What each claim paid is computed again from the rebuilt credit tree, the
accumulator at that moment, revocations and debts, so that neither pool can have paid a unit too much or to the wrong
address.
"""

from collections import defaultdict
from collections.abc import Callable

from commonweight.audit.findings import Findings
from commonweight.chain.events import (
    CapitalClaimed,
    CapitalReceived,
    ChainEvent,
    ComputeClaimed,
    CreditsRevoked,
    DebtAdded,
    DebtPaid,
    Distributed,
    RevenueReceived,
    WagesReceived,
)
from commonweight.chain.run import Run
from commonweight.chain.structs import RunParams
from commonweight.protocol.sumtree import Leaf

SPLIT, CAPITAL, COMPUTE, ACCUMULATOR, POOLS = (
    "revenue-split", "capital-claims", "compute-claims", "accumulator", "pools",
)  # fmt: skip
BPS = 10_000
LeafAt = Callable[[int, int], Leaf | None]
"""The leaf of an index in the final tree of an epoch; None when the epoch is not final or the leaf is empty."""


class Pools:
    """The distributor's money. Figures called scaled are times 2^64."""

    def __init__(self, params: RunParams, findings: Findings, leaf_at: LeafAt) -> None:
        self._params = params
        self._findings = findings
        self._leaf_at = leaf_at
        self.capital_received = self.capital_paid = self.compute_received = self.compute_paid = 0
        self.acc = self.carry = self.allocated = self.shares = 0
        self.money_in = self.money_out = 0
        self.latest_sum = self.revoked_credits = 0
        self.finished = False
        self.claimed_capital: dict[str, int] = defaultdict(int)
        self.claimed_compute: dict[int, int] = defaultdict(int)
        self.debts: dict[int, int] = defaultdict(int)
        self._revoked: dict[int, tuple[int, int, int]] = {}  # credits, credits * acc, last epoch
        self._debt_paid: tuple[bytes, int, int] | None = None

    @property
    def live(self) -> int:
        """Final credits that were not revoked."""
        return self.latest_sum - self.revoked_credits

    @property
    def pending(self) -> int:
        """Compute revenue that waits for credits."""
        return self.compute_received - self.allocated

    @property
    def held(self) -> int:
        """What the distributor has to hold."""
        return self.money_in - self.money_out

    def revenue(self, event: RevenueReceived, raised: int) -> None:
        """Book a payment; the shares are those raised when the first came."""
        self.shares = self.shares or raised
        self._findings.equal(SPLIT, "the number of shares at a payment", raised, self.shares)
        to_capital = event.amount * self._params.capital_bps // BPS
        if self.finished and self.live == 0:
            to_capital = event.amount
        split, expected = (event.to_capital, event.to_compute), (to_capital, event.amount - to_capital)
        self._findings.equal(SPLIT, f"the split of the payment in block {event.block}", split, expected)
        self.capital_received += event.to_capital
        self.compute_received += event.to_compute
        self.money_in += event.amount

    def wages(self, event: WagesReceived, paid: int, scaled: int) -> None:
        """Book wages that came from the campaign, which paid `paid` for `scaled` scaled units."""
        self._findings.equal(POOLS, f"the wages received in block {event.block}", event.amount, paid)
        self.compute_received += event.amount
        carry = self.carry + (event.amount << 64) - scaled
        self.allocated += event.amount - (carry >> 64)  # whole units of excess wait for credits again
        self.carry = carry % 2**64
        self.money_in += event.amount

    def revoke(self, event: CreditsRevoked) -> None:
        """Take revoked credits out of the denominator."""
        credits, weighted, last = self._revoked.get(event.index, (0, 0, 0))
        self._findings.equal(ACCUMULATOR, "the accumulator at a conviction", event.acc, self.acc)
        self._revoked[event.index] = (
            credits + event.credits,
            weighted + event.credits * event.acc,
            max(last, event.epoch),
        )
        self.revoked_credits += event.credits

    def finish(self) -> None:
        """The run's last settlement: from now on revenue is distributed on arrival."""
        self.finished = True

    def take(
        self, event: ChainEvent, payout_of: Callable[[int], str], raised: int, share_of: Callable[[str], int]
    ) -> None:
        """Book any other event of the distributor."""
        match event:
            case CapitalReceived():
                self._capital(event, raised)
            case Distributed():
                self._distributed(event)
            case CapitalClaimed():
                self._capital_claim(event, share_of(event.funder))
            case ComputeClaimed():
                self._compute_claim(event, payout_of(event.index))
            case DebtAdded():
                self.debts[event.index] += event.amount
            case DebtPaid():
                self._debt_paid = (event.tx, event.index, event.amount)
                self.debts[event.index] -= event.amount
                self._findings.expect(COMPUTE, self.debts[event.index] >= 0, f"index {event.index} paid too much debt")
                self.capital_received += event.amount

    def _capital(self, event: CapitalReceived, raised: int) -> None:
        if event.from_ == event.address:  # left over at the end, with no credits alive: moved between the pools
            self._findings.equal(POOLS, "the leftover at the end", event.amount, self.pending)
            self._findings.expect(POOLS, self.finished and self.live == 0, "the pools were mixed before the end")
            self.allocated += event.amount
            self.compute_paid += event.amount
        else:
            self.shares = self.shares or raised
            self.money_in += event.amount
        self.capital_received += event.amount

    def _distributed(self, event: Distributed) -> None:
        if not self._findings.expect(ACCUMULATOR, self.live > 0, f"revenue went to no credits in block {event.block}"):
            return
        scaled = (self.pending << 64) + self.carry
        self.allocated = self.compute_received
        self.acc += scaled // self.live
        self.carry = scaled % self.live
        found, expected = (event.acc_compute, event.carry), (self.acc, self.carry)
        self._findings.equal(ACCUMULATOR, f"accumulator and remainder in block {event.block}", found, expected)

    def _capital_claim(self, event: CapitalClaimed, share: int) -> None:
        total = (self.capital_received << 64) // self.shares if self.shares else 0
        due = (share * total >> 64) - self.claimed_capital[event.funder]
        self._findings.equal(CAPITAL, f"the claim of {event.funder} in block {event.block}", event.amount, due)
        self.claimed_capital[event.funder] += event.amount
        self.capital_paid += event.amount
        self.money_out += event.amount

    def _compute_claim(self, event: ComputeClaimed, payout: str) -> None:
        where = f"the claim of provider {event.index} in block {event.block}"
        paid_debt = 0
        if self._debt_paid is not None and self._debt_paid[:2] == (event.tx, event.index):
            paid_debt, self._debt_paid = self._debt_paid[2], None
        due = self._due(event.index, event.epoch)
        owed = self.debts[event.index] + paid_debt
        self._findings.equal(COMPUTE, where, event.amount + paid_debt, due)
        self._findings.equal(COMPUTE, f"the debt paid with {where}", paid_debt, min(due, owed))
        self._findings.equal(COMPUTE, f"the receiver of {where}", event.payout, payout)
        self.claimed_compute[event.index] += event.amount + paid_debt
        self.compute_paid += event.amount + paid_debt
        self.money_out += event.amount

    def _due(self, index: int, epoch: int) -> int:
        leaf = self._leaf_at(epoch, index)
        if leaf is None:
            return 0
        credits, weighted, last = self._revoked.get(index, (0, 0, 0))
        in_range = leaf.C * self.acc >= leaf.D and leaf.C * self._params.wage_per_credit << 64 >= leaf.W
        if epoch < last or not in_range or credits > leaf.C:
            return 0
        earned = max(0, (leaf.C - credits) * self.acc + weighted + leaf.W - leaf.D) >> 64
        return min(max(0, earned - self.claimed_compute[index]), self.allocated - self.compute_paid)

    # --- at the end --------------------------------------------------------------------------------------------------

    def compare(self, run: Run, block: int) -> None:
        """Compare with the contract's figures at a block."""
        d, equal = run.distributor, self._findings.equal
        equal(POOLS, "capital received", d.capital_received(block=block), self.capital_received)
        equal(POOLS, "capital paid", d.capital_paid(block=block), self.capital_paid)
        equal(POOLS, "compute received", d.compute_received(block=block), self.compute_received)
        equal(POOLS, "compute paid", d.compute_paid(block=block), self.compute_paid)
        inside = self.capital_paid <= self.capital_received and self.compute_paid <= self.compute_received
        self._findings.expect(POOLS, inside, "a pool has paid more than it received")
        equal(ACCUMULATOR, "the accumulator", d.acc_compute(block=block), self.acc)
        equal(ACCUMULATOR, "the carried remainder", d.compute_carry(block=block), self.carry)
        equal(ACCUMULATOR, "what waits for credits", d.pending_compute(block=block), self.pending)
        equal(ACCUMULATOR, "live credits", run.ledger.live_credits(block=block), self.live)
        for funder, amount in sorted(self.claimed_capital.items()):
            equal(CAPITAL, f"what {funder} has claimed", d.capital_claimed_by(funder, block=block), amount)
        for index, amount in sorted(self.claimed_compute.items()):
            equal(COMPUTE, f"what provider {index} has claimed", d.claimed_by(index, block=block), amount)
        for index, amount in sorted(self.debts.items()):
            equal(COMPUTE, f"what provider {index} owes", d.debt_of(index, block=block), amount)
        for name in (SPLIT, CAPITAL, COMPUTE):
            self._findings.seen(name)
