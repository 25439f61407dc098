"""Settling: many payers' vouchers in one transaction, by timer, by threshold, before a withdrawal is due, and at the
end.

What has been settled is read from the chain, never remembered: a crash at any moment, before or after the transaction
was mined, leads to the same next step, and the contract takes nothing that it has taken before. It is read again until
it is final: what a reorganisation undoes is settled again.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from commonweight.chain.structs import VoucherClaim
from commonweight.chain.types import Receipt
from commonweight.errors import ChainError, ContractError
from inference.metering import Account, Ledger

MAX_CLAIMS = 50
# What the contract finds wrong with a claim; all else (a token that is paused, say) is no fault of the voucher.
FAULTS = {"NotServer", "VoucherNotNew", "AmountExceedsVoucher", "VoucherExceedsDeposit", "BadSignature"}
# Of these, what only a node says that has not seen the last deposit or settlement: no claim is above either.
_LAGGING = {"NotServer", "VoucherNotNew", "VoucherExceedsDeposit"}
_REST_S = 30.0
_log = structlog.get_logger("settlement")


@dataclass(frozen=True)
class Settled:
    """One settlement: the transaction, how many channels it settled and how much in all."""

    transaction: bytes
    channels: int
    amount: int


class Settler:
    """Settles the ledger's channels. `settle_due` is called often and mostly does nothing; `settle_all` at the end.

    `refresh` reads a channel from the chain into the ledger, `send` settles claims in one transaction, `clear` waits
    for transactions of before: one that waits to be mined is not sent again beside it. All block.

    A channel whose settling brings less than `least` waits until it brings more: it would cost more gas than that. A
    channel that owes something, or whose settlement is not final, is read when that is first seen, and then each eighth
    of its withdrawal delay: most of the delay is left to settle when a withdrawal is noticed. What else reads a channel
    helps to notice it sooner.
    """

    def __init__(
        self,
        ledger: Ledger,
        refresh: Callable[[bytes], Account | None],
        send: Callable[[Sequence[VoucherClaim]], Receipt],
        clear: Callable[[], None],
        *,
        every_s: float,
        threshold: int,
        least: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._refresh = refresh
        self._send = send
        self._clear = clear
        self._every_s = every_s
        self._threshold = threshold
        self._least = max(1, least)
        self._clock = clock
        self._last = clock()
        self._looked: dict[bytes, float] = {}
        self._answered: dict[bytes, int] = {}
        self._resting: dict[bytes, float] = {}
        self._one_at_a_time = threading.Lock()

    def settle_due(self) -> list[Settled]:
        """Look at the channels that owe something and settle what is due. Raises ChainError's subclasses when it
        cannot.
        """
        with self._one_at_a_time:
            self._look()
            accounts = self._ledger.owing(self._least)
            by_time = self._clock() - self._last >= self._every_s
            if by_time or sum(map(self._worth, accounts)) >= self._threshold:
                return self._settle_in_turn(accounts)
            urgent = [a for a in accounts if self._leaving(a)]
            done = self._settle(urgent)
            self._answered.update({a.facts.channel_id: a.facts.withdrawal_at for a in urgent if not self._rests(a)})
            return done

    def _look(self) -> None:
        """Read the channels whose turn it is."""
        owing = {account.facts.channel_id: account.facts.delay_s for account in self._ledger.owing(self._least)}
        self._looked = {channel: at for channel, at in self._looked.items() if channel in owing}
        for channel, delay_s in owing.items():
            now = self._clock()
            if now - self._looked.get(channel, -math.inf) >= delay_s / 8:
                self._refresh(channel)
                self._looked[channel] = now

    def _leaving(self, account: Account) -> bool:
        """Whether a requested withdrawal makes a settlement urgent: it would take what was charged, or falls due
        soon.
        """
        facts = account.facts
        if not facts.withdrawal_at or not account.unsettled or self._rests(account):
            return False
        if account.charged > account.available:
            return True
        soon = facts.chain_time >= facts.withdrawal_at - facts.delay_s // 2
        return soon and self._answered.get(facts.channel_id) != facts.withdrawal_at  # later charges it cannot take

    def _worth(self, account: Account) -> int:
        """What settling a channel brings now; 0 when that is too little."""
        claim = None if self._rests(account) else claim_of(account)
        brings = 0 if claim is None else claim.amount - account.facts.settled
        return brings if brings >= self._least else 0

    def settle_all(self) -> list[Settled]:
        """Settle everything that was charged."""
        with self._one_at_a_time:
            self._resting.clear()
            return self._settle_in_turn(self._ledger.owing(self._least))

    def _settle_in_turn(self, accounts: list[Account]) -> list[Settled]:
        done = self._settle(accounts)
        self._last = self._clock()
        return done

    def _settle(self, accounts: list[Account]) -> list[Settled]:
        """Settle what these channels owe as the chain has it now."""
        if accounts:
            self._clear()
        fresh = [a for account in accounts if (a := self._refresh(account.facts.channel_id)) is not None]
        claims = [claim for a in fresh if self._worth(a) and (claim := claim_of(a)) is not None]
        done: list[Settled] = []
        for start in range(0, len(claims), MAX_CLAIMS):
            done += self._send_batch(claims[start : start + MAX_CLAIMS])
        return done

    def _send_batch(self, claims: list[VoucherClaim]) -> list[Settled]:
        """Settle claims in as few transactions as it takes to find the ones that the chain refuses."""
        try:
            return [self._send_one(claims)]
        except ContractError as error:
            if error.name not in FAULTS:
                raise
            if len(claims) == 1:
                self._refused(claims[0], error)
                return []
        half = len(claims) // 2  # one of them was refused
        return self._send_batch(claims[:half]) + self._send_batch(claims[half:])

    def _send_one(self, claims: list[VoucherClaim]) -> Settled:
        before = {claim.channel_id: self._ledger.account(claim.channel_id) for claim in claims}
        receipt = self._send(claims)
        amount = sum(c.amount - (a.facts.settled if (a := before[c.channel_id]) else 0) for c in claims)
        for claim in claims:
            try:
                self._refresh(claim.channel_id)
            except ChainError as error:
                _log.warning("a settled channel could not be read again", why=str(error))
        settled = Settled(receipt.tx_hash, len(claims), amount)
        _log.info("settled", transaction="0x" + receipt.tx_hash.hex(), channels=len(claims), amount=str(amount))
        return settled

    def _rests(self, account: Account) -> bool:
        """Whether a channel's claim was refused just now by a node that lags behind."""
        now = self._clock()
        self._resting = {channel: until for channel, until in self._resting.items() if now < until}
        return account.facts.channel_id in self._resting

    def _refused(self, claim: VoucherClaim, error: ContractError) -> None:
        account = self._refresh(claim.channel_id)
        if account is None or claim_of(account) != claim:
            return  # an earlier transaction of ours was mined meanwhile
        if error.name in _LAGGING:
            self._resting[claim.channel_id] = self._clock() + _REST_S
            _log.warning("the node lags behind: tried again", channel="0x" + claim.channel_id.hex(), why=str(error))
            return
        _log.error("the chain refuses a voucher", channel="0x" + claim.channel_id.hex(), why=str(error))
        self._ledger.refuse(claim.channel_id, error.why or error.name)


def claim_of(account: Account) -> VoucherClaim | None:
    """What to settle on a channel: all that was charged, as far as its deposit goes; None if that is nothing new."""
    amount = min(account.charged, account.ceiling, account.facts.deposited)
    if account.refused or amount <= account.facts.settled:
        return None
    return VoucherClaim(account.facts.channel_id, account.ceiling, amount, account.signature)
