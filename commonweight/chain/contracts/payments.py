"""InferencePayments: channels from payers to servers, and the vouchers on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from commonweight.chain.contracts.asset import PaidContract
from commonweight.chain.structs import Channel, VoucherClaim
from commonweight.chain.types import BlockId, Receipt
from commonweight.protocol.typed import Domain


class Payments(PaidContract):
    """The payment channels of a run; see contracts/interfaces/IInferencePayments.sol. Delays in seconds."""

    CONTRACT: ClassVar[str] = "InferencePayments"

    def domain(self) -> Domain:
        """The EIP-712 domain of vouchers."""
        return Domain(self.chain.chain_id, self.address)

    def deposit(self, payer: str, server: str, delay: int, amount: int) -> Receipt:
        """Fund the channel from `payer` to `server`, opening it if need be. Its id is `channel_id_of(...)`."""
        return self._pay(amount, "deposit", payer, server, delay, amount)

    def settle(self, claims: Sequence[VoucherClaim]) -> Receipt:
        """Settle vouchers on channels of the sender. A bad one reverts with its position."""
        return self._send("settle", list(claims))

    def claim_server(self, server: str) -> Receipt:
        """Pay a server's cut to its own address."""
        return self._send("claimServer", server)

    def request_withdrawal(self, channel_id: bytes, amount: int) -> Receipt:
        """Start a withdrawal that is due after the channel's delay."""
        return self._send("requestWithdrawal", channel_id, amount)

    def cancel_withdrawal(self, channel_id: bytes) -> Receipt:
        """Give up a withdrawal."""
        return self._send("cancelWithdrawal", channel_id)

    def withdraw(self, channel_id: bytes) -> Receipt:
        """Take a due withdrawal, as far as vouchers have left it."""
        return self._send("withdraw", channel_id)

    def channel(self, channel_id: bytes, *, block: BlockId = "latest") -> Channel:
        """A channel. Reverts UnknownChannel."""
        return self._one(Channel, "channel", channel_id, block=block)

    def channel_id_of(self, payer: str, server: str, delay: int, *, block: BlockId = "latest") -> bytes:
        """A channel's id, as the contract computes it."""
        return self._one(bytes, "channelIdOf", payer, server, delay, block=block)

    def voucher_hash(self, channel_id: bytes, cumulative: int, *, block: BlockId = "latest") -> bytes:
        """The EIP-712 digest that a payer signs, as the contract computes it."""
        return self._one(bytes, "voucherHash", channel_id, cumulative, block=block)

    def server_owed(self, server: str, *, block: BlockId = "latest") -> int:
        """What `claim_server` would pay."""
        return self._one(int, "serverOwed", server, block=block)
