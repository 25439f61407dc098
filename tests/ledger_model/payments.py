"""Channels, cumulative vouchers, delayed withdrawals."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.ledger_model import typed
from tests.ledger_model.money import wrong_value
from tests.ledger_model.rules import BPS, ZERO, Rules, need, refuse

if TYPE_CHECKING:
    from tests.ledger_model.run import Run

MAX_TIME = 2**40


@dataclass
class Channel:
    """Money of one payer for one server."""

    payer: str
    server: str
    delay: int
    withdrawal_at: int = 0
    deposited: int = 0
    settled: int = 0
    withdrawal_amount: int = 0


@dataclass(frozen=True)
class VoucherClaim:
    """A server's new total of a channel, under the ceiling that its payer signed."""

    channel_id: bytes
    cumulative: int
    amount: int
    signature: bytes


class Payments:
    """The InferencePayments row of section 4, and section 9."""

    def __init__(self, run: Run) -> None:
        self.run, self.p = run, run.p
        self.channels: dict[bytes, Channel] = {}
        self.server_owed: defaultdict[str, int] = defaultdict(int)
        self.domain = typed.domain(run.chain_id, run.at("payments"))

    def deposit(self, sender: str, payer: str, server: str, delay: int, amount: int, value: int) -> None:
        """Opens or funds a channel."""
        rules = Rules()
        rules.need(amount > 0, "ZeroAmount")
        rules.need(payer != ZERO and server != ZERO, "ZeroAddress")
        rules.need(self.p.withdrawal_delay <= delay < MAX_TIME, "DelayOutOfRange", self.p.withdrawal_delay)
        rules.need(not wrong_value(self.run, amount, value), "WrongValue", amount if self.run.native else 0)
        rules.hold()
        key = typed.channel_id(payer, server, self.p.asset, delay)
        self.channels.setdefault(key, Channel(payer, server, delay)).deposited += amount
        self.run.bank.move(sender, self.run.at("payments"), amount)

    def settle(self, sender: str, claims: tuple[VoucherClaim, ...]) -> None:
        """All vouchers of a batch or none; the server's cut is rounded down on the whole of it."""
        need(bool(claims), "ZeroAmount")
        totals: dict[bytes, int] = {}
        rules, whole = Rules(), 0
        for position, claim in enumerate(claims):
            channel = self.channels.get(claim.channel_id)
            if channel is None or channel.server != sender:
                rules.need(False, "NotServer", position)
                break
            settled = totals.get(claim.channel_id, channel.settled)
            rules.need(claim.amount > settled, "VoucherNotNew", position, settled)
            rules.need(claim.amount <= claim.cumulative, "AmountExceedsVoucher", position, claim.cumulative)
            rules.need(claim.amount <= channel.deposited, "VoucherExceedsDeposit", position, channel.deposited)
            digest = typed.digest(self.domain, typed.voucher_hash(claim.channel_id, claim.cumulative))
            rules.need(typed.recover(digest, claim.signature) == channel.payer, "BadSignature", position)
            if rules.broken:
                break
            totals[claim.channel_id] = claim.amount
            whole += claim.amount - settled
        cut = whole * self.p.server_bps // BPS
        if whole > cut:
            rules.need(self.run.campaign.shares_fixed, "DepositsOpen")
        rules.hold()
        for key, amount in totals.items():
            self.channels[key].settled = amount
        self.server_owed[sender] += cut
        if whole > cut:
            self.run.bank.move(self.run.at("payments"), self.run.at("distributor"), whole - cut)
            self.run.distributor.receive(whole - cut)

    def claim_server(self, server: str) -> None:
        """A server's cut, to its own address."""
        need(self.server_owed[server] > 0, "NothingDue")
        amount, self.server_owed[server] = self.server_owed[server], 0
        self.run.bank.move(self.run.at("payments"), server, amount)

    def request_withdrawal(self, sender: str, key: bytes, amount: int) -> None:
        """Starts a withdrawal, or starts it again."""
        channel = self._own(sender, key)
        need(amount > 0, "ZeroAmount")
        channel.withdrawal_at, channel.withdrawal_amount = self.run.now + channel.delay, amount

    def cancel_withdrawal(self, sender: str, key: bytes) -> None:
        """Takes the request back."""
        channel = self._own(sender, key)
        need(channel.withdrawal_at > 0, "NoWithdrawal")
        channel.withdrawal_at = channel.withdrawal_amount = 0

    def withdraw(self, sender: str, key: bytes) -> None:
        """Pays as far as vouchers have left it, after the channel's delay."""
        channel = self._own(sender, key)
        need(channel.withdrawal_at > 0, "NoWithdrawal")
        if self.run.now < channel.withdrawal_at:
            raise refuse("WithdrawalNotDue", channel.withdrawal_at)
        amount = min(channel.withdrawal_amount, channel.deposited - channel.settled)
        channel.deposited -= amount
        channel.withdrawal_at = channel.withdrawal_amount = 0
        self.run.bank.move(self.run.at("payments"), sender, amount)

    def _own(self, sender: str, key: bytes) -> Channel:
        channel = self.channels.get(key)
        if channel is None or channel.payer != sender:
            raise refuse("NotPayer")
        return channel
