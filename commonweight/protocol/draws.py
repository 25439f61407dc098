"""Which segments of which members' traces are replayed, and by which signer.

The seed is the hash of the first finalised block after the anchor window, so nobody knew it when the commitments were
anchored. Integers and SHA-256 only: everyone draws the same.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from commonweight.errors import FormatError

__all__ = ["TAG", "Draw", "doubted_segment", "draw_round"]

TAG = b"commonweight.draw.v1"


@dataclass(frozen=True)
class Draw:
    """Segment `segment` (leaf segment to segment + 1) of member `index` is replayed by signer number `position`.

    Signers are numbered in ascending order of their addresses.
    """

    index: int
    segment: int
    position: int


def draw_round(
    seed: bytes, number: int, segments: Mapping[int, int], rates_bps: Mapping[int, int] | int, signers: int
) -> tuple[Draw, ...]:
    """Draws for round `number` over the members with an anchored commitment, given their numbers of segments.

    Each member is drawn at its rate (10,000: always). The drawn ones, in an order that the seed gives, are dealt to
    the signers in turn; when there are fewer members than signers, members are dealt again with their next segment
    until every signer has one. The result is in order of dealing.
    """
    if signers < 1 or any(count < 1 for count in segments.values()):
        raise FormatError("Nothing can be drawn", f"{signers} signers, segments {dict(segments)}"[:200])
    drawn = [index for index in segments if _chance(seed, number, index) < _rate(rates_bps, index)]
    drawn.sort(key=lambda index: (_hash(seed, number, b"order", index), index))
    if not drawn:
        return ()
    turn = int.from_bytes(_hash(seed, number, b"turn", 0)[:8], "big")
    result = []
    for place in range(max(len(drawn), signers)):
        again, at = divmod(place, len(drawn))
        index = drawn[at]
        first = int.from_bytes(_hash(seed, number, b"segment", index)[:8], "big")
        result.append(Draw(index, (first + again) % segments[index], (turn + place) % signers))
    return tuple(result)


def doubted_segment(seed: bytes, number: int, index: int, segments: int) -> int:
    """The segment of a member's trace that every signer replays when its payload is like another."""
    return int.from_bytes(_hash(seed, number, b"doubt", index)[:8], "big") % segments


def _hash(seed: bytes, number: int, purpose: bytes, index: int) -> bytes:
    return hashlib.sha256(TAG + seed + number.to_bytes(8, "big") + index.to_bytes(4, "big") + purpose).digest()


def _chance(seed: bytes, number: int, index: int) -> int:
    return int.from_bytes(_hash(seed, number, b"rate", index)[:8], "big") % 10_000


def _rate(rates_bps: Mapping[int, int] | int, index: int) -> int:
    return rates_bps if isinstance(rates_bps, int) else rates_bps[index]
