"""Content identifiers, the one form that the project uses: CIDv1, SHA-256, base32 in lower case without padding.

A CID of this form is `b` + base32(0x01, codec, 0x12, 0x20, 32 bytes of digest). Two codecs occur: `raw` for the bytes
of a file's chunk and `dag-pb` for the nodes above chunks and for directories. Every other form is refused, so that
one content has one name and names can be compared as text. Source: https://github.com/multiformats/cid and its table
of codecs.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import NewType

from commonweight.errors import FormatError

Cid = NewType("Cid", str)

RAW = 0x55
DAG_PB = 0x70
CID_BYTES = 36  # version, codec, hash function, hash length, and 32 bytes of SHA-256
_SHA2_256 = bytes((0x12, 0x20))


@dataclass(frozen=True)
class Block:
    """One block: its CID and its bytes."""

    cid: Cid
    data: bytes


def cid_bytes(cid: str) -> bytes:
    """The 36 binary bytes of a CID; raises FormatError for any other version, base, codec or hash function."""
    try:
        if not cid.startswith("b") or len(cid) != 59:
            raise ValueError
        data = base64.b32decode(cid[1:].upper() + "=" * 6)
        # base32 leaves two bits unused at the end: only one spelling counts
        if _text(data) != cid or data[0] != 1 or data[1] not in (RAW, DAG_PB) or data[2:4] != _SHA2_256:
            raise ValueError
    except (ValueError, binascii.Error):
        shown = cid if len(cid) <= 80 else cid[:80] + "…"
        raise FormatError(
            f"{shown!r} is not a content identifier of the form that is used here",
            "it has to be CIDv1 in lower-case base32, of codec raw or dag-pb, with SHA-256",
            "convert it with `ipfs cid format -v 1 -b base32`, or check where it comes from",
        ) from None
    return data


def parse_cid(cid: str) -> Cid:
    """The same text as a Cid, after the checks of `cid_bytes`."""
    cid_bytes(cid)
    return Cid(cid)


def cid_from_bytes(data: bytes) -> Cid:
    """The CID whose binary form is `data`; raises FormatError."""
    return parse_cid(_text(data))


def cid_of(data: bytes, codec: int = RAW) -> Cid:
    """The CID of one block."""
    return Cid(_text(bytes((1, codec)) + _SHA2_256 + hashlib.sha256(data).digest()))


def raw_cid(sha256: bytes) -> Cid:
    """The CID of a file of one block, from its SHA-256 (32 bytes) alone."""
    return Cid(_text(bytes((1, RAW)) + _SHA2_256 + sha256))


def codec_of(cid: Cid) -> int:
    """RAW or DAG_PB."""
    return cid_bytes(cid)[1]


def _text(data: bytes) -> str:
    return "b" + base64.b32encode(data).decode("ascii").rstrip("=").lower()
