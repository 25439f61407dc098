"""All books of a run together: every event goes, in chain order, to the contract's model and to those that depend on
it.

In the end each contract has to hold exactly what its model says, and what one contract sent another has to have
received. Money that came without a call, as anyone can force ether on an address, is named and refutes nothing.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable

from commonweight.audit.channels import CHANNELS, Channels
from commonweight.audit.disputes import DISPUTES, Disputes
from commonweight.audit.epochs import CHECKPOINTS, CLOSINGS, Epochs, Reported
from commonweight.audit.escrow import CONTRIBUTIONS, ESCROW, Escrow, Settlement
from commonweight.audit.findings import Findings
from commonweight.audit.pools import POOLS, Pools
from commonweight.audit.quorum import QUORUM, Decisions
from commonweight.audit.signers import SIGNERS
from commonweight.audit.stakes import REGISTRY, STAKES, Providers, Stakes
from commonweight.chain.events import (
    CapitalReceived,
    ChainEvent,
    CheckpointAttested,
    CreditsRevoked,
    DebtAdded,
    EpochClosed,
    EpochFinal,
    EpochRecorded,
    EpochVoided,
    OwedPaid,
    ProviderRegistered,
    ReportSubmitted,
    RevenueReceived,
    RotationProposed,
    RoundAnchored,
    SignerSetChanged,
    Slashed,
    WagesReceived,
)
from commonweight.chain.run import Run
from commonweight.errors import FormatError

EVENTS, BALANCES, ANCHORS = "events", "balances", "anchors"
BPS = 10_000


class Replay:
    """The models of a run's contracts, fed with its events. `time` gives a block's Unix time."""

    def __init__(self, run: Run, findings: Findings, time: Callable[[int], int]) -> None:
        self._run = run
        self._findings = findings
        self.providers = Providers(findings)
        self.stakes = Stakes(run, findings)
        self.escrow = Escrow(run.params, findings, time)
        self.channels = Channels(run, findings)
        bonds = self.stakes.bonds.stakes
        self.epochs = Epochs(run, findings, time, self.providers.accounts, lambda signer: bonds[signer])
        self.pools = Pools(run.params, findings, self.epochs.leaf_at)
        self.anchors: list[RoundAnchored] = []
        self.records: dict[int, list[RoundAnchored]] = {}
        self.disputes = Disputes(run, findings, self.pools)
        self.decisions = Decisions(run, findings)
        self._into_distributor: dict[str, int] = defaultdict(int)

    def play(self, events: Iterable[ChainEvent]) -> None:
        """Take in events in chain order. One that cannot be, after those before it, is refuted and left out."""
        self._findings.seen(EVENTS)
        for event in events:
            try:
                self._take(event)
                self._findings.expect(EVENTS, True, "")
            except (LookupError, FormatError) as problem:
                what = f"{type(event).__name__} in block {event.block} cannot follow what came before it"
                self._findings.expect(EVENTS, False, f"{what} ({type(problem).__name__}: {problem})")

    def _take(self, event: ChainEvent) -> None:
        self.decisions.take(event, self.epochs.signers.sets)
        match self._run.contract_names[event.address]:
            case "Campaign":
                self.escrow.take(event)
            case "ProviderRegistry":
                self._registry(event)
            case "CreditOracle":
                self._oracle(event)
            case "RevenueDistributor":
                self._distributor(event)
            case "InferencePayments":
                self.channels.take(event)
            case "Disputes":
                self.disputes.take(event, self.providers.payouts, self.epochs.reports, self.epochs.finals)
                if isinstance(event, OwedPaid):
                    self._passed_on(event)
            case _:
                self._rest(event)

    def _registry(self, event: ChainEvent) -> None:
        self.stakes.take(event)
        if isinstance(event, Slashed):
            self.disputes.seen(event)
        elif isinstance(event, ProviderRegistered):
            self.providers.register(event)
        elif isinstance(event, OwedPaid):
            self._passed_on(event)
        else:
            self.providers.take(event)

    def _oracle(self, event: ChainEvent) -> None:
        match event:
            case SignerSetChanged():
                self.epochs.signers.set_changed(event)
            case RotationProposed():
                self.epochs.signers.proposed(event)
            case RoundAnchored():
                self._anchored(event)
            case EpochClosed():
                stakes = {int(index): stake for index, stake in self.stakes.registry.stakes.items()}
                self.epochs.closed(event, self.pools.acc, self.escrow.reserved, stakes)
                reserved_for = self.escrow.reserved_for
                self._findings.equal(ESCROW, "the epoch that escrow was reserved for", reserved_for, event.epoch)
                given_out = self.pools.pending == 0 or self.pools.live == 0
                self._findings.expect(POOLS, given_out, f"revenue waited though epoch {event.epoch} was closed")
            case ReportSubmitted():
                self._submitted(event)
            case EpochFinal():
                self._final(event)
            case EpochVoided():
                proved, unanswered = event.tx in self.disputes.proofs, event.tx in self.disputes.unanswered
                self.epochs.voided(event, proved, unanswered)
                self._settle(Settlement(event.epoch, False, self._is_last(event.epoch), credit_sum=self.epochs.sum))
            case _:
                self.stakes.take(event)
                if isinstance(event, OwedPaid):
                    self._passed_on(event)

    def _distributor(self, event: ChainEvent) -> None:
        match event:
            case RevenueReceived():
                self.pools.revenue(event, self.escrow.raised)
                self._into_distributor[event.payer] += event.amount
            case WagesReceived():
                self.pools.wages(event, self.escrow.last_wages_paid, self.escrow.scaled_paid)
            case _:
                if isinstance(event, DebtAdded):
                    self.disputes.seen(event)
                if isinstance(event, CapitalReceived):
                    self._into_distributor[event.from_] += event.amount
                contributions = self.escrow.contributions
                self.pools.take(
                    event,
                    lambda index: self.providers.payouts.get(index, ""),
                    self.escrow.raised,
                    lambda funder: contributions.get(funder, 0),
                )

    def _rest(self, event: ChainEvent) -> None:
        match event:
            case EpochRecorded():
                self.epochs.recorded(event)
                self.pools.latest_sum = event.sum
            case CreditsRevoked():
                self.pools.revoke(event)
                self.disputes.seen(event)
            case CheckpointAttested():
                self.epochs.attested(event)

    # --- what spans contracts ----------------------------------------------------------------------------------------

    def _anchored(self, event: RoundAnchored) -> None:
        self.anchors.append(event)
        epoch = self._run.params.epoch_of(event.deadline)
        self._findings.equal(ANCHORS, f"the epoch of the anchor in block {event.block}", event.epoch, epoch)
        if event.record_hash != bytes(32):
            self.records.setdefault(event.record_round, []).append(event)

    def _submitted(self, event: ReportSubmitted) -> None:
        self.epochs.submitted(event)
        wages, _, fee_each = self._pay(event.report.epoch_credits, event.wage, len(event.signers))
        self.escrow.reported(wages + fee_each * len(event.signers))

    def _final(self, event: EpochFinal) -> None:
        reported = self.epochs.final(event)
        if reported is None:
            return
        signers = reported.event.signers
        wages, scaled, fee_each = self._pay(event.epoch_credits, event.wage, len(signers))
        last, loss = self._is_last(event.epoch), reported.event.report.loss_micro
        self._settle(Settlement(event.epoch, True, last, wages, scaled, fee_each, signers, self.epochs.sum, loss))

    def _settle(self, settlement: Settlement) -> None:
        self.escrow.settled(settlement)
        if settlement.last:
            self.pools.finish()

    def _is_last(self, epoch: int) -> bool:
        return epoch == self._run.params.last_epoch + self._run.params.tail_epochs

    def _pay(self, epoch_credits: int, wage: int, signers: int) -> tuple[int, int, int]:
        """Wages in units (rounded up), the same scaled, and each signer's fee on them."""
        scaled = epoch_credits * wage
        wages = (scaled + (1 << 64) - 1) >> 64
        return wages, scaled, wages * self._run.params.oracle_bps // BPS // max(1, signers)

    def _passed_on(self, event: OwedPaid) -> None:
        if event.account == self._run.addresses.distributor:
            self._into_distributor[event.address] -= event.amount

    # --- at the end --------------------------------------------------------------------------------------------------

    def compare(self, block: int) -> None:
        """Compare every model with its contract at a block, to the wei."""
        findings, run = self._findings, self._run
        signers = {signer for office in self.epochs.signers.sets for signer in office.signers}
        comparisons: tuple[tuple[str, Callable[[], None]], ...] = (
            (CONTRIBUTIONS, lambda: self.escrow.compare(run, block)),
            (REGISTRY, lambda: self.providers.compare(run, block)),
            (STAKES, lambda: self.stakes.compare(run, block, signers)),
            (SIGNERS, lambda: self.epochs.signers.compare(run, block)),
            (CLOSINGS, lambda: self.epochs.compare(block)),
            (POOLS, lambda: self.pools.compare(run, block)),
            (CHANNELS, lambda: self.channels.compare(block)),
            (DISPUTES, lambda: self.disputes.compare(run, block)),
            (QUORUM, self.decisions.check),
            (ANCHORS, lambda: self._compare_records(block)),
            (BALANCES, lambda: self._compare_balances(block)),
        )
        for name, compare in comparisons:
            with findings.checking(name):
                compare()
        for name in (ESCROW, CHECKPOINTS):
            findings.seen(name)

    def _compare_records(self, block: int) -> None:
        for number, events in self.records.items():
            found = self._run.oracle.record_of(number, block=block)
            self._findings.equal(ANCHORS, f"the first record of round {number}", found, events[0].record_hash)

    def _compare_balances(self, block: int) -> None:
        at = self._run.addresses
        passed = self._into_distributor[at.payments]
        self._findings.equal(POOLS, "revenue that the channels passed on", self.channels.revenue, passed)
        for contract, name in ((at.registry, "the registry"), (at.oracle, "the oracle"), (at.disputes, "disputes")):
            difference = self._into_distributor[contract]
            self._findings.equal(POOLS, f"slashed money on its way from {name}", difference, 0)
        expected = {
            at.campaign: self.escrow.held,
            at.registry: self.stakes.registry.held,
            at.oracle: self.stakes.bonds.held,
            at.distributor: self.pools.held,
            at.payments: self.channels.held,
            at.ledger: 0,
            at.checkpoints: 0,
            at.disputes: self.disputes.held,
        }
        for address, amount in expected.items():
            found = self._run.asset.balance_of(address, block=block)
            name = self._run.contract_names[address]
            enough = found >= amount
            self._findings.expect(BALANCES, enough, f"{name} holds {found} and owes {amount}")
            if found > amount:
                self._findings.note(BALANCES, f"{name} holds {found - amount} that no call brought in")
        unpaid = self.pools.finished and self.pools.live > 0 and self.pools.pending > 0
        self._findings.expect(POOLS, not unpaid, "revenue waits though the run has ended and credits live")

    def final_reports(self) -> list[Reported]:
        """Reports that are final or may become so, in the order of their epochs."""
        return [r for epoch, r in sorted(self.epochs.reports.items()) if epoch not in self.epochs.voids]
