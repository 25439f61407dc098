"""How many members and parts a round can have, so that all documents of it can be read."""

from math import isqrt

from commonweight.protocol.canonical import MAX_BYTES
from commonweight.protocol.round_documents import MAX_MEMBERS

_DOCUMENT_BYTES = MAX_BYTES - (1 << 20)
_MEMBER_BYTES, _RECEIPT_BYTES, _PART_BYTES = 2560, 576, 320
"""At the most of a round's record, of its roster, and of what proves the record false, which is plan, record and
commitments: for each member, with each signer's receipt, and with each part, which means two digests, a norm, and the
link by which its reducer had it.
"""
MOST_RECEIPTS = _DOCUMENT_BYTES // _RECEIPT_BYTES
"""In a roster: as many as the most members have from however many signers."""


def most_members(signers: int, topology: str) -> int:
    """How many members a round can have so that its record, its roster and evidence can be read. In a butterfly each
    reduces a part as large as any other's; in a star the coordinator reduces all, and one part would do.
    """
    each = _MEMBER_BYTES + _RECEIPT_BYTES * signers
    if topology == "star":
        return min(MAX_MEMBERS, _DOCUMENT_BYTES // (each + _PART_BYTES))
    return (isqrt(each * each + 4 * _PART_BYTES * _DOCUMENT_BYTES) - each) // (2 * _PART_BYTES)


def part_count(members: int, signers: int, blocks: int) -> int:
    """Into how many parts the vector is cut: one for each member, as far as all of the round can be read."""
    room = _DOCUMENT_BYTES // members - _MEMBER_BYTES - _RECEIPT_BYTES * signers
    return max(1, min(members, blocks, room // _PART_BYTES))
