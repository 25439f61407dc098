"""What goes on chain: agreed reports by their proposer, and closing, settling and voiding by whose turn it is.

Each thing is done once, whoever dies: the contract refuses a second report, and a signer that finds a duty done by
another does nothing. Transactions are simulated before they are sent, so a lost race costs no gas.
"""

import asyncio

from commonweight.chain.types import Receipt
from commonweight.errors import CommonweightError, ContractError
from oracle.agree import Agreed
from oracle.desk import Desk
from oracle.duties import Duty, due
from oracle.logs import logger
from oracle.seat import in_thread

_DONE_BY_ANOTHER = (
    "WrongEpoch", "NotClosed", "NotReported", "NotSettled", "WrongReport", "StillOpen", "ReportSpanOpen",
    "EpochNotOver",
)  # fmt: skip
_RETRY_S = 1.0


class Submitting:
    """Sends with the transmitter's key."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._seat = desk.seat
        self._log = logger("submit")

    async def settle(self) -> None:
        """See through what the transmitter had under way before this start, and only then let anything be sent.

        A process that is killed leaves transactions behind, some priced too low to be mined by themselves. Whoever
        sends the same again beside them pays twice.
        """
        while not self._desk.may_send:
            try:
                await in_thread(self._seat.run.chain.settle)
                self._desk.may_send = True
            except CommonweightError as trouble:
                self._desk.metrics.failures.labels("settle").inc()
                self._log.warning("not settled", error=str(trouble))
                await asyncio.sleep(_RETRY_S)
        self._desk.bell.ring()

    async def report(self, agreed: Agreed) -> bool:
        """Submit a report. The contract may not take it: another was faster, or the attempt is over.

        Returns False: the chain has to be looked at before anything else is proposed.
        """
        oracle, proposal = self._seat.run.oracle, agreed.proposal
        try:
            receipt = await in_thread(
                lambda: oracle.submit_report(proposal.report, proposal.credits, list(agreed.signatures))
            )
        except ContractError as refused:
            self._log.warning("report not taken", epoch=proposal.report.epoch, error=str(refused))
            return False
        self._desk.metrics.reports_sent.inc()
        self._log.info(
            "reported", epoch=proposal.report.epoch, attempt=proposal.report.attempt, rounds=proposal.rounds,
            credits=proposal.report.epoch_credits, block=receipt.block_number,
        )  # fmt: skip
        self._seat.db.set_transaction(f"report/{proposal.report.epoch}", receipt.tx_hash, receipt.block_number)
        return False

    def reported(self, epoch: int) -> bool:
        """Whether a report of ours is mined and can still become final."""
        block = self._seat.db.transaction_block(f"report/{epoch}")
        return block is not None and block > self._desk.view.finalized.number

    def duty(self) -> Duty | None:
        """What this signer has to do on chain now. A report is settled once its event is in a block that is final."""
        view = self._desk.view
        found = due(
            self._seat.params, view.head_epoch, view.head_info, view.latest.timestamp,
            view.position(self._seat.address), len(view.signers),
        )  # fmt: skip
        if found is not None and found.name == "finalize" and found.epoch not in view.reports:
            return None
        return found

    async def perform(self, duty: Duty) -> bool:
        """Do it, unless it turns out that another has done it. False: the chain has to be looked at before more."""
        try:
            receipt = await in_thread(lambda: self._send(duty))
        except ContractError as refused:
            if refused.name not in _DONE_BY_ANOTHER:
                raise
            self._log.info("already done", duty=duty.purpose, error=refused.name)
            return False
        self._seat.db.set_transaction(duty.purpose, receipt.tx_hash, receipt.block_number)
        self._log.info("done", duty=duty.purpose, block=receipt.block_number)
        return False

    def _send(self, duty: Duty) -> Receipt:
        oracle = self._seat.run.oracle
        if duty.name == "finalize":
            return oracle.finalize_epoch(self._desk.view.reports[duty.epoch].report)
        return oracle.close_epoch(duty.epoch) if duty.name == "close" else oracle.void_epoch(duty.epoch)
