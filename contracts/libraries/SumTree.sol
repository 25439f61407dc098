// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Panic} from "@openzeppelin/contracts/utils/Panic.sol";
import {Leaf, Sibling} from "../interfaces/Types.sol";

/// @title SumTree
/// @notice The credit tree: a Merkle-sum tree at fixed indices. Sums are added with overflow checks.
library SumTree {
    bytes32 internal constant LEAF_TAG = keccak256("commonweight.leaf.v1");
    bytes32 internal constant NODE_TAG = keccak256("commonweight.node.v1");

    /// @notice Hash of a leaf; zero if and only if it has no credits. Double hashing keeps leaves and nodes apart.
    function leafHash(uint32 index, address provider, uint256 C, uint256 D, uint256 W) internal pure returns (bytes32) {
        if (C == 0) return bytes32(0);
        return keccak256(bytes.concat(keccak256(abi.encode(LEAF_TAG, index, provider, C, D, W))));
    }

    function nodeHash(bytes32 leftHash, uint256 leftSum, bytes32 rightHash, uint256 rightSum) internal pure returns (bytes32 result) {
        bytes32 tag = NODE_TAG;
        assembly ("memory-safe") {
            let p := mload(0x40)
            mstore(p, tag)
            mstore(add(p, 0x20), leftHash)
            mstore(add(p, 0x40), leftSum)
            mstore(add(p, 0x60), rightHash)
            mstore(add(p, 0x80), rightSum)
            result := keccak256(p, 0xa0)
        }
    }

    /// @notice The root that follows from a node at `index` of its level and its siblings, leaf upwards.
    /// @dev In assembly, since every claim and every proof of fraud runs it: own node and sibling are laid side by side, in the order
    /// that the index's bit says, behind the tag.
    function climb(uint256 index, bytes32 hash, uint256 sum, Sibling[] calldata proof)
        internal
        pure
        returns (bytes32, uint256)
    {
        bytes32 tag = NODE_TAG;
        bool overflow = false;
        assembly ("memory-safe") {
            let node := mload(0x40)
            let children := add(node, 0x20)
            mstore(node, tag)
            let end := add(proof.offset, shl(6, proof.length))
            for { let sibling := proof.offset } lt(sibling, end) { sibling := add(sibling, 0x40) } {
                let side := shl(6, and(index, 1))
                let own := add(children, side)
                mstore(own, hash)
                mstore(add(own, 0x20), sum)
                calldatacopy(add(children, xor(side, 0x40)), sibling, 0x40)
                hash := keccak256(node, 0xa0)
                let total := add(sum, calldataload(add(sibling, 0x20)))
                overflow := or(overflow, lt(total, sum))
                sum := total
                index := shr(1, index)
            }
        }
        if (overflow) Panic.panic(Panic.UNDER_OVERFLOW);
        return (hash, sum);
    }

    /// @notice Whether (hash, sum) stands at `index` of the tree. An index at or beyond 2^depth is empty and needs no proof;
    /// so is every index of the tree of depth 0.
    function contains(
        bytes32 root,
        uint256 rootSum,
        uint8 depth,
        uint32 index,
        bytes32 hash,
        uint256 sum,
        Sibling[] calldata proof
    ) internal pure returns (bool) {
        if (depth == 0 || uint256(index) >> depth != 0) return hash == bytes32(0) && sum == 0 && proof.length == 0;
        if (proof.length != depth) return false;
        (bytes32 h, uint256 s) = climb(index, hash, sum, proof);
        return h == root && s == rootSum;
    }

    function containsLeaf(bytes32 root, uint256 rootSum, uint8 depth, Leaf calldata leaf, Sibling[] calldata proof)
        internal
        pure
        returns (bool)
    {
        bytes32 hash = leafHash(leaf.index, leaf.provider, leaf.C, leaf.D, leaf.W);
        return contains(root, rootSum, depth, leaf.index, hash, leaf.C, proof);
    }

    /// @notice The smallest d >= 1 with 2^d >= `count`.
    function depthFor(uint256 count) internal pure returns (uint8 d) {
        d = 1;
        while (uint256(1) << d < count) ++d;
    }
}
