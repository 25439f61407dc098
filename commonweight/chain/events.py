"""The contracts' events as frozen dataclasses, each with the place where it stands in the chain.

Fields are named as in Solidity but in snake_case. `decode_events` turns logs into events; a log of a known contract
that cannot be read is an error, never skipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, TypeVar

from commonweight.chain.abi import build, interface
from commonweight.chain.structs import Report, RunAddresses, RunParams, Sibling
from commonweight.chain.types import Log
from commonweight.errors import ChainError


@dataclass(frozen=True, kw_only=True)
class ChainEvent:
    """An event: `address` emitted it in `block` at `log_index`, by transaction `tx`."""

    CONTRACT: ClassVar[str] = ""
    address: str
    block: int
    block_hash: bytes
    tx: bytes
    log_index: int


E = TypeVar("E", bound=ChainEvent)


@dataclass(frozen=True, kw_only=True)
class Initialized(ChainEvent):
    """A clone of any contract of the run was initialised, once and for all."""

    version: int


@dataclass(frozen=True, kw_only=True)
class Owed(ChainEvent):
    """Slashed money was booked for an account."""

    account: str
    amount: int


@dataclass(frozen=True, kw_only=True)
class OwedPaid(ChainEvent):
    """What was owed to an account was paid."""

    account: str
    amount: int


# --- RunFactory -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class RunCreated(ChainEvent):
    """A run was created with these contracts and parameters."""

    CONTRACT: ClassVar[str] = "RunFactory"
    campaign: str
    creator: str
    addresses: RunAddresses
    params: RunParams


# --- Campaign ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Deposited(ChainEvent):
    """A funder put in `amount`; `raised` is the new total."""

    CONTRACT: ClassVar[str] = "Campaign"
    funder: str
    amount: int
    raised: int


@dataclass(frozen=True, kw_only=True)
class Refunded(ChainEvent):
    """A funder of a failed campaign took its contribution back."""

    CONTRACT: ClassVar[str] = "Campaign"
    funder: str
    amount: int


@dataclass(frozen=True, kw_only=True)
class EscrowReserved(ChainEvent):
    """The whole unlocked escrow was reserved for a closed epoch."""

    CONTRACT: ClassVar[str] = "Campaign"
    epoch: int
    amount: int


@dataclass(frozen=True, kw_only=True)
class MilestoneMet(ChainEvent):
    """A milestone was met at an epoch's settlement."""

    CONTRACT: ClassVar[str] = "Campaign"
    milestone: int
    epoch: int


@dataclass(frozen=True, kw_only=True)
class MilestoneMissed(ChainEvent):
    """A milestone's deadline passed unmet."""

    CONTRACT: ClassVar[str] = "Campaign"
    milestone: int
    epoch: int


@dataclass(frozen=True, kw_only=True)
class WagesDue(ChainEvent):
    """A final epoch's wages and fee left the escrow for good."""

    CONTRACT: ClassVar[str] = "Campaign"
    epoch: int
    wages: int
    fee: int


@dataclass(frozen=True, kw_only=True)
class WagesPaid(ChainEvent):
    """Wages moved to the distributor."""

    CONTRACT: ClassVar[str] = "Campaign"
    amount: int


@dataclass(frozen=True, kw_only=True)
class FeePaid(ChainEvent):
    """A signer took its fees."""

    CONTRACT: ClassVar[str] = "Campaign"
    signer: str
    amount: int


@dataclass(frozen=True, kw_only=True)
class EscrowEnded(ChainEvent):
    """Nothing more will be spent; `returnable` goes back to the funders."""

    CONTRACT: ClassVar[str] = "Campaign"
    epoch: int
    returnable: int


@dataclass(frozen=True, kw_only=True)
class UnspentReturned(ChainEvent):
    """A funder took its share of the unspent."""

    CONTRACT: ClassVar[str] = "Campaign"
    funder: str
    amount: int


# --- ProviderRegistry -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ProviderRegistered(ChainEvent):
    """A provider registered at an index."""

    CONTRACT: ClassVar[str] = "ProviderRegistry"
    index: int
    account: str
    signing_key: str
    payout: str
    peer: str
    stake: int


@dataclass(frozen=True, kw_only=True)
class KeyRotated(ChainEvent):
    """A provider replaced its signing key."""

    CONTRACT: ClassVar[str] = "ProviderRegistry"
    index: int
    signing_key: str


@dataclass(frozen=True, kw_only=True)
class PayoutChanged(ChainEvent):
    """A provider replaced its payout address."""

    CONTRACT: ClassVar[str] = "ProviderRegistry"
    index: int
    payout: str


@dataclass(frozen=True, kw_only=True)
class PeerChanged(ChainEvent):
    """A provider published another peer address."""

    CONTRACT: ClassVar[str] = "ProviderRegistry"
    index: int
    peer: str


@dataclass(frozen=True, kw_only=True)
class StakeAdded(ChainEvent):
    """A provider added to its stake."""

    CONTRACT: ClassVar[str] = "ProviderRegistry"
    index: int
    amount: int
    stake: int


@dataclass(frozen=True, kw_only=True)
class Banned(ChainEvent):
    """A provider was banned until a time."""

    CONTRACT: ClassVar[str] = "ProviderRegistry"
    index: int
    evidence_sha256: bytes
    until: int


@dataclass(frozen=True, kw_only=True)
class Slashed(ChainEvent):
    """A provider's stake was taken."""

    CONTRACT: ClassVar[str] = "ProviderRegistry"
    index: int
    amount: int


@dataclass(frozen=True, kw_only=True)
class ExitRequested(ChainEvent):
    """A provider announced that it leaves."""

    CONTRACT: ClassVar[str] = "ProviderRegistry"
    index: int
    exit_at: int


@dataclass(frozen=True, kw_only=True)
class StakeWithdrawn(ChainEvent):
    """A provider took its stake back."""

    CONTRACT: ClassVar[str] = "ProviderRegistry"
    index: int
    amount: int


# --- CreditOracle -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class RoundAnchored(ChainEvent):
    """A round's commitments, an earlier round's record, or both were anchored."""

    CONTRACT: ClassVar[str] = "CreditOracle"
    round: int
    epoch: int
    deadline: int
    commitments_root: bytes
    record_round: int
    record_hash: bytes
    anchorer: str


@dataclass(frozen=True, kw_only=True)
class EpochClosed(ChainEvent):
    """An epoch was closed: its accumulator, unlocked escrow and provider count are fixed."""

    CONTRACT: ClassVar[str] = "CreditOracle"
    epoch: int
    acc: int
    unlocked_escrow: int
    provider_count: int
    closed_at: int


@dataclass(frozen=True, kw_only=True)
class ReportSubmitted(ChainEvent):
    """A report was accepted, with its credits list and signatures."""

    CONTRACT: ClassVar[str] = "CreditOracle"
    epoch: int
    attempt: int
    digest: bytes
    report: Report
    credits: bytes
    signers: tuple[str, ...]
    signatures: tuple[bytes, ...]
    wage: int


@dataclass(frozen=True, kw_only=True)
class EpochFinal(ChainEvent):
    """An epoch is final."""

    CONTRACT: ClassVar[str] = "CreditOracle"
    epoch: int
    root: bytes
    sum: int
    epoch_credits: int
    acc: int
    wage: int


@dataclass(frozen=True, kw_only=True)
class EpochVoided(ChainEvent):
    """An epoch is void."""

    CONTRACT: ClassVar[str] = "CreditOracle"
    epoch: int
    fraud: bool


@dataclass(frozen=True, kw_only=True)
class BondPosted(ChainEvent):
    """A signer's bond was added to."""

    CONTRACT: ClassVar[str] = "CreditOracle"
    signer: str
    amount: int
    bond: int


@dataclass(frozen=True, kw_only=True)
class BondSlashed(ChainEvent):
    """A signer's bond was taken; a tenth went to `prover`."""

    CONTRACT: ClassVar[str] = "CreditOracle"
    signer: str
    prover: str
    amount: int


@dataclass(frozen=True, kw_only=True)
class BondWithdrawn(ChainEvent):
    """A signer that left took its bond back."""

    CONTRACT: ClassVar[str] = "CreditOracle"
    signer: str
    amount: int


@dataclass(frozen=True, kw_only=True)
class RotationProposed(ChainEvent):
    """A new signer set was announced; it can take office at `at`."""

    CONTRACT: ClassVar[str] = "CreditOracle"
    rotation: int
    quorum: int
    signers: tuple[str, ...]
    transmitters: tuple[str, ...]
    at: int


@dataclass(frozen=True, kw_only=True)
class SignerSetChanged(ChainEvent):
    """A signer set took office."""

    CONTRACT: ClassVar[str] = "CreditOracle"
    rotation: int
    config_digest: bytes
    quorum: int
    signers: tuple[str, ...]
    transmitters: tuple[str, ...]


# --- Disputes ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class WrongLeafProved(ChainEvent):
    """The pending report's tree was proved wrong at an index."""

    CONTRACT: ClassVar[str] = "Disputes"
    digest: bytes
    index: int
    prover: str


@dataclass(frozen=True, kw_only=True)
class BadListProved(ChainEvent):
    """The pending report's credits list was proved malformed."""

    CONTRACT: ClassVar[str] = "Disputes"
    digest: bytes
    position: int
    prover: str


@dataclass(frozen=True, kw_only=True)
class GameOpened(ChainEvent):
    """A root game was opened."""

    CONTRACT: ClassVar[str] = "Disputes"
    game: int
    digest: bytes
    epoch: int
    challenger: str


@dataclass(frozen=True, kw_only=True)
class NodeAsked(ChainEvent):
    """A game asks for a node's descendants."""

    CONTRACT: ClassVar[str] = "Disputes"
    digest: bytes
    level: int
    position: int
    hash: bytes
    sum: int


@dataclass(frozen=True, kw_only=True)
class NodeAnswered(ChainEvent):
    """A node's descendants were given."""

    CONTRACT: ClassVar[str] = "Disputes"
    digest: bytes
    level: int
    position: int
    answerer: str
    descendants: tuple[Sibling, ...]


@dataclass(frozen=True, kw_only=True)
class ReportUnanswered(ChainEvent):
    """A report is void because nobody answered a game in time."""

    CONTRACT: ClassVar[str] = "Disputes"
    digest: bytes
    epoch: int
    game: int


@dataclass(frozen=True, kw_only=True)
class GameClosed(ChainEvent):
    """A game was closed."""

    CONTRACT: ClassVar[str] = "Disputes"
    game: int
    challenger_lost: bool


@dataclass(frozen=True, kw_only=True)
class FraudByDefault(ChainEvent):
    """A report that was never answered counts as fraud."""

    CONTRACT: ClassVar[str] = "Disputes"
    digest: bytes
    game: int


@dataclass(frozen=True, kw_only=True)
class CreditsChallenged(ChainEvent):
    """Credits were challenged; the answer is due at `until`."""

    CONTRACT: ClassVar[str] = "Disputes"
    epoch: int
    index: int
    challenger: str
    evidence_sha256: bytes
    until: int


@dataclass(frozen=True, kw_only=True)
class ChallengeAnswered(ChainEvent):
    """The accused provider answered with evidence."""

    CONTRACT: ClassVar[str] = "Disputes"
    epoch: int
    index: int
    evidence_sha256: bytes


@dataclass(frozen=True, kw_only=True)
class VerdictGiven(ChainEvent):
    """The signers judged a challenge."""

    CONTRACT: ClassVar[str] = "Disputes"
    epoch: int
    index: int
    convicted: bool
    evidence_sha256: bytes


@dataclass(frozen=True, kw_only=True)
class Convicted(ChainEvent):
    """Convicted credits were revoked; what they had earned is a debt."""

    CONTRACT: ClassVar[str] = "Disputes"
    epoch: int
    index: int
    credits: int
    debt: int
    slashed: int


@dataclass(frozen=True, kw_only=True)
class ChallengeClosed(ChainEvent):
    """A challenge ended without a verdict."""

    CONTRACT: ClassVar[str] = "Disputes"
    epoch: int
    index: int


# --- CreditLedger -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class EpochRecorded(ChainEvent):
    """A final tree was recorded."""

    CONTRACT: ClassVar[str] = "CreditLedger"
    epoch: int
    root: bytes
    sum: int
    depth: int


@dataclass(frozen=True, kw_only=True)
class CreditsRevoked(ChainEvent):
    """A provider's credits of an epoch were revoked."""

    CONTRACT: ClassVar[str] = "CreditLedger"
    index: int
    epoch: int
    credits: int
    acc: int


# --- CheckpointRegistry -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class CheckpointAttested(ChainEvent):
    """A checkpoint joined the chain of attested ones."""

    CONTRACT: ClassVar[str] = "CheckpointRegistry"
    position: int
    epoch: int
    round: int
    manifest_sha256: bytes
    parent: bytes
    loss_micro: int


# --- RevenueDistributor -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class RevenueReceived(ChainEvent):
    """Revenue was paid in and split between the pools."""

    CONTRACT: ClassVar[str] = "RevenueDistributor"
    payer: str
    amount: int
    to_capital: int
    to_compute: int


@dataclass(frozen=True, kw_only=True)
class CapitalReceived(ChainEvent):
    """Slashed stakes or bonds joined the capital pool."""

    CONTRACT: ClassVar[str] = "RevenueDistributor"
    from_: str
    amount: int


@dataclass(frozen=True, kw_only=True)
class WagesReceived(ChainEvent):
    """Wages joined the compute pool."""

    CONTRACT: ClassVar[str] = "RevenueDistributor"
    amount: int


@dataclass(frozen=True, kw_only=True)
class Distributed(ChainEvent):
    """Pending compute revenue was distributed."""

    CONTRACT: ClassVar[str] = "RevenueDistributor"
    acc_compute: int
    carry: int


@dataclass(frozen=True, kw_only=True)
class CapitalClaimed(ChainEvent):
    """A funder was paid from the capital pool."""

    CONTRACT: ClassVar[str] = "RevenueDistributor"
    funder: str
    amount: int


@dataclass(frozen=True, kw_only=True)
class ComputeClaimed(ChainEvent):
    """A provider was paid from the compute pool."""

    CONTRACT: ClassVar[str] = "RevenueDistributor"
    index: int
    payout: str
    amount: int
    epoch: int


@dataclass(frozen=True, kw_only=True)
class DebtAdded(ChainEvent):
    """An index owes the capital pool what convicted credits had earned."""

    CONTRACT: ClassVar[str] = "RevenueDistributor"
    index: int
    amount: int


@dataclass(frozen=True, kw_only=True)
class DebtPaid(ChainEvent):
    """An index paid a debt out of its claim."""

    CONTRACT: ClassVar[str] = "RevenueDistributor"
    index: int
    amount: int


# --- InferencePayments ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ChannelFunded(ChainEvent):
    """A channel got a deposit."""

    CONTRACT: ClassVar[str] = "InferencePayments"
    channel_id: bytes
    payer: str
    server: str
    delay: int
    amount: int
    deposited: int


@dataclass(frozen=True, kw_only=True)
class VoucherSettled(ChainEvent):
    """A voucher was settled for `amount`."""

    CONTRACT: ClassVar[str] = "InferencePayments"
    channel_id: bytes
    cumulative: int
    amount: int


@dataclass(frozen=True, kw_only=True)
class ServerCredited(ChainEvent):
    """A server's cut of a settlement; `revenue` went to the distributor."""

    CONTRACT: ClassVar[str] = "InferencePayments"
    server: str
    amount: int
    revenue: int


@dataclass(frozen=True, kw_only=True)
class ServerPaid(ChainEvent):
    """A server took its cut."""

    CONTRACT: ClassVar[str] = "InferencePayments"
    server: str
    amount: int


@dataclass(frozen=True, kw_only=True)
class WithdrawalRequested(ChainEvent):
    """A payer started a withdrawal that is due at `at`."""

    CONTRACT: ClassVar[str] = "InferencePayments"
    channel_id: bytes
    amount: int
    at: int


@dataclass(frozen=True, kw_only=True)
class WithdrawalCancelled(ChainEvent):
    """A payer gave up a withdrawal."""

    CONTRACT: ClassVar[str] = "InferencePayments"
    channel_id: bytes


@dataclass(frozen=True, kw_only=True)
class Withdrawn(ChainEvent):
    """A payer took a withdrawal."""

    CONTRACT: ClassVar[str] = "InferencePayments"
    channel_id: bytes
    amount: int


@cache
def event_types() -> Mapping[tuple[str, str], type[ChainEvent]]:
    """Every event class by contract and event name; the contract is "" for an event that all of them have."""
    return {(kind.CONTRACT, kind.__name__): kind for kind in ChainEvent.__subclasses__()}


def topic_of(kind: type[ChainEvent]) -> bytes:
    """The first topic of an event's logs."""
    return interface(kind.CONTRACT).events[kind.__name__].topic


def decode_events(logs: Iterable[Log], contracts: Mapping[str, str]) -> Iterator[ChainEvent]:
    """The events in `logs`; `contracts` tells the contract's name by address, and other addresses are passed over.

    Raises ChainError for a log that the contract's interface does not have.
    """
    for log in logs:
        contract = contracts.get(log.address)
        if contract is None:
            continue
        kind = _by_topic(contract).get(log.topics[0] if log.topics else b"")
        if kind is None:
            raise ChainError(
                f"{contract} at {log.address} emitted an event that is not known.",
                f"Block {log.block}, log {log.log_index}",
                "Install the version of this program that belongs to the run's contracts.",
            )
        yield _decode(kind, log, contract)


def decode_event(kind: type[E], log: Log) -> E:
    """One log as an event of a given class. Raises ChainError if it is another one."""
    return _decode(kind, log, kind.CONTRACT)


def _decode(kind: type[E], log: Log, contract: str) -> E:
    fields = interface(contract).events[kind.__name__].decode(log.topics, log.data)
    place = {
        "address": log.address,
        "block": log.block,
        "block_hash": log.block_hash,
        "tx": log.tx,
        "log_index": log.log_index,
    }
    return build(kind, {**fields, **place})


@cache
def _by_topic(contract: str) -> Mapping[bytes, type[ChainEvent]]:
    known = event_types()
    found = {}
    for name, event in interface(contract).events.items():
        kind = known.get((contract, name)) or known.get(("", name))
        if kind is not None:
            found[event.topic] = kind
    return found
