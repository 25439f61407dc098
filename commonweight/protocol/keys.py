"""secp256k1 signatures over 32-byte digests in the one form that contracts and documents accept.

65 bytes: r, s, v with v 27 or 28 and s in the lower half of the group order (EIP-2), so that no second valid signature
can be made from one.
"""

from functools import lru_cache

from eth_keys.datatypes import PrivateKey, Signature
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError

from commonweight.errors import SignatureError

__all__ = ["address_of", "recover_address", "sign_digest"]

_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
_REMEMBERED = 4096  # one plan, record or receipt comes in by many ways


def address_of(key: bytes) -> str:
    """Lower-case address of a 32-byte private key."""
    return PrivateKey(key).public_key.to_address()


def sign_digest(digest: bytes, key: bytes) -> bytes:
    """Deterministic (RFC 6979) signature of a 32-byte digest: 65 bytes r, s, v."""
    signature = PrivateKey(key).sign_msg_hash(digest)
    r, s, v = signature.vrs[1], signature.vrs[2], signature.vrs[0]
    return int(r).to_bytes(32, "big") + int(s).to_bytes(32, "big") + bytes([27 + int(v)])


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
        recoverable = Signature(signature[:64] + bytes([signature[64] - 27]))
        return recoverable.recover_public_key_from_msg_hash(digest).to_address()
    except (BadSignature, ValidationError, ValueError) as error:
        raise SignatureError("A signature does not belong to any key", str(error)) from error
