"""RevenueDistributor: two pools and the claims on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from commonweight.chain.contracts.asset import PaidContract
from commonweight.chain.structs import Leaf, Sibling
from commonweight.chain.types import BlockId, Receipt


class Distributor(PaidContract):
    """The distributor of revenue and wages; see contracts/interfaces/IRevenueDistributor.sol."""

    CONTRACT: ClassVar[str] = "RevenueDistributor"

    def pay_revenue(self, amount: int) -> Receipt:
        """Pay revenue into both pools."""
        return self._pay(amount, "payRevenue", amount)

    def pay_capital(self, amount: int) -> Receipt:
        """Pay into the capital pool alone."""
        return self._pay(amount, "payCapital", amount)

    def claim_capital(self, funder: str) -> Receipt:
        """Pay a funder its share of the capital pool so far."""
        return self._send("claimCapital", funder)

    def claim_compute(self, epoch: int, leaf: Leaf, proof: Sequence[Sibling]) -> Receipt:
        """Pay a provider what its leaf in a final tree has earned so far, to its payout address."""
        return self._send("claimCompute", epoch, leaf, list(proof))

    def claimable_capital(self, funder: str, *, block: BlockId = "latest") -> int:
        """What `claim_capital` would pay."""
        return self._one(int, "claimableCapital", funder, block=block)

    def claimable_compute(self, epoch: int, leaf: Leaf, *, block: BlockId = "latest") -> int:
        """What `claim_compute` would pay for a leaf that is in the tree."""
        return self._one(int, "claimableCompute", epoch, leaf, block=block)

    def capital_received(self, *, block: BlockId = "latest") -> int:
        """All that the capital pool has received."""
        return self._one(int, "capitalReceived", block=block)

    def capital_paid(self, *, block: BlockId = "latest") -> int:
        """All that the capital pool has paid."""
        return self._one(int, "capitalPaid", block=block)

    def compute_received(self, *, block: BlockId = "latest") -> int:
        """All that the compute pool has received, wages included."""
        return self._one(int, "computeReceived", block=block)

    def compute_paid(self, *, block: BlockId = "latest") -> int:
        """All that the compute pool has paid."""
        return self._one(int, "computePaid", block=block)

    def pending_compute(self, *, block: BlockId = "latest") -> int:
        """Compute revenue that waits for the next closing."""
        return self._one(int, "pendingCompute", block=block)

    def acc_capital(self, *, block: BlockId = "latest") -> int:
        """Scaled revenue per capital share."""
        return self._one(int, "accCapital", block=block)

    def acc_compute(self, *, block: BlockId = "latest") -> int:
        """Scaled revenue per credit."""
        return self._one(int, "accCompute", block=block)

    def compute_carry(self, *, block: BlockId = "latest") -> int:
        """The scaled remainder that the next distribution takes up."""
        return self._one(int, "computeCarry", block=block)

    def capital_claimed_by(self, funder: str, *, block: BlockId = "latest") -> int:
        """What a funder has claimed."""
        return self._one(int, "capitalClaimedBy", funder, block=block)

    def claimed_by(self, index: int, *, block: BlockId = "latest") -> int:
        """What an index has claimed, debts that it paid included."""
        return self._one(int, "claimedBy", index, block=block)

    def debt_of(self, index: int, *, block: BlockId = "latest") -> int:
        """What an index owes the capital pool."""
        return self._one(int, "debtOf", index, block=block)

    def finished(self, *, block: BlockId = "latest") -> bool:
        """Whether revenue is distributed on arrival."""
        return self._one(bool, "finished", block=block)
