"""The EIP-712 structs that contracts check: Report, Ban, Rotation, Verdict (of a credit dispute) and Voucher.

The domain's contract is the run's CreditOracle, but InferencePayments for vouchers. The names of fields in the type
strings are the contracts'; docs/protocol.md lists them with their golden vectors.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from commonweight.protocol.canonical import Json, JsonObject
from commonweight.protocol.fields import U32, U64, Fields, address_bytes, digest_bytes, hex32
from commonweight.protocol.typed import Domain, keccak256, struct_hash, typed_digest, typehash

__all__ = [
    "BAN_TYPE",
    "BAN_TYPEHASH",
    "CONFIG_TAG",
    "REPORT_TYPE",
    "REPORT_TYPEHASH",
    "ROTATION_TYPE",
    "ROTATION_TYPEHASH",
    "VERDICT_TYPE",
    "VERDICT_TYPEHASH",
    "VOUCHER_TYPE",
    "VOUCHER_TYPEHASH",
    "Ban",
    "DisputeVerdict",
    "Report",
    "Rotation",
    "Voucher",
    "config_digest",
]

CONFIG_TAG = keccak256(b"commonweight.config.v1")

REPORT_TYPE = (
    "Report(bytes32 configDigest,uint64 epoch,uint32 attempt,bytes32 prevRoot,bytes32 root,uint256 sum,uint8 depth,"
    "uint64 epochCredits,bytes32 creditsHash,string evidenceCid,bytes32 evidenceSha256,bytes32 checkpoint,"
    "string checkpointCid,uint64 round,uint64 lossMicro,uint64 blockNumber,bytes32 blockHash)"
)
BAN_TYPE = "Ban(bytes32 configDigest,uint32 index,bytes32 evidenceSha256,uint64 until)"
ROTATION_TYPE = "Rotation(bytes32 configDigest,uint16 quorum,address[] signers,address[] transmitters)"
VERDICT_TYPE = "Verdict(bytes32 configDigest,uint64 epoch,uint32 index,bool convicted,bytes32 evidenceSha256)"
VOUCHER_TYPE = "Voucher(bytes32 channelId,uint256 cumulative)"

REPORT_TYPEHASH = typehash(REPORT_TYPE)
BAN_TYPEHASH = typehash(BAN_TYPE)
ROTATION_TYPEHASH = typehash(ROTATION_TYPE)
VERDICT_TYPEHASH = typehash(VERDICT_TYPE)
VOUCHER_TYPEHASH = typehash(VOUCHER_TYPE)


@dataclass(frozen=True)
class Report:
    """The epoch report that signers sign; fields in the order of REPORT_TYPE, bytes32 as bytes."""

    config_digest: bytes
    epoch: int
    attempt: int
    prev_root: bytes
    root: bytes
    sum: int
    depth: int
    epoch_credits: int
    credits_hash: bytes
    evidence_cid: str
    evidence_sha256: bytes
    checkpoint: bytes
    checkpoint_cid: str
    round: int
    loss_micro: int
    block_number: int
    block_hash: bytes

    def as_tuple(
        self,
    ) -> tuple[bytes, int, int, bytes, bytes, int, int, int, bytes, str, bytes, bytes, str, int, int, int, bytes]:
        """The values in ABI order."""
        return (
            self.config_digest,
            self.epoch,
            self.attempt,
            self.prev_root,
            self.root,
            self.sum,
            self.depth,
            self.epoch_credits,
            self.credits_hash,
            self.evidence_cid,
            self.evidence_sha256,
            self.checkpoint,
            self.checkpoint_cid,
            self.round,
            self.loss_micro,
            self.block_number,
            self.block_hash,
        )

    def struct_hash(self) -> bytes:
        """hashStruct of EIP-712."""
        return struct_hash(REPORT_TYPE, self.as_tuple())

    def digest(self, domain: Domain) -> bytes:
        """The EIP-712 digest, as `CreditOracle.reportHash` gives it."""
        return typed_digest(domain, self.struct_hash())

    def to_body(self) -> JsonObject:
        """The report as JSON; uint64 and uint256 as decimal strings."""
        return {
            "config_digest": hex32(self.config_digest),
            "epoch": str(self.epoch),
            "attempt": self.attempt,
            "prev_root": hex32(self.prev_root),
            "root": hex32(self.root),
            "sum": str(self.sum),
            "depth": self.depth,
            "epoch_credits": str(self.epoch_credits),
            "credits_hash": hex32(self.credits_hash),
            "evidence_cid": self.evidence_cid,
            "evidence_sha256": hex32(self.evidence_sha256),
            "checkpoint": hex32(self.checkpoint),
            "checkpoint_cid": self.checkpoint_cid,
            "round": str(self.round),
            "loss_micro": str(self.loss_micro),
            "block_number": str(self.block_number),
            "block_hash": hex32(self.block_hash),
        }

    @classmethod
    def from_body(cls, body: Json) -> "Report":
        """Reads what `to_body` writes."""
        f = Fields(body, "report")
        report = cls(
            digest_bytes(f.digest("config_digest")),
            f.decimal("epoch", U64),
            f.integer("attempt", 0, U32),
            digest_bytes(f.digest("prev_root")),
            digest_bytes(f.digest("root")),
            f.decimal("sum"),
            f.integer("depth", 0, 32),
            f.decimal("epoch_credits", U64),
            digest_bytes(f.digest("credits_hash")),
            f.cid("evidence_cid"),
            digest_bytes(f.digest("evidence_sha256")),
            digest_bytes(f.digest("checkpoint")),
            f.cid("checkpoint_cid"),
            f.decimal("round", U64),
            f.decimal("loss_micro", U64),
            f.decimal("block_number", U64),
            digest_bytes(f.digest("block_hash")),
        )
        f.done()
        return report


@dataclass(frozen=True)
class Ban:
    """A ban that signers sign: registry index, sha256 of the evidence, expiry in unix seconds."""

    config_digest: bytes
    index: int
    evidence_sha256: bytes
    until: int

    def struct_hash(self) -> bytes:
        """hashStruct of EIP-712."""
        return struct_hash(BAN_TYPE, (self.config_digest, self.index, self.evidence_sha256, self.until))

    def digest(self, domain: Domain) -> bytes:
        """The EIP-712 digest."""
        return typed_digest(domain, self.struct_hash())

    def to_body(self) -> JsonObject:
        """The ban as JSON."""
        return {
            "config_digest": hex32(self.config_digest),
            "index": self.index,
            "evidence_sha256": hex32(self.evidence_sha256),
            "until": str(self.until),
        }

    @classmethod
    def from_body(cls, body: Json) -> "Ban":
        """Reads what `to_body` writes."""
        f = Fields(body, "ban")
        ban = cls(
            digest_bytes(f.digest("config_digest")),
            f.integer("index", 0, U32),
            digest_bytes(f.digest("evidence_sha256")),
            f.decimal("until", U64),
        )
        f.done()
        return ban


@dataclass(frozen=True)
class Voucher:
    """A payer's cumulative promise on a channel of InferencePayments (whose address is the domain's contract)."""

    channel_id: bytes
    cumulative: int

    def struct_hash(self) -> bytes:
        """hashStruct of EIP-712."""
        return struct_hash(VOUCHER_TYPE, (self.channel_id, self.cumulative))

    def digest(self, domain: Domain) -> bytes:
        """The EIP-712 digest."""
        return typed_digest(domain, self.struct_hash())


@dataclass(frozen=True)
class Rotation:
    """A new signer set that the present signers agree on; signers strictly ascending, a transmitter for each."""

    config_digest: bytes
    quorum: int
    signers: tuple[str, ...]
    transmitters: tuple[str, ...]

    def struct_hash(self) -> bytes:
        """hashStruct of EIP-712."""
        values = (self.config_digest, self.quorum, self.signers, self.transmitters)
        return struct_hash(ROTATION_TYPE, values)

    def digest(self, domain: Domain) -> bytes:
        """The EIP-712 digest."""
        return typed_digest(domain, self.struct_hash())


@dataclass(frozen=True)
class DisputeVerdict:
    """What signers decide about a provider's credits of an epoch that someone challenged (EIP-712 type Verdict)."""

    config_digest: bytes
    epoch: int
    index: int
    convicted: bool
    evidence_sha256: bytes

    def struct_hash(self) -> bytes:
        """hashStruct of EIP-712."""
        values = (self.config_digest, self.epoch, self.index, self.convicted, self.evidence_sha256)
        return struct_hash(VERDICT_TYPE, values)

    def digest(self, domain: Domain) -> bytes:
        """The EIP-712 digest."""
        return typed_digest(domain, self.struct_hash())

    def to_body(self) -> JsonObject:
        """The verdict as JSON."""
        return {
            "config_digest": hex32(self.config_digest),
            "epoch": str(self.epoch),
            "index": self.index,
            "convicted": self.convicted,
            "evidence_sha256": hex32(self.evidence_sha256),
        }

    @classmethod
    def from_body(cls, body: Json) -> "DisputeVerdict":
        """Reads what `to_body` writes."""
        f = Fields(body, "verdict")
        verdict = cls(
            digest_bytes(f.digest("config_digest")),
            f.decimal("epoch", U64),
            f.integer("index", 0, U32),
            f.boolean("convicted"),
            digest_bytes(f.digest("evidence_sha256")),
        )
        f.done()
        return verdict


def config_digest(config_sha256: bytes, rotation: int, quorum: int, signers: Sequence[str]) -> bytes:
    """keccak256(abi.encode(CONFIG_TAG, configSha256, uint32 rotation, uint16 quorum, address[] signers))."""
    words = [rotation, quorum, 5 * 32, len(signers)]
    head = CONFIG_TAG + config_sha256 + b"".join(word.to_bytes(32, "big") for word in words)
    return keccak256(head + b"".join(bytes(12) + address_bytes(signer) for signer in signers))
