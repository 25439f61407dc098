"""The signer sets that a run has had. Sets change while work is under way, so that who counts depends on when."""

from dataclasses import dataclass

__all__ = ["Offices"]


@dataclass(frozen=True)
class Offices:
    """Signer sets, oldest first: the block in which each took office, and its addresses, lower case and ascending."""

    sets: tuple[tuple[int, tuple[str, ...]], ...]

    @property
    def ever(self) -> frozenset[str]:
        """All that were ever in office: what they signed stays signed when they leave."""
        return frozenset(signer for _, signers in self.sets for signer in signers)

    def at(self, block: int) -> tuple[str, ...]:
        """The set in office after a block: those who share what its hash draws. None before the first set."""
        return next((signers for since, signers in reversed(self.sets) if since <= block), ())

    def since(self, block: int) -> frozenset[str]:
        """All in office after a block, or coming into it later: those who have a vote on what its hash draws."""
        return frozenset(self.at(block)).union(*(signers for since, signers in self.sets if since > block))
