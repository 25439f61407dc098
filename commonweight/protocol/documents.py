"""Signed documents: how members and signers say things to each other, and to whoever checks them later.

A signed document is `{"kind", "body", "signature"}`. Its digest is the SHA-256 of the canonical JSON of `body`; the
signature is EIP-712 over `Document(string kind,bytes32 sha256)` in the domain of the run's CreditOracle.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from commonweight.errors import FormatError, SignatureError
from commonweight.protocol.canonical import MAX_BYTES, Json, JsonObject, dumps, loads, sha256_hex
from commonweight.protocol.fields import Fields, digest_bytes, lower_address
from commonweight.protocol.structs import (
    BAN_TYPE,
    BAN_TYPEHASH,
    REPORT_TYPE,
    REPORT_TYPEHASH,
    VOUCHER_TYPE,
    VOUCHER_TYPEHASH,
    Ban,
    Report,
    Voucher,
)
from commonweight.protocol.typed import Domain, recover_typed, sign_typed, struct_hash, typehash

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

DOCUMENT_TYPE = "Document(string kind,bytes32 sha256)"
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
    def _raw(self) -> bytes:
        return dumps(self.to_json())

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical body, 0x-hex: the document's name in other documents."""
        if "_raw" not in self.__dict__:
            return document_digest(self.body)
        head, tail = len('{"body":'), len(dumps({"kind": self.kind, "signature": self.signature}))
        return sha256_hex(self._raw[head:-tail])  # what stands before the comma and these two

    def to_json(self) -> JsonObject:
        """The object {kind, body, signature}."""
        return {"kind": self.kind, "body": self.body, "signature": self.signature}

    def to_bytes(self) -> bytes:
        """Canonical JSON of `to_json()`."""
        return self._raw

    @classmethod
    def from_json(cls, value: Json) -> "Signed":
        """Reads {kind, body, signature}; FormatError when it is not that."""
        fields = Fields(value, "document")
        kind = fields.choice("kind", KINDS)
        body = fields.take("body")
        signature = fields.text("signature", 132)
        fields.done()
        if not isinstance(body, dict):
            raise FormatError("document.body is not an object")
        return cls(kind, body, signature)

    @classmethod
    def from_bytes(cls, data: bytes, max_bytes: int = MAX_BYTES) -> "Signed":
        """Reads canonical JSON bytes, and keeps them."""
        signed = cls.from_json(loads(data, max_bytes))
        signed.__dict__["_raw"] = bytes(data)
        return signed


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
