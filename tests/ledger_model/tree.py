"""The credit tree of section 4.3: a Merkle-sum tree at fixed indices, and the list that a report credits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

from Crypto.Hash import keccak as _keccak

from tests.ledger_model.rules import ZERO, ZERO_HASH

ENTRY_BYTES = 12
MAX_ENTRIES = 10_000
MAX_CID_BYTES = 128
ANSWER_LEVELS = 5  # an answer of the root game opens at most so many levels


def keccak(data: bytes) -> bytes:
    """Keccak-256."""
    return _keccak.new(digest_bits=256, data=data).digest()


def word(value: int | bytes | str) -> bytes:
    """A 32-byte ABI word: an unsigned integer, a bytes32 or an address."""
    if isinstance(value, int):
        return value.to_bytes(32, "big")
    return value if isinstance(value, bytes) else bytes.fromhex(value[2:]).rjust(32, b"\0")


def words(*values: int | bytes | str) -> bytes:
    """The ABI encoding of static values."""
    return b"".join(word(value) for value in values)


LEAF_TAG = keccak(b"commonweight.leaf.v1")
NODE_TAG = keccak(b"commonweight.node.v1")


@dataclass(frozen=True)
class Sibling:
    """A node beside a path."""

    hash: bytes
    sum: int


@dataclass(frozen=True)
class Leaf:
    """Cumulative credits C, scaled reward debt D, scaled wages W of a provider's account."""

    index: int
    provider: str = ZERO
    C: int = 0
    D: int = 0
    W: int = 0

    def credited(self, provider: str, c: int, acc: int, wage: int) -> Leaf:
        """The leaf after `c` more credits that enter at `acc` and `wage`."""
        return replace(self, provider=provider, C=self.C + c, D=self.D + c * acc, W=self.W + c * wage)


EMPTY = Sibling(ZERO_HASH, 0)


@cache
def leaf_node(leaf: Leaf) -> Sibling:
    """The tree's node for a leaf; empty if and only if C is 0."""
    if leaf.C == 0:
        return EMPTY
    inner = words(LEAF_TAG, leaf.index, leaf.provider, leaf.C, leaf.D, leaf.W)
    return Sibling(keccak(keccak(inner)), leaf.C)


@cache
def parent(left: Sibling, right: Sibling) -> Sibling:
    """The node above two."""
    total = left.sum + right.sum
    assert total < 2**256
    packed = words(NODE_TAG, left.hash, left.sum, right.hash, right.sum)
    return Sibling(keccak(packed), total)


def fold(node: Sibling, position: int, proof: tuple[Sibling, ...]) -> Sibling:
    """The root that a proof leads to."""
    for sibling in proof:
        node = parent(sibling, node) if position & 1 else parent(node, sibling)
        position >>= 1
    return node


def depth_for(providers: int, before: int) -> int:
    """The smallest depth of at least 1 that has room for all providers, never below the one before."""
    return max(1, before, (max(providers, 1) - 1).bit_length())


class Tree:
    """A whole tree: leaves by index, everything else empty. `fixed` puts a node at a leaf that no leaf need have."""

    def __init__(self, leaves: Mapping[int, Leaf], depth: int, fixed: Mapping[int, Sibling] | None = None) -> None:
        self.leaves, self.depth, self.fixed = dict(leaves), depth, dict(fixed or {})
        level = [leaf_node(self.leaf(i)) for i in range(2**depth)] if depth else [EMPTY]
        for index, node in self.fixed.items():
            level[index] = node
        self.levels = [level]
        for _ in range(depth):
            level = [parent(level[i], level[i + 1]) for i in range(0, len(level), 2)]
            self.levels.append(level)

    @property
    def root(self) -> Sibling:
        """Hash and sum; of no report yet: zeros."""
        return self.levels[self.depth][0]

    def leaf(self, index: int) -> Leaf:
        """The leaf at an index, empty if nothing was ever credited there."""
        return self.leaves.get(index, Leaf(index))

    def node(self, index: int) -> Sibling:
        """What the tree commits to at a leaf's place."""
        return self.levels[0][index]

    def proof(self, index: int) -> tuple[Sibling, ...]:
        """Siblings from the leaf upwards; none for an index beyond the tree."""
        if index >> self.depth:
            return ()
        return tuple(self.levels[k][(index >> k) ^ 1] for k in range(self.depth))

    def descendants(self, level: int, position: int) -> tuple[Sibling, ...]:
        """The nodes up to five levels below one, left to right."""
        below = min(level, ANSWER_LEVELS)
        return tuple(self.levels[level - below][position << below : (position + 1) << below])


def ancestor(nodes: tuple[Sibling, ...]) -> Sibling:
    """The node above a whole row."""
    row = list(nodes)
    while len(row) > 1:
        row = [parent(row[i], row[i + 1]) for i in range(0, len(row), 2)]
    return row[0]


def pack_list(entries: list[tuple[int, int]]) -> bytes:
    """A credits list: u32 index, u64 credits, big-endian."""
    return b"".join(i.to_bytes(4, "big") + c.to_bytes(8, "big") for i, c in entries)


def unpack_list(packed: bytes) -> list[tuple[int, int]]:
    """Its whole entries; a broken tail is left out."""
    starts = range(0, len(packed) - ENTRY_BYTES + 1, ENTRY_BYTES)
    return [(int.from_bytes(packed[s : s + 4], "big"), int.from_bytes(packed[s + 4 : s + 12], "big")) for s in starts]


def bad_entry(packed: bytes, position: int, providers: int = 2**32) -> bool:
    """Whether a list is fraud by this position.

    A wrong length is, zero credits are, and an index that nobody had registered, or that is not above the one before.
    """
    if len(packed) % ENTRY_BYTES:
        return True
    entries = unpack_list(packed)
    if position >= len(entries):
        return False
    index, credits = entries[position]
    return credits == 0 or index >= providers or (position > 0 and index <= entries[position - 1][0])


def well_formed(packed: bytes) -> bool:
    """Whether a list says one thing of each index."""
    return not len(packed) % ENTRY_BYTES and not any(bad_entry(packed, k) for k in range(len(unpack_list(packed))))
