"""Every account's balance of the run's asset, and what each contract owes: slashed money waits for its owner."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from tests.ledger_model.rules import ZERO, need

if TYPE_CHECKING:
    from tests.ledger_model.run import Run


class Bank:
    """Balances by address. Nothing is made or lost but what a node takes for gas."""

    def __init__(self, asset: str) -> None:
        self.asset = asset
        self.balances: Counter[str] = Counter()

    def move(self, source: str, target: str, amount: int) -> None:
        """Move units; nobody pays what it does not have."""
        assert 0 <= amount <= self.balances[source], f"{source} has {self.balances[source]}, not {amount}"
        self.balances[source] -= amount
        self.balances[target] += amount

    def burn(self, account: str, amount: int) -> None:
        """What the sender of a transaction paid for gas, with native ETH as asset."""
        self.balances[account] -= amount


def wrong_value(run: Run, amount: int, value: int) -> bool:
    """Whether the ETH sent is other than the amount in ETH, or anything in tokens."""
    return value != (amount if run.p.asset == ZERO else 0)


class Dues:
    """Slashed stakes and bonds of one contract: whoever they belong to pulls them, anyone can make it happen."""

    def __init__(self, run: Run, contract: str) -> None:
        self.run, self.contract = run, contract
        self.owed: defaultdict[str, int] = defaultdict(int)

    def owe(self, account: str, amount: int) -> None:
        """Book an amount."""
        self.owed[account] += amount

    def slash(self, amount: int, prover: str) -> None:
        """A tenth to the prover, the rest to the capital pool."""
        self.owe(prover, amount // 10)
        self.owe(self.run.at("distributor"), amount - amount // 10)

    def pay(self, account: str) -> None:
        """Pay what is owed; the distributor's enters the capital pool, which needs its shares to be fixed."""
        amount = self.owed[account]
        need(amount > 0, "NothingOwed")
        distributor = self.run.distributor
        if account == self.run.at("distributor"):
            need(self.run.campaign.shares_fixed, "DepositsOpen")
            distributor.to_capital(amount)
        self.owed[account] = 0
        self.run.bank.move(self.run.at(self.contract), account, amount)
