"""Campaign: contributions, escrow, wages and the return of the unspent."""

from __future__ import annotations

from typing import ClassVar

from commonweight.chain.contracts.asset import PaidContract
from commonweight.chain.structs import Milestone, RunAddresses, RunParams
from commonweight.chain.types import BlockId, Receipt


class Campaign(PaidContract):
    """The campaign that names a run; see contracts/interfaces/ICampaign.sol. Amounts in the asset's smallest unit."""

    CONTRACT: ClassVar[str] = "Campaign"

    def deposit(self, amount: int) -> Receipt:
        """Add to the sender's contribution."""
        return self._pay(amount, "deposit", amount)

    def deposit_with_permit(self, amount: int, deadline: int, v: int, r: bytes, s: bytes) -> Receipt:
        """Deposit tokens by the sender's ERC-2612 permit."""
        return self._send("depositWithPermit", amount, deadline, v, r, s)

    def deposit_with_authorization(
        self, funder: str, amount: int, valid_after: int, valid_before: int, nonce: bytes, v: int, r: bytes, s: bytes
    ) -> Receipt:
        """Deposit tokens for `funder` by its ERC-3009 authorisation to this contract; anyone may bring it."""
        return self._send("depositWithAuthorization", funder, amount, valid_after, valid_before, nonce, v, r, s)

    def refund(self) -> Receipt:
        """Take the sender's whole contribution back from a campaign that failed."""
        return self._send("refund")

    def claim_unspent(self) -> Receipt:
        """Take the sender's share of what was not spent, once the escrow has ended."""
        return self._send("claimUnspent")

    def pay_wages(self) -> Receipt:
        """Move wages that are due to the distributor."""
        return self._send("payWages")

    def claim_fee(self, signer: str) -> Receipt:
        """Pay a signer's fees to its own address."""
        return self._send("claimFee", signer)

    def addresses(self, *, block: BlockId = "latest") -> RunAddresses:
        """All contracts of the run."""
        return self._one(RunAddresses, "addresses", block=block)

    def params(self, *, block: BlockId = "latest") -> RunParams:
        """All parameters of the run."""
        return self._one(RunParams, "params", block=block)

    def created_block(self, *, block: BlockId = "latest") -> int:
        """The block in which the run was created: its events begin there."""
        return self._one(int, "createdBlock", block=block)

    def milestones(self, *, block: BlockId = "latest") -> tuple[Milestone, ...]:
        """The milestones."""
        return self._one(tuple[Milestone, ...], "milestones", block=block)

    def milestones_met(self, *, block: BlockId = "latest") -> int:
        """Bit i is set when milestone i has been met."""
        return self._one(int, "milestonesMet", block=block)

    def asset(self, *, block: BlockId = "latest") -> str:
        """The asset's address, zero for native ether."""
        return self._one(str, "asset", block=block)

    def raised(self, *, block: BlockId = "latest") -> int:
        """All contributions."""
        return self._one(int, "raised", block=block)

    def contribution_of(self, funder: str, *, block: BlockId = "latest") -> int:
        """One funder's contribution: its capital shares."""
        return self._one(int, "contributionOf", funder, block=block)

    def succeeded(self, *, block: BlockId = "latest") -> bool:
        """Whether the goal has been met."""
        return self._one(bool, "succeeded", block=block)

    def failed(self, *, block: BlockId = "latest") -> bool:
        """Whether the deadline passed below the goal."""
        return self._one(bool, "failed", block=block)

    def deposits_closed(self, *, block: BlockId = "latest") -> bool:
        """Whether deposits have ended."""
        return self._one(bool, "depositsClosed", block=block)

    def total_shares(self, *, block: BlockId = "latest") -> int:
        """Total capital shares; reverts DepositsOpen before they are fixed."""
        return self._one(int, "totalShares", block=block)

    def unlocked_escrow(self, *, block: BlockId = "latest") -> int:
        """Unlocked by milestones, neither spent nor reserved."""
        return self._one(int, "unlockedEscrow", block=block)

    def reserved(self, *, block: BlockId = "latest") -> int:
        """Reserved for the open epoch."""
        return self._one(int, "reserved", block=block)

    def released(self, *, block: BlockId = "latest") -> int:
        """Wages and fees of final epochs, paid out or due."""
        return self._one(int, "released", block=block)

    def wages_due(self, *, block: BlockId = "latest") -> int:
        """Wages of final epochs that have not yet moved to the distributor."""
        return self._one(int, "wagesDue", block=block)

    def ended(self, *, block: BlockId = "latest") -> bool:
        """Whether nothing more will be spent."""
        return self._one(bool, "ended", block=block)

    def returnable(self, *, block: BlockId = "latest") -> int:
        """What goes back to the funders in all."""
        return self._one(int, "returnable", block=block)

    def unspent_of(self, funder: str, *, block: BlockId = "latest") -> int:
        """What `claim_unspent` would pay a funder."""
        return self._one(int, "unspentOf", funder, block=block)

    def fee_of(self, signer: str, *, block: BlockId = "latest") -> int:
        """What `claim_fee` would pay a signer."""
        return self._one(int, "feeOf", signer, block=block)
