"""The contracts' structs as frozen dataclasses, fields named as in Solidity but in snake_case.

Report, Ban, Rotation, DisputeVerdict, Leaf and Sibling are those of `commonweight.protocol`, so that what is signed or
hashed is what is sent. bytes32 are `bytes`, addresses are checksummed `str`, amounts are in the run's asset's smallest
unit, times in Unix seconds, values called scaled are times 2^64.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from commonweight.errors import ConfigError
from commonweight.protocol.structs import Ban, DisputeVerdict, Report, Rotation
from commonweight.protocol.sumtree import Leaf, Sibling

__all__ = [
    "ZERO_ADDRESS",
    "Ban",
    "Channel",
    "Checkpoint",
    "ClaimBasis",
    "DisputeVerdict",
    "EpochInfo",
    "EpochState",
    "FinalEpoch",
    "LatestRoot",
    "Leaf",
    "Milestone",
    "Provider",
    "Report",
    "Revocation",
    "Rotation",
    "RunAddresses",
    "RunParams",
    "Sibling",
    "VoucherClaim",
]

ZERO_ADDRESS = "0x" + 40 * "0"
U64_MAX = 2**64 - 1


@dataclass(frozen=True)
class Milestone:
    """A step that unlocks `tranche_bps` of the escrow; one with 0 credits and maximal loss is met from the start."""

    deadline_epoch: int
    min_credits: int
    max_loss_micro: int
    tranche_bps: int

    @classmethod
    def open(cls, tranche_bps: int = 10_000) -> Milestone:
        """A milestone that is met from the start."""
        return cls(0, 0, U64_MAX, tranche_bps)


@dataclass(frozen=True)
class RunParams:
    """Everything that is fixed when a run is created; see the specification, sections 3 and 4."""

    asset: str
    goal: int
    cap: int
    deposit_deadline: int
    capital_bps: int
    wage_per_credit: int
    oracle_bps: int
    server_bps: int
    epoch_start: int
    epoch_length: int
    last_epoch: int
    tail_epochs: int
    report_span: int
    attempt_length: int
    challenge_window: int
    answer_time: int
    dispute_period: int
    anchor_window: int
    rotation_delay: int
    withdrawal_delay: int
    max_credits_per_epoch: int
    anchor_every: int
    evidence_retention: int
    provider_stake: int
    signer_bond: int
    challenge_bond: int
    dispute_bond: int
    quorum: int
    signers: tuple[str, ...]
    transmitters: tuple[str, ...]
    config_sha256: bytes
    config_cid: str
    name: str
    data_licence: str
    weights_licence: str
    milestones: tuple[Milestone, ...]

    def epoch_of(self, timestamp_s: int) -> int:
        """The epoch that a time falls in; negative before the first."""
        return (timestamp_s - self.epoch_start) // self.epoch_length

    def epoch_end(self, epoch: int) -> int:
        """The first second after an epoch."""
        return self.epoch_start + (epoch + 1) * self.epoch_length

    def require_own_anchors(self) -> None:
        """ConfigError for a run whose rounds share anchors: programs anchor each round (docs/adr/0019)."""
        if self.anchor_every != 1:
            raise ConfigError(
                "This run's rounds share anchors",
                f"its anchorEvery is {self.anchor_every}, and every round is anchored by itself here",
                "create the run with anchor_every = 1",
            )


@dataclass(frozen=True)
class RunAddresses:
    """The contracts of one run; the campaign's address names the run."""

    campaign: str
    registry: str
    oracle: str
    ledger: str
    checkpoints: str
    distributor: str
    payments: str
    disputes: str


class EpochState(enum.IntEnum):
    """Where an epoch stands. Final and void are for good."""

    NONE = 0
    CLOSED = 1
    REPORTED = 2
    FINAL = 3
    VOID = 4

    @property
    def settled(self) -> bool:
        """Final or void."""
        return self in (EpochState.FINAL, EpochState.VOID)


@dataclass(frozen=True)
class EpochInfo:
    """An epoch in the oracle. `acc` and `wage` are scaled; `signer_mask` has bit i for signer i of set `rotation`."""

    state: EpochState
    closed_at: int
    open_until: int
    settled_at: int
    provider_count: int
    attempt: int
    rotation: int
    signer_mask: int
    epoch_credits: int
    acc: int
    wage: int
    unlocked_escrow: int
    report_digest: bytes


@dataclass(frozen=True)
class FinalEpoch:
    """A final epoch in the ledger; `acc` and `wage` are the scaled values at which its credits entered."""

    root: bytes
    sum: int
    depth: int
    epoch_credits: int
    final_at: int
    acc: int
    wage: int
    report_digest: bytes


@dataclass(frozen=True)
class LatestRoot:
    """The last final tree; before the first report `any` is false, root zero, sum and depth 0."""

    epoch: int
    any: bool
    root: bytes
    sum: int
    depth: int


@dataclass(frozen=True)
class Revocation:
    """What was revoked from an index: `credits` is rC, `acc_weighted` is rA, `last_epoch` the last revoked epoch if
    `any`.
    """

    credits: int
    last_epoch: int
    any: bool
    acc_weighted: int


@dataclass(frozen=True)
class ClaimBasis:
    """What a claim by an index on a final epoch is checked against."""

    root: bytes
    sum: int
    depth: int
    revocation: Revocation


@dataclass(frozen=True)
class Checkpoint:
    """An attested checkpoint; its CID is in the ReportSubmitted event of its epoch."""

    epoch: int
    round: int
    loss_micro: int
    manifest_sha256: bytes
    parent: bytes


@dataclass(frozen=True)
class Provider:
    """A registered provider; `exit_at` and `banned_until` are 0 if it did neither leave nor get banned."""

    account: str
    signing_key: str
    payout: str
    registered_at: int
    exit_at: int
    banned_until: int
    stake: int
    peer: str


@dataclass(frozen=True)
class Channel:
    """A payment channel; `withdrawal_at` is 0 when no withdrawal is under way. `delay` in seconds."""

    payer: str
    server: str
    delay: int
    withdrawal_at: int
    deposited: int
    settled: int
    withdrawal_amount: int


@dataclass(frozen=True)
class VoucherClaim:
    """A voucher that a server settles: the payer signed `cumulative` as a ceiling, `amount` is the channel's total to
    settle.
    """

    channel_id: bytes
    cumulative: int
    amount: int
    signature: bytes
