"""Merkle and Merkle-sum trees against the specification's vector and a plain second implementation."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonweight.errors import FormatError, ProofError, TreeError
from commonweight.protocol import creditslist, merkle, sumtree
from commonweight.protocol.sumtree import Leaf, Sibling, SumTree, depth_for
from tests.protocol import reference

pytestmark = pytest.mark.unit

AMOUNT = st.integers(0, 2**100)
ADDRESS = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
LEAVES = st.dictionaries(st.integers(0, 31), st.tuples(ADDRESS, st.integers(0, 2**60), AMOUNT, AMOUNT), max_size=12)


def test_the_vector_of_the_specification() -> None:
    tree = SumTree([Leaf(0, "0x" + "11" * 20, 100, 0, 2**64), Leaf(2, "0x" + "22" * 20, 7, 5 * 2**64, 0)], 2)
    assert tree.root.hex() == "770b4157b82028413232457bf831a0a8e9ac100b9d06426cbfa0d42c469760db"
    assert tree.sum == 107


@given(LEAVES, st.integers(5, 8))
@settings(max_examples=40, deadline=None)
def test_roots_equal_those_of_the_plain_implementation(leaves, depth: int) -> None:
    tree = SumTree([Leaf(i, *leaf) for i, leaf in leaves.items()], depth)
    assert (tree.root, tree.sum) == reference.sum_root(leaves, depth)


@given(LEAVES, st.integers(0, 31), st.data())
@settings(max_examples=60, deadline=None)
def test_a_proof_shows_its_leaf_and_no_other(leaves, index: int, data) -> None:
    tree = SumTree([Leaf(i, *leaf) for i, leaf in leaves.items()], 5)
    proof = tree.proof(index)
    leaf = tree.leaf(index) or Leaf(index, "0x" + "00" * 20, 0, 0, 0)
    assert sumtree.verify(tree.root, tree.sum, 5, leaf, proof)
    other = Leaf(index, leaf.provider, leaf.C + data.draw(st.integers(1, 9)), leaf.D, leaf.W)
    assert not sumtree.verify(tree.root, tree.sum, 5, other, proof)
    place = data.draw(st.integers(0, 4))
    bent = [*proof]
    bent[place] = Sibling(bent[place].hash, bent[place].sum + 1)
    assert not sumtree.verify(tree.root, tree.sum, 5, leaf, bent)
    assert not sumtree.verify(tree.root, tree.sum, 5, leaf, proof[:-1])
    if leaf.C:
        moved = Leaf(index ^ 1, leaf.provider, leaf.C, leaf.D, leaf.W)
        assert not sumtree.verify(tree.root, tree.sum, 5, moved, proof)
        with pytest.raises(ProofError):
            sumtree.require(tree.root, tree.sum, 5, moved, proof)


def test_before_the_first_report_every_index_is_empty() -> None:
    empty = Leaf(3, "0x" + "00" * 20, 0, 0, 0)
    tree = SumTree([], 0)
    assert (tree.root, tree.sum, tree.proof(3)) == (bytes(32), 0, [])
    assert sumtree.verify(bytes(32), 0, 0, empty, [])
    assert not sumtree.verify(bytes(32), 0, 0, Leaf(3, "0x" + "00" * 20, 1, 0, 0), [])
    assert not sumtree.verify(b"\x01" * 32, 0, 0, empty, [])
    assert sumtree.verify(b"\x01" * 32, 9, 1, empty, [])


def test_a_leaf_without_credits_is_empty_whatever_else_it_says() -> None:
    assert sumtree.leaf_hash(Leaf(0, "0x" + "11" * 20, 0, 5, 6)) == bytes(32)


def test_impossible_trees_are_refused() -> None:
    leaf = Leaf(1, "0x" + "11" * 20, 2**255, 0, 0)
    for leaves, depth in (([leaf, leaf], 1), ([Leaf(2, leaf.provider, 1, 0, 0)], 1), ([leaf], 0), ([], 33)):
        with pytest.raises(TreeError):
            SumTree(leaves, depth)
    with pytest.raises(TreeError):
        SumTree([leaf, Leaf(0, leaf.provider, 2**255, 0, 0)], 1)
    for wrong in ((-1, 0, 0, 0), (2**32, 0, 0, 0), (0, -1, 0, 0), (0, 2**256, 0, 0)):
        with pytest.raises(TreeError):
            Leaf(wrong[0], leaf.provider, *wrong[1:])


@pytest.mark.parametrize(
    ("count", "previous", "depth"),
    [(0, 0, 1), (1, 0, 1), (2, 0, 1), (3, 0, 2), (4, 0, 2), (5, 0, 3), (2**16 + 1, 4, 17), (1, 5, 5)],
)
def test_depth_is_the_smallest_that_holds_all_and_never_falls(count: int, previous: int, depth: int) -> None:
    assert depth_for(count, previous) == depth


@given(st.lists(st.binary(max_size=40), max_size=20))
@settings(max_examples=60, deadline=None)
def test_merkle_trees_equal_the_plain_implementation(leaves: list[bytes]) -> None:
    root = merkle.root(leaves)
    assert root == reference.merkle_root(leaves)
    for index, leaf in enumerate(leaves):
        path = merkle.proof(leaves, index)
        assert reference.merkle_climb(leaf, index, len(leaves), list(path)) == root
        assert merkle.verify(root, leaf, index, len(leaves), path)
        assert not merkle.verify(root, leaf + b"x", index, len(leaves), path)
        assert not merkle.verify(root, leaf, index, len(leaves), (*path, bytes(32)))
        if path:
            assert not merkle.verify(root, leaf, index, len(leaves), path[:-1])
    assert not merkle.verify(root, b"", len(leaves), len(leaves), ())


def test_an_anchor_is_over_sorted_distinct_commitments_and_zero_without_any() -> None:
    digests = [b"\x02" * 32, b"\x01" * 32, b"\x02" * 32]
    assert merkle.anchor_root(digests) == reference.merkle_root([b"\x01" * 32, b"\x02" * 32])
    assert merkle.anchor_root([]) == bytes(32)
    with pytest.raises(ProofError):
        merkle.proof([], 0)
    with pytest.raises(ProofError):
        merkle.require(bytes(32), b"", 0, 1, ())


@given(st.dictionaries(st.integers(0, 2**32 - 1), st.integers(1, 2**64 - 1), max_size=30))
def test_a_credits_list_survives_the_way_there_and_back(amounts: dict[int, int]) -> None:
    packed = creditslist.encode(amounts)
    assert len(packed) == 12 * len(amounts)
    assert list(creditslist.decode(packed).items()) == sorted(amounts.items())


def test_a_credits_list_that_the_contract_would_refuse_is_refused() -> None:
    entry = (1).to_bytes(4, "big") + (5).to_bytes(8, "big")
    for packed in (
        entry[:-1],
        entry + entry,
        entry + bytes(12),
        bytes(4) + bytes(8),
        b"".join(i.to_bytes(4, "big") + (1).to_bytes(8, "big") for i in range(10_001)),
    ):
        with pytest.raises(FormatError):
            creditslist.decode(packed)
    for amounts in ({-1: 1}, {0: -1}, {0: 2**64}, dict.fromkeys(range(10_001), 1)):
        with pytest.raises(FormatError):
            creditslist.encode(amounts)
    assert creditslist.encode({3: 0}) == b""
