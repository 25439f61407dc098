"""Channels' names and signed vouchers: a payer's cumulative promise to a server, as `InferencePayments` checks it.

The struct is `documents.Voucher`, its domain's contract InferencePayments. `cumulative` is a ceiling: the server may
settle any total up to it, and each voucher replaces the lower ones.
"""

from __future__ import annotations

from dataclasses import dataclass

from commonweight.errors import FormatError
from commonweight.protocol.documents import Voucher
from commonweight.protocol.fields import U64, address_bytes
from commonweight.protocol.keys import recover_address, sign_digest
from commonweight.protocol.typed import Domain, keccak256

__all__ = ["CHANNEL_TAG", "SignedVoucher", "channel_id", "sign_voucher", "voucher_signer"]

CHANNEL_TAG = keccak256(b"commonweight.channel.v1")


@dataclass(frozen=True)
class SignedVoucher:
    """Up to `cumulative` smallest units in all may be taken from the channel. `signature` is 65 bytes r, s, v."""

    channel_id: bytes
    cumulative: int
    signature: bytes


def channel_id(payer: str, server: str, asset: str, delay_s: int) -> bytes:
    """The 32-byte name of a channel: keccak256(abi.encode(CHANNEL_TAG, payer, server, asset, delay)).

    It does not name chain or contract; the domain of the vouchers on it does. The asset is zero for native ETH.
    """
    if not 0 <= delay_s <= U64:
        raise FormatError("This is not a withdrawal delay", f"{delay_s} is not within 64 bits")
    addresses = b"".join(bytes(12) + address_bytes(address) for address in (payer, server, asset))
    return keccak256(CHANNEL_TAG + addresses + delay_s.to_bytes(32, "big"))


def sign_voucher(channel: bytes, cumulative: int, domain: Domain, key: bytes) -> SignedVoucher:
    """The voucher signed with the payer's 32-byte private key; the domain's contract is InferencePayments."""
    return SignedVoucher(channel, cumulative, sign_digest(Voucher(channel, cumulative).digest(domain), key))


def voucher_signer(voucher: SignedVoucher, domain: Domain) -> str:
    """Lower-case address of whoever signed; SignatureError for a malformed or malleable signature.

    A voucher for another chain or contract gives some other address, so compare with the payer.
    """
    digest = Voucher(voucher.channel_id, voucher.cumulative).digest(domain)
    return recover_address(digest, voucher.signature)
