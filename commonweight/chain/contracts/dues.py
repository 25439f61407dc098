"""What the contracts that hold stakes and bonds share: slashed money is booked first and paid out by pull."""

from __future__ import annotations

from commonweight.chain.contracts.asset import PaidContract
from commonweight.chain.types import BlockId, Receipt


class DuesContract(PaidContract):
    """A contract with dues; see contracts/interfaces/IDues.sol."""

    def pay_owed(self, account: str) -> Receipt:
        """Pay what is owed to an account."""
        return self._send("payOwed", account)

    def owed_to(self, account: str, *, block: BlockId = "latest") -> int:
        """What `pay_owed` would pay."""
        return self._one(int, "owedTo", account, block=block)
