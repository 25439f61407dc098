"""Signed documents, and the structs that contracts check: Report, Ban, Voucher.

A signed document is `{"kind", "body", "signature"}`. Its digest is the SHA-256 of the canonical JSON of `body`; the
signature is EIP-712 over `Document(string kind,bytes32 sha256)` in the domain of the run's CreditOracle.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from commonweight.errors import FormatError, SignatureError
from commonweight.protocol.canonical import MAX_BYTES, Json, JsonObject, dumps, loads, sha256_hex
from commonweight.protocol.fields import U32, U64, Fields, digest_bytes, hex32, lower_address
from commonweight.protocol.typed import Domain, recover_typed, sign_typed, struct_hash, typed_digest, typehash

__all__ = [
    "BAN_TYPE",
    "BAN_TYPEHASH",
    "DOCUMENT_TYPE",
    "DOCUMENT_TYPEHASH",
    "KINDS",
    "REPORT_TYPE",
    "REPORT_TYPEHASH",
    "VOUCHER_TYPE",
    "VOUCHER_TYPEHASH",
    "Ban",
    "Domain",
    "Report",
    "Signed",
    "Voucher",
    "document_digest",
    "recover",
    "sign",
    "verify",
]

REPORT_TYPE = (
    "Report(bytes32 configDigest,uint64 epoch,uint32 attempt,bytes32 prevRoot,bytes32 root,uint256 sum,uint8 depth,"
    "uint64 epochCredits,bytes32 creditsHash,string evidenceCid,bytes32 evidenceSha256,bytes32 checkpoint,"
    "string checkpointCid,uint64 round,uint64 lossMicro,uint64 blockNumber,bytes32 blockHash)"
)
BAN_TYPE = "Ban(bytes32 configDigest,uint32 index,bytes32 evidenceSha256,uint64 until)"
VOUCHER_TYPE = "Voucher(bytes32 channelId,uint256 cumulative)"
DOCUMENT_TYPE = "Document(string kind,bytes32 sha256)"

REPORT_TYPEHASH = typehash(REPORT_TYPE)
BAN_TYPEHASH = typehash(BAN_TYPE)
VOUCHER_TYPEHASH = typehash(VOUCHER_TYPE)
DOCUMENT_TYPEHASH = typehash(DOCUMENT_TYPE)

KINDS = (
    "plan",
    "commitment",
    "receipt",
    "part",
    "result",
    "anchor",
    "record",
    "verdict",
    "offence",
    "tls",
    "member",
    "served",
)


def document_digest(body: Mapping[str, Json]) -> str:
    """The digest of a document: SHA-256 of its body's canonical JSON."""
    return sha256_hex(dumps(dict(body)))


@dataclass(frozen=True)
class Signed:
    """A signed document as it travels and is stored. Its signature is not checked yet: `verify` does that."""

    kind: str
    body: JsonObject
    signature: str

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical body, 0x-hex: the document's name in other documents."""
        return document_digest(self.body)

    def to_json(self) -> JsonObject:
        """The object {kind, body, signature}."""
        return {"kind": self.kind, "body": self.body, "signature": self.signature}

    def to_bytes(self) -> bytes:
        """Canonical JSON of `to_json()`."""
        return dumps(self.to_json())

    @classmethod
    def from_json(cls, value: Json) -> "Signed":
        """Reads {kind, body, signature}; FormatError when it is not that."""
        fields = Fields(value, "document")
        kind = fields.text("kind", 32)
        body = fields.take("body")
        signature = fields.text("signature", 132)
        fields.done()
        if not isinstance(body, dict):
            raise FormatError("document.body is not an object")
        return cls(kind, body, signature)

    @classmethod
    def from_bytes(cls, data: bytes, max_bytes: int = MAX_BYTES) -> "Signed":
        """Reads canonical JSON bytes."""
        return cls.from_json(loads(data, max_bytes))


def sign(kind: str, body: JsonObject, key: bytes, domain: Domain) -> Signed:
    """Signs a body with a 32-byte private key."""
    struct = struct_hash(DOCUMENT_TYPE, (kind, digest_bytes(document_digest(body))))
    return Signed(kind, body, "0x" + sign_typed(key, domain, struct).hex())


def recover(signed: Signed, domain: Domain) -> str:
    """Lower-case address of the signer; SignatureError when the signature is malformed, malleable or nobody's."""
    text = signed.signature
    if len(text) != 132 or not text.startswith("0x") or text != text.lower():
        raise SignatureError("A document's signature is malformed", "it is not 0x and 130 lower-case hex digits")
    try:
        signature = bytes.fromhex(text[2:])
    except ValueError as error:
        raise SignatureError("A document's signature is malformed", "it is not hexadecimal") from error
    return recover_typed(domain, struct_hash(DOCUMENT_TYPE, (signed.kind, digest_bytes(signed.digest))), signature)


def verify(signed: Signed, domain: Domain, kind: str | None = None, expect: str | None = None) -> str:
    """Address of the signer, after checking the kind and, when `expect` is given, that it is this address."""
    if kind is not None and signed.kind != kind:
        raise SignatureError("A document is of another kind than expected", f"{signed.kind[:32]!r}, not {kind!r}")
    signer = recover(signed, domain)
    if expect is not None and signer != lower_address(expect):
        raise SignatureError(f"A {signed.kind} is signed by the wrong key", f"by {signer}, not {lower_address(expect)}")
    return signer


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
