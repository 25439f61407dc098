"""ProviderRegistry: stable indices of providers with keys, stakes and bans."""

from __future__ import annotations

from typing import ClassVar

from commonweight.chain.contracts.dues import DuesContract
from commonweight.chain.structs import Provider
from commonweight.chain.types import BlockId, Receipt


class Registry(DuesContract):
    """The registry of providers; see contracts/interfaces/IProviderRegistry.sol."""

    CONTRACT: ClassVar[str] = "ProviderRegistry"

    def register(self, signing_key: str, payout: str, peer: str, stake: int) -> Receipt:
        """Register the sender with a stake; its index is `index_of(sender)` afterwards. `peer` is "host:port"."""
        return self._pay(stake, "register", signing_key, payout, peer, stake)

    def rotate_key(self, signing_key: str) -> Receipt:
        """Replace the sender's signing key."""
        return self._send("rotateKey", signing_key)

    def set_payout(self, payout: str) -> Receipt:
        """Replace the address that claims are paid to."""
        return self._send("setPayout", payout)

    def set_peer(self, peer: str) -> Receipt:
        """Publish another peer address."""
        return self._send("setPeer", peer)

    def add_stake(self, amount: int) -> Receipt:
        """Add to the sender's stake."""
        return self._pay(amount, "addStake", amount)

    def exit(self) -> Receipt:
        """Announce that the sender leaves; its stake stays slashable until it is withdrawn."""
        return self._send("exit")

    def withdraw_stake(self, settled_epoch: int) -> Receipt:
        """Take the stake back, with a final epoch not before the exit as the reason; see
        IProviderRegistry.withdrawStake.
        """
        return self._send("withdrawStake", settled_epoch)

    def provider_count(self, *, block: BlockId = "latest") -> int:
        """How many providers have ever registered."""
        return self._one(int, "providerCount", block=block)

    def provider_at(self, index: int, *, block: BlockId = "latest") -> Provider:
        """The provider at an index. Reverts UnknownProvider."""
        return self._one(Provider, "providerAt", index, block=block)

    def account_of(self, index: int, *, block: BlockId = "latest") -> str:
        """The registering account of an index."""
        return self._one(str, "accountOf", index, block=block)

    def payout_of(self, index: int, *, block: BlockId = "latest") -> str:
        """The payout address of an index."""
        return self._one(str, "payoutOf", index, block=block)

    def index_of(self, account: str, *, block: BlockId = "latest") -> int:
        """The index of an account. Reverts UnknownProvider."""
        return self._one(int, "indexOf", account, block=block)

    def index_of_key(self, signing_key: str, *, block: BlockId = "latest") -> int:
        """The index that a signing key belongs to. Reverts UnknownProvider."""
        return self._one(int, "indexOfKey", signing_key, block=block)

    def is_banned(self, index: int, *, block: BlockId = "latest") -> bool:
        """Whether a ban runs."""
        return self._one(bool, "isBanned", index, block=block)

    def open_challenges(self, index: int, *, block: BlockId = "latest") -> int:
        """How many challenges against an index are open."""
        return self._one(int, "openChallenges", index, block=block)
