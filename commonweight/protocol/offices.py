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
