"""CreditLedger and CheckpointRegistry: what is final, and for good."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from commonweight.chain.contracts.base import Contract
from commonweight.chain.structs import Checkpoint, ClaimBasis, FinalEpoch, LatestRoot, Leaf, Revocation, Sibling
from commonweight.chain.types import BlockId


class Ledger(Contract):
    """The final epochs of a run; see contracts/interfaces/ICreditLedger.sol."""

    CONTRACT: ClassVar[str] = "CreditLedger"

    def latest(self, *, block: BlockId = "latest") -> LatestRoot:
        """The last final tree."""
        return self._named(LatestRoot, "latest", block=block)

    def final_epoch(self, epoch: int, *, block: BlockId = "latest") -> FinalEpoch:
        """A final epoch's tree and snapshots."""
        return self._one(FinalEpoch, "finalEpoch", epoch, block=block)

    def root_of(self, epoch: int, *, block: BlockId = "latest") -> bytes:
        """A final epoch's root."""
        return self._one(bytes, "rootOf", epoch, block=block)

    def final_at(self, epoch: int, *, block: BlockId = "latest") -> int:
        """When an epoch became final, 0 if it is not."""
        return self._one(int, "finalAt", epoch, block=block)

    def verify_leaf(self, epoch: int, leaf: Leaf, proof: Sequence[Sibling], *, block: BlockId = "latest") -> bool:
        """Whether a leaf is in a final tree."""
        return self._one(bool, "verifyLeaf", epoch, leaf, list(proof), block=block)

    def live_credits(self, *, block: BlockId = "latest") -> int:
        """Final credits less revoked ones."""
        return self._one(int, "liveCredits", block=block)

    def revoked(self, index: int, *, block: BlockId = "latest") -> Revocation:
        """What was revoked from an index."""
        return self._one(Revocation, "revoked", index, block=block)

    def claim_basis(self, epoch: int, index: int, *, block: BlockId = "latest") -> ClaimBasis:
        """What a claim is checked against. Reverts NotFinal."""
        return self._named(ClaimBasis, "claimBasis", epoch, index, block=block)


class Checkpoints(Contract):
    """The chain of attested checkpoints; see contracts/interfaces/ICheckpointRegistry.sol."""

    CONTRACT: ClassVar[str] = "CheckpointRegistry"

    def count(self, *, block: BlockId = "latest") -> int:
        """How many checkpoints have been attested."""
        return self._one(int, "count", block=block)

    def checkpoint_at(self, position: int, *, block: BlockId = "latest") -> Checkpoint:
        """A checkpoint by its place in the chain. Reverts UnknownCheckpoint."""
        return self._one(Checkpoint, "checkpointAt", position, block=block)

    def is_attested(self, manifest_sha256: bytes, *, block: BlockId = "latest") -> bool:
        """Whether a checkpoint manifest has been attested."""
        return self._one(bool, "isAttested", manifest_sha256, block=block)
