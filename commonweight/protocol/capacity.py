"""How many members and parts a round can have, so that all documents of it can be read, and how many such rounds a
report can credit.
"""

from math import isqrt

from commonweight.protocol import evidence
from commonweight.protocol.canonical import MAX_BYTES
from commonweight.protocol.round_documents import MAX_MEMBERS

_DOCUMENT_BYTES = MAX_BYTES - (1 << 20)
_MEMBER_BYTES, _RECEIPT_BYTES, _PART_BYTES = 2560, 576, 128
"""At the most of a round's record, of its roster, and of what proves the record false, which is plan, record and
commitments: for each member, with each signer's receipt, and with each part, which means a digest, a norm, and the
link by which its reducer had it.
"""
_USUAL_MEMBER_BYTES, _USUAL_RECEIPT_BYTES, _USUAL_RESULT_BYTES, _USUAL_PART_BYTES = 2500, 400, 600, 120
"""In evidence, with figures as they usually are: a member's commitment, its place in plan and record, and half a
verdict; each signer's receipt; a reducer's result; what each part adds to a commitment, and each member to a result and
to the record's links.
"""
_ROUNDS_SHARE = 0.8
EVIDENCE_FILES, EVIDENCE_BYTES = int(_ROUNDS_SHARE * evidence.MAX_FILES), int(_ROUNDS_SHARE * evidence.MAX_BYTES)
"""Of what evidence can hold, how much is for the rounds' documents; the rest is for offences, leaves and anchors."""
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


def most_rounds(members: int, signers: int, topology: str) -> int:
    """About how many rounds of so many members one report can credit: what each epoch has more is never paid."""
    members = min(members, most_members(signers, topology))
    reducers = 0 if topology == "star" else members
    size = members * (_USUAL_MEMBER_BYTES + _USUAL_RECEIPT_BYTES * signers + _USUAL_PART_BYTES * max(1, reducers))
    size += reducers * _USUAL_RESULT_BYTES
    return max(1, min(EVIDENCE_BYTES // size, EVIDENCE_FILES // (members * (2 + signers) + reducers + 3)))
