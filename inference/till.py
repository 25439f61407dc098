"""The till: says what a request costs, and decides whether the voucher that came with it pays for that."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from commonweight.errors import ChainError, PaymentRefused, SignatureError
from commonweight.protocol.fields import hex32
from commonweight.protocol.typed import Domain
from commonweight.protocol.vouchers import channel_id, voucher_signer
from commonweight.protocol.x402 import ChannelState, Payment, Reason, Requirements, VoucherState
from inference.metering import Account, ChannelFacts, Delivered, Ledger, Reservation, price

_REREAD_S = 1.0


@dataclass(frozen=True)
class Terms:
    """What holds for every request to this server. Addresses are lower case, the price is per token."""

    chain_id: int
    run: str
    payments: str
    asset: str
    server: str
    price_per_token: int
    delay_s: int
    timeout_s: int


class Till:
    """Checks payments against the terms, the channel on chain and the ledger. Methods block; use them from threads.

    `read` gets a channel from the chain. What it said is used for `refresh_s`, and when the chain cannot be read, for
    up to half the channel's withdrawal delay: a withdrawal that began meanwhile is then still not due. Channels that
    the ledger does not know, which cost nobody anything, are read one by one beside those that it knows.
    """

    def __init__(
        self,
        terms: Terms,
        vouchers: Domain,
        ledger: Ledger,
        read: Callable[[bytes], ChannelFacts | None],
        refresh_s: float,
    ) -> None:
        self.terms = terms
        self.ledger = ledger
        self._vouchers = vouchers
        self._read = read
        self._refresh_s = refresh_s
        self._reading = {known: threading.Lock() for known in (True, False)}
        self._failed_at = -math.inf

    def requirements(
        self, checkpoint: bytes, prompt_tokens: int, max_tokens: int, account: Account | None = None
    ) -> Requirements:
        """What a request costs at most that this checkpoint answers; with the state of the payer's channel when it
        needs to be told.
        """
        terms = self.terms
        voucher = None if account is None or not account.ceiling else VoucherState(account.ceiling, account.signature)
        return Requirements(
            chain_id=terms.chain_id,
            amount=price(prompt_tokens, max_tokens, terms.price_per_token),
            asset=terms.asset,
            pay_to=terms.server,
            max_timeout_s=terms.timeout_s,
            payments=terms.payments,
            run=terms.run,
            checkpoint=checkpoint,
            withdraw_delay_s=terms.delay_s,
            price_per_token=terms.price_per_token,
            prompt_tokens=prompt_tokens,
            max_completion_tokens=max_tokens,
            channel=None if account is None else channel_state(account),
            voucher=voucher,
        )

    def accept(self, payment: Payment, offer: Requirements, request_sha256: str, note: str) -> Reservation | Delivered:
        """Reserve the request's maximum on the payment's channel, or give what this very voucher has paid for before.

        `note` is kept with the reservation. Raises PaymentRefused.
        """
        self._check(payment, offer)
        if payment.checkpoint not in (None, offer.checkpoint):
            return self._answered_before(payment, request_sha256)
        account = self._fresh(payment.voucher.channel_id, self._refresh_s)
        try:
            return self.ledger.reserve(payment.voucher, request_sha256, offer.amount, note)
        except PaymentRefused as error:
            if error.code != Reason.EXCEEDS_BALANCE or time.time() - account.facts.read_at < _REREAD_S:
                raise
        self._fresh(payment.voucher.channel_id, 0.0)
        return self.ledger.reserve(payment.voucher, request_sha256, offer.amount, note)

    def knows(self, channel: bytes) -> bool:
        """Whether a channel has been read before: then somebody has paid into it."""
        return self.ledger.account(channel) is not None

    def refresh(self, channel: bytes) -> Account | None:
        """Read a channel from the chain into the ledger. Raises ChainError's subclasses."""
        facts = self._read(channel)
        return None if facts is None else self.ledger.observe(facts)

    def _answered_before(self, payment: Payment, request_sha256: str) -> Delivered:
        """What a payment that accepts another checkpoint has bought while that was served. Raises PaymentRefused."""
        delivered = self.ledger.delivered(payment.voucher, request_sha256)
        if delivered is None:
            raise _refused(
                Reason.TERMS_CHANGED,
                "The payment is for another checkpoint",
                f"it accepts {hex32(payment.checkpoint or b'')}, which does not answer any more",
            )
        return delivered

    def _check(self, payment: Payment, offer: Requirements) -> None:
        terms = self.terms
        if payment.chain_id != terms.chain_id:
            raise _refused(Reason.NETWORK_MISMATCH, "The payment is for another chain", f"this is {terms.chain_id}")
        if payment.pay_to != terms.server:
            raise _refused(Reason.RECEIVER_MISMATCH, "The payment is for another server", f"this is {terms.server}")
        if payment.asset != terms.asset:
            raise _refused(Reason.TOKEN_MISMATCH, "The payment is in another asset", f"the run's is {terms.asset}")
        if payment.delay_s < terms.delay_s:
            raise _refused(
                Reason.DELAY_MISMATCH, "The channel's withdrawal delay is too short", f"it must be {terms.delay_s} s"
            )
        if payment.amount < offer.amount:
            raise _refused(
                Reason.TERMS_CHANGED,
                "The payment accepts less than this request costs",
                f"{payment.amount} were accepted, it costs at most {offer.amount}",
            )
        voucher = payment.voucher
        if channel_id(payment.payer, terms.server, terms.asset, payment.delay_s) != voucher.channel_id:
            raise _refused(
                Reason.CHANNEL_ID_MISMATCH, "The voucher is for another channel", "its name is of other values"
            )
        try:
            signer = voucher_signer(voucher, self._vouchers)
        except SignatureError as error:
            raise _refused(Reason.SIGNATURE, error.what, error.why) from error
        if signer != payment.payer:
            raise _refused(
                Reason.SIGNATURE,
                "The voucher is not signed by the channel's payer",
                "the signature is by another key, or for another amount, chain or contract",
            )

    def _fresh(self, channel: bytes, max_age_s: float) -> Account:
        account = self.ledger.account(channel)
        if account is not None and time.time() - account.facts.read_at < max_age_s:
            return account
        with self._reading[account is not None]:
            account = self.ledger.account(channel)
            if account is not None and time.time() - account.facts.read_at < max(max_age_s, _REREAD_S):
                return account
            serves = account is not None and time.time() - account.facts.read_at < account.facts.delay_s / 2
            if account is not None and serves and time.monotonic() - self._failed_at < self._refresh_s:
                return account
            try:
                account = self.refresh(channel)
            except ChainError as error:
                self._failed_at = time.monotonic()
                if account is not None and serves:
                    return account
                raise PaymentRefused(
                    Reason.STATE_READ_FAILED, "The channel cannot be read from the chain", error.what, "try again later"
                ) from error
        if account is None:
            raise _refused(
                Reason.CHANNEL_NOT_FOUND,
                "This channel does not exist",
                "no deposit into it is final",
                "pay into the channel, and wait until that is final",
            )
        return account


def channel_state(account: Account) -> ChannelState:
    """The channel as servers tell it to payers."""
    facts = account.facts
    return ChannelState(
        channel_id=facts.channel_id,
        balance=facts.deposited,
        total_claimed=facts.settled,
        charged=account.charged,
        reserved=account.reserved,
        withdraw_amount=facts.withdrawal_amount,
        withdraw_requested_at=facts.withdrawal_at - facts.delay_s if facts.withdrawal_at else 0,
        withdraw_due_at=facts.withdrawal_at,
        sequence=account.sequence,
    )


def _refused(code: Reason, what: str, why: str, fix: str = "") -> PaymentRefused:
    return PaymentRefused(code, what, why, fix or "take the terms of the 402 answer and sign a voucher for them")
