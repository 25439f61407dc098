"""Merkle trees after RFC 9162, section 2.1, with SHA-256: the round anchor and the training trace.

Leaf hash: SHA-256(0x00, data). Node hash: SHA-256(0x01, left, right), the left subtree being the largest power of two
smaller than the number of leaves. The empty tree's root is SHA-256 of nothing.
"""

import hashlib
from collections.abc import Iterable, Sequence

from commonweight.errors import ProofError

__all__ = ["anchor_leaves", "anchor_root", "leaf_hash", "node_hash", "proof", "require", "root", "verify"]


def leaf_hash(data: bytes) -> bytes:
    """Hash of a leaf's data."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """Root over leaves given by their data."""
    return _root([leaf_hash(leaf) for leaf in leaves]) if leaves else hashlib.sha256().digest()


def proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Inclusion proof (audit path) of leaf `index`, from the leaf upwards."""
    if not 0 <= index < len(leaves):
        raise ProofError("There is no such leaf", f"leaf {index} of {len(leaves)}")
    return tuple(_path([leaf_hash(leaf) for leaf in leaves], index))


def verify(tree_root: bytes, data: bytes, index: int, size: int, path: Sequence[bytes]) -> bool:
    """Whether `path` proves that leaf `index` of a tree of `size` leaves has this data (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    position, last, current = index, size - 1, leaf_hash(data)
    for sibling in path:
        if last == 0 or len(sibling) != 32:
            return False
        if position & 1 or position == last:
            current = node_hash(sibling, current)
            while position and not position & 1:
                position >>= 1
                last >>= 1
        else:
            current = node_hash(current, sibling)
        position >>= 1
        last >>= 1
    return last == 0 and current == tree_root


def require(tree_root: bytes, data: bytes, index: int, size: int, path: Sequence[bytes]) -> None:
    """Like `verify`, but raises ProofError."""
    if not verify(tree_root, data, index, size, path):
        raise ProofError("A Merkle proof does not lead to the root", f"leaf {index} of {size}")


def anchor_leaves(digests: Iterable[bytes]) -> tuple[bytes, ...]:
    """The leaves of a round's anchor: digests of the receipted commitments, each once, ascending as bytes."""
    return tuple(sorted(set(digests)))


def anchor_root(digests: Iterable[bytes]) -> bytes:
    """Root to anchor over commitments' digests; 32 zero bytes (no commitments) when there are none."""
    leaves = anchor_leaves(digests)
    return root(leaves) if leaves else bytes(32)


def _split(count: int) -> int:
    return 1 << (count - 1).bit_length() - 1


def _root(hashes: Sequence[bytes]) -> bytes:
    if len(hashes) == 1:
        return hashes[0]
    left = _split(len(hashes))
    return node_hash(_root(hashes[:left]), _root(hashes[left:]))


def _path(hashes: Sequence[bytes], index: int) -> list[bytes]:
    if len(hashes) == 1:
        return []
    left = _split(len(hashes))
    if index < left:
        return [*_path(hashes[:left], index), _root(hashes[left:])]
    return [*_path(hashes[left:], index - left), _root(hashes[:left])]
