"""A second, plain implementation of trees, selection, draws and credits, written from docs/protocol.md.

It shares no code with commonweight.protocol: encodings come from eth_abi, arithmetic from fractions, nothing is clever.
"""

import hashlib
from fractions import Fraction
from math import floor

from eth_abi.abi import encode
from eth_utils.crypto import keccak

LEAF_TAG = keccak(text="commonweight.leaf.v1")
NODE_TAG = keccak(text="commonweight.node.v1")
ZERO = bytes(32)


def leaf_node(index: int, provider: str, c: int, d: int, w: int) -> tuple[bytes, int]:
    if c == 0:
        return ZERO, 0
    words = ["bytes32", "uint256", "address", "uint256", "uint256", "uint256"]
    return keccak(keccak(encode(words, [LEAF_TAG, index, provider, c, d, w]))), c


def sum_root(leaves: dict[int, tuple[str, int, int, int]], depth: int) -> tuple[bytes, int]:
    """(hash, sum) of the tree, every node of it computed one by one."""
    if depth == 0:
        return ZERO, 0
    level = [leaf_node(i, *leaves[i]) if i in leaves else (ZERO, 0) for i in range(2**depth)]
    while len(level) > 1:
        level = [join(level[i], level[i + 1]) for i in range(0, len(level), 2)]
    return level[0]


def join(left: tuple[bytes, int], right: tuple[bytes, int]) -> tuple[bytes, int]:
    words = ["bytes32", "bytes32", "uint256", "bytes32", "uint256"]
    return keccak(encode(words, [NODE_TAG, left[0], left[1], right[0], right[1]])), left[1] + right[1]


def merkle_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 9162, 2.1.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + merkle_root(leaves[:k]) + merkle_root(leaves[k:])).digest()


def merkle_climb(data: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """The root that an inclusion path leads to, by the tree's own shape."""
    if size == 1:
        assert not path
        return hashlib.sha256(b"\x00" + data).digest()
    k = 1
    while k * 2 < size:
        k *= 2
    if index < k:
        return hashlib.sha256(b"\x01" + merkle_climb(data, index, k, path[:-1]) + path[-1]).digest()
    return hashlib.sha256(b"\x01" + path[-1] + merkle_climb(data, index - k, size - k, path[:-1])).digest()


def window(seed: bytes, position: int, total: int) -> int:
    turn, value = position // total, position % total
    key = hashlib.sha256(
        b"commonweight.windows.v1" + seed + turn.to_bytes(8, "big") + total.to_bytes(8, "big")
    ).digest()
    bits = len(bin(total - 1)) - 2 if total > 1 else 0
    half = max(1, -(-bits // 2))
    while True:
        left, right = value // 2**half, value % 2**half
        for number in range(8):
            mixed = hashlib.sha256(key + bytes([number]) + right.to_bytes(8, "big")).digest()
            left, right = right, left ^ (int.from_bytes(mixed[:8], "big") % 2**half)
        value = left * 2**half + right
        if value < total:
            return value


def draws(seed: bytes, number: int, segments: dict[int, int], rate: int, signers: int) -> list[tuple[int, int, int]]:
    def draw(index: int, purpose: bytes) -> bytes:
        head = b"commonweight.draw.v1" + seed + number.to_bytes(8, "big") + index.to_bytes(4, "big")
        return hashlib.sha256(head + purpose).digest()

    def small(index: int, purpose: bytes) -> int:
        return int.from_bytes(draw(index, purpose)[:8], "big")

    chosen = sorted([i for i in segments if small(i, b"rate") % 10000 < rate], key=lambda i: draw(i, b"order"))
    result = []
    for place in range(max(len(chosen), signers) if chosen else 0):
        index = chosen[place % len(chosen)]
        segment = (small(index, b"segment") + place // len(chosen)) % segments[index]
        result.append((index, segment, (small(0, b"turn") + place) % signers))
    return result


def doubted(seed: bytes, number: int, index: int, segments: int) -> int:
    head = b"commonweight.draw.v1" + seed + number.to_bytes(8, "big") + index.to_bytes(4, "big")
    return int.from_bytes(hashlib.sha256(head + b"doubt").digest()[:8], "big") % segments


def credits_of(parameters: int, tokens: int, bandwidth: int, latency: int, share: Fraction = Fraction(1)) -> int:
    return floor(Fraction(6 * parameters * tokens * (800 + bandwidth + latency), 10**12) * share)


def capped(totals: dict[int, int], cap: int) -> dict[int, int]:
    total = sum(totals.values())
    if total <= cap:
        return {i: v for i, v in totals.items() if v}
    shares = {i: Fraction(v * cap, total) for i, v in sorted(totals.items())}
    result = {i: floor(share) for i, share in shares.items()}
    left = cap - sum(result.values())
    for i, share in shares.items():
        if left and share.denominator != 1:
            result[i] += 1
            left -= 1
    return {i: v for i, v in result.items() if v}
