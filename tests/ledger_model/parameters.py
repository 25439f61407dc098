"""The run that the sequences act on: small amounts, so that every division leaves a remainder, and short windows."""

from __future__ import annotations

from dataclasses import dataclass

from tests.ledger_model.rules import ZERO

T0 = 2_000_000_000
MAX_LOSS = 2**64 - 1


@dataclass(frozen=True)
class Milestone:
    """A tranche and the thresholds that unlock it."""

    deadline_epoch: int
    min_credits: int
    max_loss_micro: int
    tranche_bps: int

    @property
    def from_the_start(self) -> bool:
        """Whether nothing is asked for it."""
        return self.min_credits == 0 and self.max_loss_micro == MAX_LOSS


@dataclass(frozen=True)
class Parameters:
    """Everything that is fixed when a run is created, under the contracts' names."""

    signers: tuple[str, ...]
    transmitters: tuple[str, ...]
    asset: str = ZERO
    goal: int = 1_000
    cap: int = 3_001
    deposit_deadline: int = T0 + 500
    capital_bps: int = 4_100
    wage_per_credit: int = 5
    oracle_bps: int = 700
    server_bps: int = 1_900
    epoch_start: int = T0 + 500
    epoch_length: int = 1_000
    last_epoch: int = 3
    tail_epochs: int = 2
    report_span: int = 300
    attempt_length: int = 100
    challenge_window: int = 100
    answer_time: int = 20
    dispute_period: int = 700
    anchor_window: int = 60
    rotation_delay: int = 200
    withdrawal_delay: int = 50
    max_credits_per_epoch: int = 401
    anchor_every: int = 1
    evidence_retention: int = 100_000
    provider_stake: int = 509
    signer_bond: int = 707
    challenge_bond: int = 1_003
    dispute_bond: int = 307
    quorum: int = 3
    config_sha256: bytes = bytes(range(32))
    config_cid: str = "bafkreiconfig"
    name: str = "model"
    data_licence: str = "CC0-1.0"
    weights_licence: str = "Apache-2.0"
    milestones: tuple[Milestone, ...] = (Milestone(5, 0, MAX_LOSS, 6_100), Milestone(3, 350, 3_000_000, 3_900))

    @property
    def final_epoch(self) -> int:
        """The last epoch that is closed: the tail's last."""
        return self.last_epoch + self.tail_epochs

    def epoch_end(self, epoch: int) -> int:
        """When an epoch is over."""
        return self.epoch_start + (epoch + 1) * self.epoch_length

    def epoch_of(self, time: int) -> int:
        """The epoch of a time; what is before the start counts to the first."""
        return max(0, time - self.epoch_start) // self.epoch_length
