"""EIP-712: domains, type hashes, struct hashes and digests for flat structs.

A struct is given by its type string, such as `Voucher(bytes32 channelId,uint256 cumulative)`, and its values in order:
bytes for bytesN and bytes, int for uintN, str for string and address, bool for bool, a tuple for an array of these.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from eth_utils.crypto import keccak

from commonweight.errors import FormatError
from commonweight.protocol.fields import address_bytes
from commonweight.protocol.keys import recover_address, sign_digest

__all__ = [
    "DOMAIN_NAME",
    "DOMAIN_TYPE",
    "DOMAIN_VERSION",
    "Domain",
    "Value",
    "keccak256",
    "recover_typed",
    "sign_typed",
    "struct_hash",
    "typed_digest",
    "typehash",
]

Value = bytes | int | str | tuple[str, ...]

DOMAIN_NAME = "Commonweight"
DOMAIN_VERSION = "1"
DOMAIN_TYPE = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"

_TYPE = re.compile(r"([A-Za-z]\w*)\(((?:[a-z0-9]+(?:\[\])? [A-Za-z]\w*)(?:,[a-z0-9]+(?:\[\])? [A-Za-z]\w*)*)\)")


def keccak256(data: bytes) -> bytes:
    """Keccak-256 as Ethereum uses it."""
    return bytes(keccak(data))


@cache
def typehash(type_string: str) -> bytes:
    """Keccak-256 of an EIP-712 type string."""
    _fields(type_string)
    return keccak256(type_string.encode())


def struct_hash(type_string: str, values: Sequence[Value]) -> bytes:
    """hashStruct of EIP-712. Raises FormatError when a value does not fit its type."""
    types = _fields(type_string)
    if len(types) != len(values):
        raise FormatError("A typed struct has the wrong number of values", f"{len(types)} types, {len(values)} values")
    words = [_word(kind, value) for kind, value in zip(types, values, strict=True)]
    return keccak256(typehash(type_string) + b"".join(words))


@dataclass(frozen=True)
class Domain:
    """The EIP-712 domain (Commonweight, 1, chain_id, contract); the contract's address is kept in lower case."""

    chain_id: int
    contract: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "contract", "0x" + address_bytes(self.contract).hex())

    @property
    def separator(self) -> bytes:
        """The domain separator, 32 bytes."""
        return _separator(self.chain_id, self.contract)


def typed_digest(domain: Domain, struct: bytes) -> bytes:
    """The digest to sign: keccak256(0x19 0x01, domain separator, struct hash)."""
    return keccak256(b"\x19\x01" + domain.separator + struct)


def sign_typed(key: bytes, domain: Domain, struct: bytes) -> bytes:
    """65-byte signature of a struct hash in a domain."""
    return sign_digest(typed_digest(domain, struct), key)


def recover_typed(domain: Domain, struct: bytes, signature: bytes) -> str:
    """Lower-case address that signed a struct hash in a domain; SignatureError when malformed or malleable."""
    return recover_address(typed_digest(domain, struct), signature)


@cache
def _separator(chain_id: int, contract: str) -> bytes:
    return struct_hash(DOMAIN_TYPE, (DOMAIN_NAME, DOMAIN_VERSION, chain_id, contract))


@cache
def _fields(type_string: str) -> tuple[str, ...]:
    match = _TYPE.fullmatch(type_string)
    if not match:
        raise FormatError("This is not the type of a flat EIP-712 struct", type_string[:200])
    return tuple(field.split(" ")[0] for field in match[2].split(","))


def _word(kind: str, value: Value) -> bytes:
    """The 32-byte encodeData word of one value."""
    if kind.endswith("[]") and isinstance(value, tuple):
        return keccak256(b"".join(_word(kind[:-2], item) for item in value))
    if kind == "string" and isinstance(value, str):
        return keccak256(value.encode("utf-8", "surrogateescape"))  # a contract's string can be any bytes
    if kind == "bytes" and isinstance(value, bytes):
        return keccak256(value)
    if kind == "bool" and isinstance(value, bool):
        return int(value).to_bytes(32, "big")
    if kind == "address" and isinstance(value, str):
        return bytes(12) + address_bytes(value)
    if kind.startswith("uint") and isinstance(value, int) and not isinstance(value, bool):
        bits = int(kind[4:])
        if 0 <= value < 2**bits:
            return value.to_bytes(32, "big")
    elif kind.startswith("bytes") and kind[5:].isdigit() and isinstance(value, bytes) and len(value) == int(kind[5:]):
        return value.ljust(32, b"\0")
    raise FormatError("A value does not fit its EIP-712 type", f"{value!r} is no {kind}"[:200])
