"""The campaign's books kept a second time from its events: contributions, escrow, wages, fees, milestones, returns.

Every amount that an event names is computed again from what came before it, by the rules of sections 3 and 4.1 of the
specification; at the end the contract's own figures have to be the same.
"""

from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass

from commonweight.audit.findings import Findings
from commonweight.chain.events import (
    ChainEvent,
    Deposited,
    EscrowEnded,
    EscrowReserved,
    FeePaid,
    MilestoneMet,
    MilestoneMissed,
    Refunded,
    UnspentReturned,
    WagesDue,
    WagesPaid,
)
from commonweight.chain.run import Run
from commonweight.chain.structs import U64_MAX, RunParams

CONTRIBUTIONS, REFUNDS, ESCROW, WAGES, MILESTONES = "contributions", "refunds", "escrow", "wages-and-fees", "milestones"
BPS = 10_000


@dataclass(frozen=True)
class Settlement:
    """What settling an epoch books: wages and the fee of each signer in units, wages scaled by 2^64."""

    epoch: int
    final: bool
    last: bool
    wages: int = 0
    scaled: int = 0
    fee_each: int = 0
    signers: tuple[str, ...] = ()
    credit_sum: int = 0
    loss_micro: int = 0


class Escrow:
    """The campaign's money. `take` gets its events in chain order, `settled` what the oracle decided before; `time`
    gives a block's Unix time."""

    def __init__(self, params: RunParams, findings: Findings, time: Callable[[int], int]) -> None:
        self._params = params
        self._time = time
        self._findings = findings
        self.contributions: dict[str, int] = defaultdict(int)
        self.fees: dict[str, int] = defaultdict(int)
        self.raised = self.released = self.reserved = self.returnable = 0
        self.wages_due = self.scaled_due = self.scaled_paid = 0
        self.last_wages_paid = 0
        self.reserved_for = -1
        self.money_in = self.money_out = 0
        self.ended = False
        self._returned: set[str] = set()
        self._met = {
            number
            for number, milestone in enumerate(params.milestones)
            if milestone.min_credits == 0 and milestone.max_loss_micro == U64_MAX
        }
        self._expected: deque[tuple[type[ChainEvent], tuple[object, ...]]] = deque()

    @property
    def succeeded(self) -> bool:
        """Whether the goal is met; deposits may still be open."""
        return self.raised >= self._params.goal

    @property
    def unlocked(self) -> int:
        """What met milestones have unlocked and nothing has taken yet."""
        if self.ended:
            return 0
        share = sum(self._params.milestones[number].tranche_bps for number in self._met)
        return max(0, self.raised * share // BPS - self.released - self.reserved)

    def reported(self, wages_and_fee: int) -> None:
        """A report was accepted: no more than its wages and fee stay reserved."""
        self.reserved = wages_and_fee

    def settled(self, settlement: Settlement) -> None:
        """An epoch became final or void: what the campaign has to emit next follows from it."""
        s = settlement
        self.reserved = 0
        if s.wages:
            fee = s.fee_each * len(s.signers)
            self.released += s.wages + fee
            self.wages_due += s.wages
            self.scaled_due += s.scaled
            for signer in s.signers:
                self.fees[signer] += s.fee_each
            self._expected.append((WagesDue, (s.epoch, s.wages, fee)))
        if not self.ended:
            self._judge(s)

    def take(self, event: ChainEvent) -> None:
        """Book one event of the campaign."""
        match event:
            case Deposited():
                self._deposited(event)
            case Refunded():
                self._refunded(event)
            case EscrowReserved():
                self._findings.equal(
                    ESCROW, f"the escrow reserved for epoch {event.epoch}", event.amount, self.unlocked
                )
                self.reserved, self.reserved_for = event.amount, event.epoch
            case WagesDue():
                self._follows(event, (event.epoch, event.wages, event.fee))
            case MilestoneMet() | MilestoneMissed():
                self._follows(event, (event.milestone, event.epoch))
            case EscrowEnded():
                self._follows(event, (event.epoch, event.returnable))
            case WagesPaid():
                self._findings.equal(WAGES, "wages that moved to the distributor", event.amount, self.wages_due)
                self.money_out += event.amount
                self.last_wages_paid, self.scaled_paid = event.amount, self.scaled_due
                self.wages_due = self.scaled_due = 0
            case FeePaid():
                due = self.fees[event.signer]
                self._findings.equal(WAGES, f"the fee paid to {event.signer}", event.amount, due)
                self.fees[event.signer] = 0
                self.money_out += event.amount
            case UnspentReturned():
                self._unspent(event)

    def _deposited(self, event: Deposited) -> None:
        self.contributions[event.funder] += event.amount
        self.raised += event.amount
        self.money_in += event.amount
        self._findings.equal(CONTRIBUTIONS, f"the total after block {event.block}", event.raised, self.raised)
        in_time = self._time(event.block) < self._params.deposit_deadline and self.raised <= self._params.cap
        self._findings.expect(CONTRIBUTIONS, in_time, f"a deposit in block {event.block} came late or over the cap")

    def _refunded(self, event: Refunded) -> None:
        failed = not self.succeeded and self._time(event.block) >= self._params.deposit_deadline
        self._findings.expect(REFUNDS, failed, f"a refund was paid in block {event.block} though the run did not fail")
        due = self.contributions[event.funder]
        self._findings.equal(REFUNDS, f"the refund of {event.funder}", event.amount, due)
        self.contributions[event.funder] = 0
        self.money_out += event.amount

    def _unspent(self, event: UnspentReturned) -> None:
        due = self.returnable * self.contributions[event.funder] // self.raised if self.ended and self.raised else 0
        first = event.funder not in self._returned
        self._findings.expect(REFUNDS, first, f"{event.funder} got unspent money twice")
        self._findings.equal(REFUNDS, f"the unspent money returned to {event.funder}", event.amount, due)
        self._returned.add(event.funder)
        self.money_out += event.amount

    def _judge(self, s: Settlement) -> None:
        missed = False
        for number, milestone in enumerate(self._params.milestones):
            if number in self._met:
                continue
            reached = s.credit_sum >= milestone.min_credits and s.loss_micro <= milestone.max_loss_micro
            if s.final and s.epoch <= milestone.deadline_epoch and reached:
                self._met.add(number)
                self._expected.append((MilestoneMet, (number, s.epoch)))
            elif s.epoch >= milestone.deadline_epoch:
                missed = True
                self._expected.append((MilestoneMissed, (number, s.epoch)))
        if missed or s.last:
            self.ended = True
            self.returnable = self.raised - self.released
            self._expected.append((EscrowEnded, (s.epoch, self.returnable)))

    def _follows(self, event: ChainEvent, values: tuple[object, ...]) -> None:
        name = WAGES if isinstance(event, WagesDue) else MILESTONES
        found = (type(event).__name__, values)
        if not self._expected:
            self._findings.expect(name, False, f"{found} in block {event.block} follows from nothing")
            return
        kind, expected = self._expected.popleft()
        self._findings.equal(name, f"the campaign's booking in block {event.block}", found, (kind.__name__, expected))

    # --- at the end --------------------------------------------------------------------------------------------------

    @property
    def held(self) -> int:
        """What the campaign has to hold."""
        return self.money_in - self.money_out

    def compare(self, run: Run, block: int) -> None:
        """Compare with the contract's figures at a block."""
        campaign, equal = run.campaign, self._findings.equal
        for kind, values in self._expected:
            self._findings.expect(ESCROW, False, f"the campaign did not book {kind.__name__}{values}")
        equal(CONTRIBUTIONS, "the total raised", campaign.raised(block=block), self.raised)
        for funder, amount in sorted(self.contributions.items()):
            found = campaign.contribution_of(funder, block=block)
            equal(CONTRIBUTIONS, f"the contribution of {funder}", found, amount)
        equal(ESCROW, "what was released", campaign.released(block=block), self.released)
        equal(ESCROW, "what is reserved", campaign.reserved(block=block), self.reserved)
        equal(ESCROW, "what is unlocked", campaign.unlocked_escrow(block=block), self.unlocked)
        equal(ESCROW, "whether the escrow has ended", campaign.ended(block=block), self.ended)
        equal(ESCROW, "what returns to the funders", campaign.returnable(block=block), self.returnable)
        equal(WAGES, "wages on their way", campaign.wages_due(block=block), self.wages_due)
        for signer, amount in sorted(self.fees.items()):
            equal(WAGES, f"the fee due to {signer}", campaign.fee_of(signer, block=block), amount)
        mask = sum(1 << number for number in self._met)
        equal(MILESTONES, "the milestones met", campaign.milestones_met(block=block), mask)
        self._findings.seen(REFUNDS)
