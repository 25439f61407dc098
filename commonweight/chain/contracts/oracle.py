"""CreditOracle: signers, bonds, round anchors and the epoch machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from commonweight.chain.contracts.dues import DuesContract
from commonweight.chain.structs import Ban, EpochInfo, Report, Rotation
from commonweight.chain.types import BlockId, Receipt
from commonweight.protocol.typed import Domain


@dataclass(frozen=True)
class Anchor:
    """When and in which block a root was anchored; zeros if it was not."""

    time: int
    block_number: int


class Oracle(DuesContract):
    """The oracle of a run; see contracts/interfaces/ICreditOracle.sol."""

    CONTRACT: ClassVar[str] = "CreditOracle"

    def domain(self) -> Domain:
        """The EIP-712 domain of reports, bans and off-chain documents of this run."""
        return Domain(self.chain.chain_id, self.address)

    def anchor_round(
        self, round_number: int, deadline: int, commitments_root: bytes, record_round: int, record_hash: bytes
    ) -> Receipt:
        """Anchor a round's commitments, an earlier round's record, or both; 32 zero bytes stand for none."""
        return self._send("anchorRound", round_number, deadline, commitments_root, record_round, record_hash)

    def close_epoch(self, epoch: int) -> Receipt:
        """Close the next epoch after its end; voids the one before it if that lapsed, else it must be settled."""
        return self._send("closeEpoch", epoch)

    def submit_report(self, report: Report, credits_list: bytes, signatures: Sequence[bytes]) -> Receipt:
        """Submit the report on the closed epoch; signatures ascend by signer address."""
        return self._send("submitReport", report, credits_list, list(signatures))

    def finalize_epoch(self, report: Report) -> Receipt:
        """Make the pending report final once its window is over; `ReportSubmitted` has it as the contract wants it."""
        return self._send("finalizeEpoch", report)

    def void_epoch(self, epoch: int) -> Receipt:
        """Void a closed epoch that got no report within the span."""
        return self._send("voidEpoch", epoch)

    def post_bond(self, signer: str, amount: int) -> Receipt:
        """Add to a signer's bond."""
        return self._pay(amount, "postBond", signer, amount)

    def withdraw_bond(self, signer: str) -> Receipt:
        """Pay the bond of a signer that has left the set back to it."""
        return self._send("withdrawBond", signer)

    def ban_provider(self, ban: Ban, signatures: Sequence[bytes]) -> Receipt:
        """Record a quorum's ban."""
        return self._send("banProvider", ban, list(signatures))

    def propose_rotation(self, rotation: Rotation, signatures: Sequence[bytes]) -> Receipt:
        """Announce a new signer set, signed by a quorum of the current one."""
        return self._send("proposeRotation", rotation, list(signatures))

    def apply_rotation(self, rotation: Rotation) -> Receipt:
        """Put the announced signer set in office once its delay is over."""
        return self._send("applyRotation", rotation)

    def prove_equivocation(self, a: Report, signature_a: bytes, b: Report, signature_b: bytes) -> Receipt:
        """Prove that a signer signed two different reports for one epoch and attempt."""
        return self._send("proveEquivocation", a, signature_a, b, signature_b)

    def epoch_info(self, epoch: int, *, block: BlockId = "latest") -> EpochInfo:
        """Where an epoch stands."""
        return self._one(EpochInfo, "epochInfo", epoch, block=block)

    def next_epoch(self, *, block: BlockId = "latest") -> int:
        """The lowest epoch that has not been closed."""
        return self._one(int, "nextEpoch", block=block)

    def current_attempt(self, epoch: int, *, block: BlockId = "latest") -> int:
        """The attempt that a report must carry at that block's time."""
        return self._one(int, "currentAttempt", epoch, block=block)

    def reserved_escrow(self, *, block: BlockId = "latest") -> int:
        """What of the escrow the open epoch holds: all that was unlocked, or wages and fee of its accepted report."""
        return self._one(int, "reservedEscrow", block=block)

    def credits_limit(self, *, block: BlockId = "latest") -> int:
        """What the open epoch's credits may sum to."""
        return self._one(int, "creditsLimit", block=block)

    def finished_at(self, *, block: BlockId = "latest") -> int:
        """When the run's last epoch was settled, 0 if it was not."""
        return self._one(int, "finishedAt", block=block)

    def is_anchored(
        self, round_number: int, deadline: int, commitments_root: bytes, *, block: BlockId = "latest"
    ) -> bool:
        """Whether a commitments root has been anchored."""
        return self._one(bool, "isAnchored", round_number, deadline, commitments_root, block=block)

    def anchor_of(
        self, round_number: int, deadline: int, commitments_root: bytes, *, block: BlockId = "latest"
    ) -> Anchor:
        """When a commitments root was anchored."""
        return self._named(Anchor, "anchorOf", round_number, deadline, commitments_root, block=block)

    def record_of(self, round_number: int, *, block: BlockId = "latest") -> bytes:
        """The record hash first anchored for a round, zero if none."""
        return self._one(bytes, "recordOf", round_number, block=block)

    def rotation(self, *, block: BlockId = "latest") -> int:
        """The number of the signer set in office."""
        return self._one(int, "rotation", block=block)

    def config_digest(self, *, block: BlockId = "latest") -> bytes:
        """The digest that binds reports to the configuration and signer set in office."""
        return self._one(bytes, "configDigest", block=block)

    def signers(self, *, block: BlockId = "latest") -> tuple[str, ...]:
        """The signers in office, ascending."""
        return self._one(tuple[str, ...], "signers", block=block)

    def signers_at(self, rotation: int, *, block: BlockId = "latest") -> tuple[str, ...]:
        """The signers of a set by its number."""
        return self._one(tuple[str, ...], "signersAt", rotation, block=block)

    def quorum(self, *, block: BlockId = "latest") -> int:
        """How many signatures a report needs."""
        return self._one(int, "quorum", block=block)

    def transmitter_of(self, signer: str, *, block: BlockId = "latest") -> str:
        """A signer's transmitter."""
        return self._one(str, "transmitterOf", signer, block=block)

    def bond_of(self, signer: str, *, block: BlockId = "latest") -> int:
        """A signer's bond."""
        return self._one(int, "bondOf", signer, block=block)

    def report_hash(self, report: Report, *, block: BlockId = "latest") -> bytes:
        """The EIP-712 digest of a report, as the contract computes it."""
        return self._one(bytes, "reportHash", report, block=block)

    def domain_separator(self, *, block: BlockId = "latest") -> bytes:
        """The EIP-712 domain separator."""
        return self._one(bytes, "domainSeparator", block=block)
