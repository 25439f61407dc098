"""A payer's channels on chain: paying in, looking, and taking back what was not used."""

from __future__ import annotations

from dataclasses import dataclass

from commonweight.chain.events import Withdrawn, decode_events
from commonweight.chain.run import Run
from commonweight.chain.types import Receipt
from commonweight.errors import PaymentError
from commonweight.protocol.fields import lower_address
from commonweight.protocol.vouchers import channel_id
from inference.chainview import ZERO


@dataclass(frozen=True)
class ChannelStanding:
    """A channel at the latest block. Amounts in the asset's smallest units; `withdrawal_at` in Unix seconds, 0 for
    none.

    `held` is what vouchers can still take or a withdrawal give back.
    """

    channel_id: bytes
    payer: str
    server: str
    delay_s: int
    deposited: int
    settled: int
    withdrawal_amount: int
    withdrawal_at: int

    @property
    def held(self) -> int:
        """Deposited and not settled."""
        return self.deposited - self.settled


def find_channel(run: Run, payer: str, server: str, delay_s: int | None = None) -> ChannelStanding:
    """The channel from payer to server with a withdrawal delay, by default the run's. Raises PaymentError if there is
    none.
    """
    delay = run.params.withdrawal_delay if delay_s is None else delay_s
    name = channel_id(payer, server, lower_address(run.params.asset), delay)
    found = run.payments.channel(name)
    if lower_address(found.payer) == ZERO:
        raise PaymentError(
            f"There is no channel from {payer} to {server}",
            f"nothing was paid into one with a withdrawal delay of {delay} s",
            "pay into it first",
        )
    return ChannelStanding(
        name,
        lower_address(found.payer),
        lower_address(found.server),
        found.delay,
        found.deposited,
        found.settled,
        found.withdrawal_amount,
        found.withdrawal_at,
    )


def deposit(run: Run, server: str, amount: int, delay_s: int | None = None) -> tuple[ChannelStanding, Receipt]:
    """Pay into the sender's channel to a server, opening it if need be. The server counts it when it is final."""
    delay = run.params.withdrawal_delay if delay_s is None else delay_s
    receipt = run.payments.deposit(run.chain.address, server, delay, amount)
    return find_channel(run, run.chain.address, server, delay), receipt


def request_withdrawal(run: Run, channel: ChannelStanding, amount: int | None = None) -> Receipt:
    """Ask for money back, by default all that the channel holds: due after its delay, less what the server settles."""
    return run.payments.request_withdrawal(channel.channel_id, channel.held if amount is None else amount)


def cancel_withdrawal(run: Run, channel: ChannelStanding) -> Receipt:
    """Take a requested withdrawal back. A server counts the money again when that is final. Raises ContractError
    NoWithdrawal without one.
    """
    return run.payments.cancel_withdrawal(channel.channel_id)


def withdraw(run: Run, channel: ChannelStanding) -> tuple[int, Receipt]:
    """Take a withdrawal that is due; what was paid out. Raises ContractError WithdrawalNotDue before that, NoWithdrawal
    without one.
    """
    receipt = run.payments.withdraw(channel.channel_id)
    events = decode_events(receipt.logs, run.contract_names)
    return sum(event.amount for event in events if isinstance(event, Withdrawn)), receipt
