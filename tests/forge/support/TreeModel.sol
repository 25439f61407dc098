// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Leaf, Sibling} from "../../../contracts/interfaces/Types.sol";

/// @notice A credit tree kept by the tests, written from the specification and not from the contracts' library.
contract TreeModel {
    struct Account {
        address provider;
        uint256 C;
        uint256 D;
        uint256 W;
    }

    mapping(uint32 => Account) public accounts;
    mapping(uint32 => Sibling) internal raw;
    mapping(uint32 => bool) internal isRaw;
    uint32 public size;

    function add(uint32 index, address provider, uint256 c, uint256 acc, uint256 wage) external {
        Account storage a = accounts[index];
        a.provider = provider;
        a.C += c;
        a.D += c * acc;
        a.W += c * wage;
        if (index + 1 > size) size = index + 1;
    }

    function put(uint32 index, address provider, uint256 C, uint256 D, uint256 W) external {
        accounts[index] = Account(provider, C, D, W);
        if (index + 1 > size) size = index + 1;
    }

    function copyFrom(TreeModel other) external {
        uint32 old = size;
        size = other.size();
        for (uint32 i = 0; i < size || i < old; ++i) {
            accounts[i] = other.account(i);
        }
    }

    function account(uint32 index) external view returns (Account memory) {
        return accounts[index];
    }

    function leaf(uint32 index) external view returns (Leaf memory) {
        Account memory a = accounts[index];
        return Leaf(index, a.provider, a.C, a.D, a.W);
    }

    /// @dev Puts a hash and a sum at a leaf's place that no leaf needs to have.
    function forge(uint32 index, bytes32 hash, uint256 sum) external {
        raw[index] = Sibling(hash, sum);
        isRaw[index] = true;
        if (index + 1 > size) size = index + 1;
    }

    function leafNode(uint32 index) public view returns (Sibling memory) {
        if (isRaw[index]) return raw[index];
        Account memory a = accounts[index];
        if (a.C == 0) return Sibling(0, 0);
        bytes memory inner = abi.encode(keccak256("commonweight.leaf.v1"), index, a.provider, a.C, a.D, a.W);
        return Sibling(keccak256(abi.encodePacked(keccak256(inner))), a.C);
    }

    function build(uint8 depth, uint32 index) public view returns (Sibling memory root, Sibling[] memory proof) {
        uint256 width = 1 << depth;
        Sibling[] memory level = new Sibling[](width);
        for (uint32 i = 0; i < size && i < width; ++i) {
            level[i] = leafNode(i);
        }
        proof = new Sibling[](depth);
        uint256 at = index;
        for (uint256 k = 0; k < depth; ++k) {
            proof[k] = level[at ^ 1];
            at >>= 1;
            width >>= 1;
            for (uint256 i = 0; i < width; ++i) {
                Sibling memory l = level[2 * i];
                Sibling memory r = level[2 * i + 1];
                level[i] = Sibling(keccak256(abi.encode(keccak256("commonweight.node.v1"), l.hash, l.sum, r.hash, r.sum)), l.sum + r.sum);
            }
        }
        root = level[0];
    }

    function rootOf(uint8 depth) external view returns (bytes32 hash, uint256 sum) {
        (Sibling memory root,) = build(depth, 0);
        return (root.hash, root.sum);
    }

    /// @dev The nodes `below` levels under the node at (level, position), left to right.
    function descendants(uint8 level, uint32 position, uint8 below) external view returns (Sibling[] memory out) {
        out = new Sibling[](1 << below);
        for (uint32 i = 0; i < out.length; ++i) {
            out[i] = node(level - below, (position << below) + i);
        }
    }

    function node(uint8 level, uint32 position) public view returns (Sibling memory) {
        if (level == 0) return leafNode(position);
        Sibling memory l = node(level - 1, position * 2);
        Sibling memory r = node(level - 1, position * 2 + 1);
        return Sibling(keccak256(abi.encode(keccak256("commonweight.node.v1"), l.hash, l.sum, r.hash, r.sum)), l.sum + r.sum);
    }

    function proofOf(uint8 depth, uint32 index) external view returns (Sibling[] memory proof) {
        (, proof) = build(depth, index);
    }
}
