"""secp256k1 signatures over 32-byte digests in the one form that contracts and documents accept.

65 bytes: r, s, v with v 27 or 28 and s in the lower half of the group order (EIP-2), so that no second valid signature
can be made from one.
"""

from functools import lru_cache

from coincurve import PrivateKey, PublicKey
from eth_utils.crypto import keccak

from commonweight.errors import SignatureError

__all__ = ["address_of", "recover_address", "sign_digest"]

_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
_REMEMBERED = 4096  # one plan, record or receipt comes in by many ways
_OPENED = 16


def address_of(key: bytes) -> str:
    """Lower-case address of a 32-byte private key. SignatureError when it is none."""
    return _address(_opened(key).public_key)


def sign_digest(digest: bytes, key: bytes) -> bytes:
    """Deterministic (RFC 6979) signature of a 32-byte digest: 65 bytes r, s, v. SignatureError for what is no key."""
    signature = _opened(key).sign_recoverable(digest, hasher=None)
    return signature[:64] + bytes([27 + signature[64]])


@lru_cache(_REMEMBERED)
def recover_address(digest: bytes, signature: bytes) -> str:
    """Lower-case address of the key that signed; SignatureError for wrong length, v, high s or an impossible point."""
    if len(signature) != 65:
        raise SignatureError("A signature is malformed", f"it has {len(signature)} bytes, not 65")
    if signature[64] not in (27, 28):
        raise SignatureError("A signature is malformed", f"its v is {signature[64]}, not 27 or 28")
    if int.from_bytes(signature[32:64], "big") > _HALF_ORDER:
        raise SignatureError("A signature is malleable", "its s lies in the upper half of the group order")
    try:
        recoverable = signature[:64] + bytes([signature[64] - 27])
        return _address(PublicKey.from_signature_and_message(recoverable, digest, hasher=None))
    except ValueError as error:
        raise SignatureError("A signature does not belong to any key", str(error)) from error


@lru_cache(_OPENED)
def _opened(key: bytes) -> PrivateKey:
    """A key with its public key, which takes longer to find than a signature."""
    try:
        if len(key) != 32:
            raise ValueError(f"it has {len(key)} bytes, not 32")
        return PrivateKey(key)
    except ValueError as error:
        raise SignatureError("A private key is malformed", str(error)) from error


def _address(key: PublicKey) -> str:
    return "0x" + keccak(key.format(compressed=False)[1:])[12:].hex()
