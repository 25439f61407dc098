"""The credit tree: a Merkle-sum tree at fixed indices (specification, section 4.3).

The leaf of a provider lies at its registry index. Every inner node is hashed, also above empty leaves, so a tree of
depth d has one root for one set of leaves. Hashing is keccak-256 over ABI words, as the contracts do it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from commonweight.errors import ProofError, TreeError
from commonweight.protocol.fields import U32, address_bytes, lower_address
from commonweight.protocol.typed import keccak256

__all__ = [
    "EMPTY",
    "LEAF_TAG",
    "MAX_DEPTH",
    "NODE_TAG",
    "Leaf",
    "Sibling",
    "SumTree",
    "climb",
    "depth_for",
    "leaf_hash",
    "node_hash",
    "require",
    "verify",
]

LEAF_TAG = keccak256(b"commonweight.leaf.v1")
NODE_TAG = keccak256(b"commonweight.node.v1")
MAX_DEPTH = 32
_MAX = 2**256


@dataclass(frozen=True)
class Leaf:
    """A provider's leaf: C credits, D scaled reward debt, W scaled wages, all cumulative."""

    index: int
    provider: str
    C: int
    D: int
    W: int

    def __post_init__(self) -> None:
        if not 0 <= self.index <= U32 or not all(0 <= value < _MAX for value in (self.C, self.D, self.W)):
            raise TreeError("A leaf is out of range", f"index {self.index}, C {self.C}, D {self.D}, W {self.W}")
        object.__setattr__(self, "provider", lower_address(self.provider))


@dataclass(frozen=True)
class Sibling:
    """A node seen from outside: its hash and the sum of the credits below it."""

    hash: bytes
    sum: int


EMPTY = Sibling(bytes(32), 0)


def leaf_hash(leaf: Leaf) -> bytes:
    """keccak256(keccak256(abi.encode(LEAF_TAG, i, provider, C, D, W))), or zero for an empty leaf (C = 0)."""
    if leaf.C == 0:
        return EMPTY.hash
    words = [LEAF_TAG, _word(leaf.index), bytes(12) + address_bytes(leaf.provider)]
    return keccak256(keccak256(b"".join(words) + _word(leaf.C) + _word(leaf.D) + _word(leaf.W)))


def node_hash(left: Sibling, right: Sibling) -> bytes:
    """keccak256(abi.encode(NODE_TAG, leftHash, leftSum, rightHash, rightSum))."""
    return keccak256(NODE_TAG + left.hash + _word(left.sum) + right.hash + _word(right.sum))


def depth_for(provider_count: int, previous_depth: int = 0) -> int:
    """The smallest d >= 1 with 2^d >= provider_count, and never below the previous depth."""
    return max(1, (provider_count - 1).bit_length() if provider_count > 0 else 1, previous_depth)


def climb(leaf: Sibling, index: int, proof: Sequence[Sibling]) -> Sibling:
    """The root that a leaf node and its proof lead to. Raises ProofError on overflow or malformed siblings."""
    node = leaf
    for height, sibling in enumerate(proof):
        if len(sibling.hash) != 32 or sibling.sum < 0:
            raise ProofError("A sum-tree proof is malformed", f"sibling at height {height}")
        node = _join(sibling, node) if index >> height & 1 else _join(node, sibling)
    return node


def verify(root: bytes, total: int, depth: int, leaf: Leaf, proof: Sequence[Sibling]) -> bool:
    """Whether `proof` shows `leaf` at its index under (root, total, depth).

    At depth 0, and for an index at or beyond 2^depth, exactly the empty leaf with an empty proof is shown.
    """
    if depth == 0 or leaf.index >= 1 << depth:
        return leaf.C == 0 and not proof and (depth > 0 or (root == EMPTY.hash and total == 0))
    if len(proof) != depth:
        return False
    try:
        return climb(Sibling(leaf_hash(leaf), leaf.C), leaf.index, proof) == Sibling(root, total)
    except (ProofError, TreeError):
        return False


def require(root: bytes, total: int, depth: int, leaf: Leaf, proof: Sequence[Sibling]) -> None:
    """Like `verify`, but raises ProofError."""
    if not verify(root, total, depth, leaf, proof):
        raise ProofError("A credit proof does not lead to the root", f"index {leaf.index} at depth {depth}")


class SumTree:
    """The tree over given leaves. Empty leaves may be left out; depth 0 is the tree before the first report."""

    def __init__(self, leaves: Iterable[Leaf], depth: int) -> None:
        """Raises TreeError for an index twice or outside the depth, and when a sum overflows 256 bits."""
        if not 0 <= depth <= MAX_DEPTH:
            raise TreeError("A credit tree has an impossible depth", f"{depth} is not within 0..{MAX_DEPTH}")
        self.depth = depth
        self._leaves: dict[int, Leaf] = {}
        for leaf in leaves:
            if leaf.index in self._leaves:
                raise TreeError("A credit tree has two leaves at one index", f"index {leaf.index}")
            if depth == 0 or leaf.index >= 1 << depth:
                raise TreeError("A leaf lies outside the credit tree", f"index {leaf.index} at depth {depth}")
            self._leaves[leaf.index] = leaf
        self._defaults = [EMPTY]
        for _ in range(depth):
            self._defaults.append(_join(self._defaults[-1], self._defaults[-1]))
        level = {i: Sibling(leaf_hash(leaf), leaf.C) for i, leaf in self._leaves.items() if leaf.C}
        self._levels = [level]
        for height in range(depth):
            level = {i: _join(self.node(height, 2 * i), self.node(height, 2 * i + 1)) for i in {j >> 1 for j in level}}
            self._levels.append(level)

    @property
    def root(self) -> bytes:
        """The root hash; 32 zero bytes at depth 0."""
        return self.node(self.depth, 0).hash

    @property
    def sum(self) -> int:
        """All credits."""
        return self.node(self.depth, 0).sum

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """The leaves that are not empty, by index."""
        return tuple(self._leaves[i] for i in sorted(self._leaves) if self._leaves[i].C)

    def leaf(self, index: int) -> Leaf | None:
        """The leaf at an index, None when it is empty."""
        leaf = self._leaves.get(index)
        return leaf if leaf is not None and leaf.C else None

    def node(self, height: int, position: int) -> Sibling:
        """The node at a height above the leaves, counted from the left."""
        return self._levels[height].get(position, self._defaults[height])

    def proof(self, index: int) -> list[Sibling]:
        """The siblings from the leaf upwards; an empty list at depth 0 or beyond the tree."""
        if self.depth == 0 or not 0 <= index < 1 << self.depth:
            return []
        return [self.node(height, (index >> height) ^ 1) for height in range(self.depth)]


def _join(left: Sibling, right: Sibling) -> Sibling:
    total = left.sum + right.sum
    if total >= _MAX:
        raise TreeError("A sum of credits overflows 256 bits")
    return Sibling(node_hash(left, right), total)


def _word(value: int) -> bytes:
    return value.to_bytes(32, "big")
