"""What a server asks the chain and tells it: channels as they stand, and settlements."""

from __future__ import annotations

import time
from collections.abc import Sequence

from commonweight.chain.run import Run
from commonweight.chain.structs import VoucherClaim
from commonweight.chain.types import Receipt
from commonweight.protocol.fields import lower_address
from commonweight.protocol.typed import Domain
from inference.metering import ChannelFacts

ZERO = "0x" + 40 * "0"


class ChannelView:
    """The payment channels of a run, as one side of them sees them. Calls block and are safe in several threads."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.chain_id = run.chain.chain_id
        self.payments = lower_address(run.payments.address)
        self.asset = lower_address(run.params.asset)
        self.vouchers = Domain(self.chain_id, run.payments.address)
        self.documents = Domain(self.chain_id, run.oracle.address)

    def facts(self, channel_id: bytes) -> ChannelFacts | None:
        """The channel, taking the worse of the latest and the last final block for its server; None if there is none.

        A deposit counts when it is final, a requested withdrawal at once; that it was cancelled, lowered or put off
        counts when it is final.
        """
        read_at = time.time()
        now = self.run.chain.timestamp()
        final = self.run.payments.channel(channel_id, block=self.run.chain.finalized_block().number)
        latest = self.run.payments.channel(channel_id)
        if lower_address(final.payer) == ZERO:
            return None
        waiting = [state for state in (final, latest) if state.withdrawal_at]
        return ChannelFacts(
            channel_id=channel_id,
            payer=lower_address(final.payer),
            delay_s=final.delay,
            deposited=min(final.deposited, latest.deposited),
            settled=latest.settled,
            settled_final=min(final.settled, latest.settled),
            withdrawal_amount=max((state.withdrawal_amount for state in waiting), default=0),
            withdrawal_at=min((state.withdrawal_at for state in waiting), default=0),
            chain_time=now,
            read_at=read_at,
        )

    def settle(self, claims: Sequence[VoucherClaim]) -> Receipt:
        """Settle in one transaction, and wait until it is mined. Raises ContractError, ChainError or RpcUnavailable."""
        return self.run.payments.settle(claims)
