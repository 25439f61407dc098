"""Providers: stable indices, keys that are never reused, stakes, exits, bans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.ledger_model.money import Dues, wrong_value
from tests.ledger_model.rules import ZERO, Rules, need, refuse

if TYPE_CHECKING:
    from tests.ledger_model.run import Run

MAX_PEER = 512


@dataclass
class Provider:
    """One row of the registry."""

    account: str
    signing_key: str
    payout: str
    registered_at: int
    stake: int
    peer: str
    exit_at: int = 0
    banned_until: int = 0
    challenges: int = 0


class Registry:
    """Account and index never change and are never reused; a signing key belongs to one index for good."""

    def __init__(self, run: Run) -> None:
        self.run, self.p = run, run.p
        self.providers: list[Provider] = []
        self.index_of: dict[str, int] = {}
        self.index_of_key: dict[str, int] = {}
        self.dues = Dues(run, "registry")

    def register(self, sender: str, key: str, payout: str, peer: str, stake: int, value: int) -> None:
        """A new provider at the next index, with at least the run's stake."""
        rules = Rules()
        if sender in self.index_of:
            rules.need(False, "AlreadyRegistered", self.index_of[sender])
        rules.need(key != ZERO and payout != ZERO, "ZeroAddress")
        rules.need(key not in self.index_of_key, "KeyTaken", key)
        rules.need(len(peer) <= MAX_PEER, "PeerTooLong", len(peer))
        rules.need(stake >= self.p.provider_stake, "StakeTooLow", self.p.provider_stake)
        rules.need(not wrong_value(self.run, stake, value), "WrongValue", stake if self.run.native else 0)
        rules.hold()
        self.index_of[sender] = self.index_of_key[key] = len(self.providers)
        self.providers.append(Provider(sender, key, payout, self.run.now, stake, peer))
        self.run.bank.move(sender, self.run.at("registry"), stake)

    def rotate_key(self, sender: str, key: str) -> None:
        """A new signing key; the old ones stay taken."""
        provider = self.own(sender)
        rules = Rules()
        rules.need(key != ZERO, "ZeroAddress")
        rules.need(key not in self.index_of_key, "KeyTaken", key)
        rules.hold()
        self.index_of_key[key] = self.index_of[sender]
        provider.signing_key = key

    def set_payout(self, sender: str, payout: str) -> None:
        """Where claims are paid from now on."""
        provider = self.own(sender)
        need(payout != ZERO, "ZeroAddress")
        provider.payout = payout

    def add_stake(self, sender: str, amount: int, value: int) -> None:
        """More stake, not after an exit."""
        provider = self.own(sender)
        rules = Rules()
        rules.need(amount > 0, "ZeroAmount")
        rules.need(not wrong_value(self.run, amount, value), "WrongValue", amount if self.run.native else 0)
        rules.need(provider.exit_at == 0, "AlreadyExited")
        rules.hold()
        provider.stake += amount
        self.run.bank.move(sender, self.run.at("registry"), amount)

    def exit(self, sender: str) -> None:
        """Leaves; the stake stays slashable until it is withdrawn."""
        provider = self.own(sender)
        need(provider.exit_at == 0, "AlreadyExited")
        provider.exit_at = self.run.now

    def withdraw_stake(self, sender: str, epoch: int) -> None:
        """Free when an epoch not before the exit's is final for a dispute period, or the run is over or failed."""
        provider = self.own(sender)
        rules = Rules()
        rules.need(provider.exit_at > 0, "NotExited")
        rules.need(provider.stake > 0, "ZeroAmount")
        if provider.exit_at:
            rules.need(self._unbonded(provider, epoch) and provider.challenges == 0, "StakeLocked")
        rules.hold()
        amount, provider.stake = provider.stake, 0
        self.run.bank.move(self.run.at("registry"), sender, amount)

    def _unbonded(self, provider: Provider, epoch: int) -> bool:
        if self.run.campaign.failed or self.run.finished_for_a_dispute_period:
            return True
        entry = self.run.ledger.finals.get(epoch)
        if entry is None or epoch < self.p.epoch_of(provider.exit_at):
            return False
        return self.run.now >= entry.final_at + self.p.dispute_period

    # ------------------------------------------------------------------------------------------- oracle, disputes

    def ban(self, index: int, until: int) -> None:
        """A ban ends in the future and later than any before it."""
        need(index < len(self.providers), "UnknownProvider")
        provider = self.providers[index]
        need(until > max(provider.banned_until, self.run.now), "BanNotLonger", provider.banned_until)
        provider.banned_until = until

    def slash(self, index: int, challenger: str) -> int:
        """The whole stake: a tenth to the challenger, the rest to the capital pool."""
        provider = self.providers[index]
        amount, provider.stake = provider.stake, 0
        self.dues.slash(amount, challenger)
        return amount

    def own(self, account: str) -> Provider:
        """The caller's row."""
        if account not in self.index_of:
            raise refuse("UnknownProvider")
        return self.providers[self.index_of[account]]

    def account(self, index: int) -> str:
        """The registering account, zero where there is none."""
        return self.providers[index].account if index < len(self.providers) else ZERO
