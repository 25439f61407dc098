// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Sibling} from "../../contracts/interfaces/Types.sol";
import {SumTree} from "../../contracts/libraries/SumTree.sol";

/// @dev Puts memory values into the calldata that the library reads.
contract Tree {
    function climb(uint256 index, bytes32 hash, uint256 sum, Sibling[] calldata proof) external pure returns (bytes32, uint256) {
        return SumTree.climb(index, hash, sum, proof);
    }

    function contains(bytes32 root, uint256 rootSum, uint8 depth, uint32 index, bytes32 hash, uint256 sum, Sibling[] calldata proof)
        external
        pure
        returns (bool)
    {
        return SumTree.contains(root, rootSum, depth, index, hash, sum, proof);
    }

    function leafHash(uint32 index, address provider, uint256 C, uint256 D, uint256 W) external pure returns (bytes32) {
        return SumTree.leafHash(index, provider, C, D, W);
    }

    function nodeHash(bytes32 l, uint256 ls, bytes32 r, uint256 rs) external pure returns (bytes32) {
        return SumTree.nodeHash(l, ls, r, rs);
    }
}

/// @title SumTreeChecks
/// @notice The sum tree for every value that fits, at depth two.
contract SumTreeChecks {
    uint256 internal constant DEPTH = 2;
    Tree internal tree = new Tree();

    function proofOf(bytes32[DEPTH] memory hashes, uint256[DEPTH] memory sums, uint256 depth)
        internal
        pure
        returns (Sibling[] memory proof)
    {
        proof = new Sibling[](depth);
        for (uint256 k = 0; k < depth; ++k) {
            proof[k] = Sibling(hashes[k], sums[k]);
        }
    }

    /// @dev One path for each place, since the library lays nodes out in memory by the index's bits.
    function placeOf(uint32 index) internal pure returns (bool within, uint32 place) {
        for (place = 0; place < 1 << DEPTH; ++place) {
            if (index == place) return (true, place);
        }
    }

    /// @notice What is contained has the root's sum once its siblings' are added, none of them lost to an overflow.
    function check_sumsAdd(
        bytes32 root,
        uint256 rootSum,
        uint32 index,
        bytes32 hash,
        uint256 sum,
        bytes32[DEPTH] memory hashes,
        uint256[DEPTH] memory sums
    ) external view {
        Sibling[] memory proof = proofOf(hashes, sums, DEPTH);
        (bool within, uint32 place) = placeOf(index);
        if (!within || !tree.contains(root, rootSum, uint8(DEPTH), place, hash, sum, proof)) return;
        unchecked {
            uint256 total = sum;
            for (uint256 k = 0; k < DEPTH; ++k) {
                assert(total + sums[k] >= total);
                total += sums[k];
            }
            assert(total == rootSum);
        }
    }

    /// @notice A place has one content: two proofs of it to one root are the same, in hash, sum and siblings.
    function check_onePlaceOneContent(
        uint32 index,
        bytes32[2] memory hash,
        uint256[2] memory sum,
        bytes32[DEPTH] memory hashesA,
        uint256[DEPTH] memory sumsA,
        bytes32[DEPTH] memory hashesB,
        uint256[DEPTH] memory sumsB
    ) external view {
        (bool within, uint32 place) = placeOf(index);
        if (!within) return;
        (bytes32 rootA, uint256 totalA) = tree.climb(place, hash[0], sum[0], proofOf(hashesA, sumsA, DEPTH));
        (bytes32 rootB, uint256 totalB) = tree.climb(place, hash[1], sum[1], proofOf(hashesB, sumsB, DEPTH));
        if (rootA != rootB) return;
        assert(totalA == totalB && hash[0] == hash[1] && sum[0] == sum[1]);
        for (uint256 k = 0; k < DEPTH; ++k) {
            assert(hashesA[k] == hashesB[k] && sumsA[k] == sumsB[k]);
        }
    }

    /// @notice Beyond the tree there is nothing, and nothing needs no proof.
    function check_beyondTheTreeIsEmpty(
        bytes32 root,
        uint256 rootSum,
        uint8 depth,
        uint32 index,
        bytes32 hash,
        uint256 sum,
        bytes32[DEPTH] memory hashes,
        uint256[DEPTH] memory sums,
        bool some
    ) external view {
        if (depth != 0 && uint256(index) >> depth == 0) return;
        Sibling[] memory proof = proofOf(hashes, sums, some ? DEPTH : 0);
        bool there = tree.contains(root, rootSum, depth, index, hash, sum, proof);
        assert(there == (hash == 0 && sum == 0 && !some));
    }

    /// @notice Within the tree a proof has as many siblings as the tree has levels.
    function check_proofLengthIsTheDepth(
        bytes32 root,
        uint256 rootSum,
        uint8 depth,
        uint32 index,
        bytes32 hash,
        uint256 sum,
        bytes32[DEPTH] memory hashes,
        uint256[DEPTH] memory sums
    ) external view {
        if (depth == 0 || depth == DEPTH || uint256(index) >> depth != 0) return;
        assert(!tree.contains(root, rootSum, depth, index, hash, sum, proofOf(hashes, sums, DEPTH)));
    }

    /// @notice A leaf is empty if and only if it has no credits; equal hashes mean equal leaves.
    function check_leavesAreBound(
        uint32[2] memory index,
        address[2] memory provider,
        uint256[2] memory C,
        uint256[2] memory D,
        uint256[2] memory W
    ) external view {
        bytes32 a = tree.leafHash(index[0], provider[0], C[0], D[0], W[0]);
        bytes32 b = tree.leafHash(index[1], provider[1], C[1], D[1], W[1]);
        assert((a == 0) == (C[0] == 0));
        if (a != b || C[0] == 0) return;
        assert(index[0] == index[1] && provider[0] == provider[1] && C[0] == C[1] && D[0] == D[1] && W[0] == W[1]);
    }

    /// @notice No leaf is a node.
    function check_leafIsNoNode(
        uint32 index,
        address provider,
        uint256 C,
        uint256 D,
        uint256 W,
        bytes32[2] memory hashes,
        uint256[2] memory sums
    ) external view {
        if (C == 0) return;
        assert(tree.leafHash(index, provider, C, D, W) != tree.nodeHash(hashes[0], sums[0], hashes[1], sums[1]));
    }

    /// @notice The depth is the smallest, and at least one, that holds `count` places, up to what a registry can hold.
    function check_depthIsTheSmallest(uint256 count) external pure {
        if (count > 1 << 20) return;
        uint256 depth = SumTree.depthFor(count);
        assert(depth >= 1 && count <= 1 << depth);
        assert(depth == 1 || count > 1 << (depth - 1));
    }
}
