"""What signers and payers sign: the EIP-712 structs of docs/protocol.md, by hand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from coincurve import PrivateKey, PublicKey

from tests.ledger_model.tree import keccak, words

HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
REPORT = keccak(
    b"Report(bytes32 configDigest,uint64 epoch,uint32 attempt,bytes32 prevRoot,bytes32 root,uint256 sum,uint8 depth,"
    b"uint64 epochCredits,bytes32 creditsHash,string evidenceCid,bytes32 evidenceSha256,bytes32 checkpoint,"
    b"string checkpointCid,uint64 round,uint64 lossMicro,uint64 blockNumber,bytes32 blockHash)"
)
BAN = keccak(b"Ban(bytes32 configDigest,uint32 index,bytes32 evidenceSha256,uint64 until)")
ROTATION = keccak(b"Rotation(bytes32 configDigest,uint16 quorum,address[] signers,address[] transmitters)")
VERDICT = keccak(b"Verdict(bytes32 configDigest,uint64 epoch,uint32 index,bool convicted,bytes32 evidenceSha256)")
VOUCHER = keccak(b"Voucher(bytes32 channelId,uint256 cumulative)")
CONFIG = keccak(b"commonweight.config.v1")
CHANNEL = keccak(b"commonweight.channel.v1")


@dataclass(frozen=True)
class Report:
    """What a quorum signs for an epoch."""

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

    def struct_hash(self) -> bytes:
        """hashStruct of EIP-712."""
        fields: list[int | bytes | str] = [
            REPORT,
            self.config_digest,
            self.epoch,
            self.attempt,
            self.prev_root,
            self.root,
        ]
        fields += [self.sum, self.depth, self.epoch_credits, self.credits_hash, keccak(self.evidence_cid.encode())]
        fields += [self.evidence_sha256, self.checkpoint, keccak(self.checkpoint_cid.encode()), self.round]
        fields += [self.loss_micro, self.block_number, self.block_hash]
        return keccak(words(*fields))


@dataclass(frozen=True)
class Ban:
    """A provider's exclusion until a time."""

    index: int
    evidence_sha256: bytes
    until: int

    def struct_hash(self, config: bytes) -> bytes:
        """hashStruct under a configuration digest."""
        return keccak(words(BAN, config, self.index, self.evidence_sha256, self.until))


@dataclass(frozen=True)
class Rotation:
    """The next signer set."""

    quorum: int
    signers: tuple[str, ...]
    transmitters: tuple[str, ...]

    def struct_hash(self, config: bytes) -> bytes:
        """hashStruct under a configuration digest."""
        arrays = [keccak(words(*array)) for array in (self.signers, self.transmitters)]
        return keccak(words(ROTATION, config, self.quorum, *arrays))


@dataclass(frozen=True)
class Verdict:
    """A judgement on one provider's credits in one epoch."""

    epoch: int
    index: int
    convicted: bool
    evidence_sha256: bytes

    def struct_hash(self, config: bytes) -> bytes:
        """hashStruct under a configuration digest."""
        fields = (VERDICT, config, self.epoch, self.index, int(self.convicted), self.evidence_sha256)
        return keccak(words(*fields))


def domain(chain_id: int, contract: str) -> bytes:
    """The domain separator."""
    kind = keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
    return keccak(words(kind, keccak(b"Commonweight"), keccak(b"1"), chain_id, contract))


def digest(separator: bytes, struct_hash: bytes) -> bytes:
    """What is signed."""
    return keccak(b"\x19\x01" + separator + struct_hash)


def voucher_hash(channel_id: bytes, cumulative: int) -> bytes:
    """hashStruct of a voucher."""
    return keccak(words(VOUCHER, channel_id, cumulative))


def config_digest(config_sha256: bytes, rotation: int, quorum: int, signers: tuple[str, ...]) -> bytes:
    """What binds a signature to the run's file and the signer set. The array of signers is encoded at the end."""
    head = (CONFIG, config_sha256, rotation, quorum, 5 * 32, len(signers))
    return keccak(words(*head, *signers))


def channel_id(payer: str, server: str, asset: str, delay: int) -> bytes:
    """A channel's name."""
    return keccak(words(CHANNEL, payer, server, asset, delay))


class Key:
    """A secp256k1 key that signs digests."""

    def __init__(self, secret: bytes) -> None:
        self._key = PrivateKey(secret)

    @cached_property
    def address(self) -> str:
        """Its account."""
        return _address(self._key.public_key)

    def sign(self, message: bytes) -> bytes:
        """65 bytes r, s, v."""
        made = self._key.sign_recoverable(message, hasher=None)
        return made[:64] + bytes([27 + made[64]])

    def __deepcopy__(self, memo: object) -> Key:
        return self


def recover(message: bytes, signature: bytes) -> str | None:
    """Who signed, None if nobody can have."""
    if len(signature) != 65 or signature[64] not in (27, 28) or int.from_bytes(signature[32:64], "big") > HALF_ORDER:
        return None
    try:
        raw = signature[:64] + bytes([signature[64] - 27])
        return _address(PublicKey.from_signature_and_message(raw, message, hasher=None))
    except Exception:
        return None


def _address(key: PublicKey) -> str:
    return "0x" + keccak(key.format(compressed=False)[1:])[12:].hex()
