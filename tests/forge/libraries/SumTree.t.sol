// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {TreeModel} from "../support/TreeModel.sol";
import {Leaf, Sibling} from "../../../contracts/interfaces/Types.sol";
import {SumTree} from "../../../contracts/libraries/SumTree.sol";

/// @dev Library functions take calldata, so that a test needs a contract between.
contract SumTreeCaller {
    function containsLeaf(bytes32 root, uint256 sum, uint8 depth, Leaf calldata leaf, Sibling[] calldata proof) external pure returns (bool) {
        return SumTree.containsLeaf(root, sum, depth, leaf, proof);
    }

    function contains(bytes32 root, uint256 rootSum, uint8 depth, uint32 index, bytes32 hash, uint256 sum) external view returns (bool) {
        return this.climbed(root, rootSum, depth, index, hash, sum, new Sibling[](0));
    }

    function climbed(
        bytes32 root, uint256 rootSum, uint8 depth, uint32 index, bytes32 hash, uint256 sum, Sibling[] calldata proof
    ) external pure returns (bool) {
        return SumTree.contains(root, rootSum, depth, index, hash, sum, proof);
    }

    function depthFor(uint256 count) external pure returns (uint8) {
        return SumTree.depthFor(count);
    }
}

/// @notice The credit tree: every proof of the true leaf, and of nothing else.
contract SumTreeTest is Base {
    SumTreeCaller internal lib;
    TreeModel internal model;

    function setUp() public override {
        lib = new SumTreeCaller();
        model = newTree();
    }

    function test_specificationVector() public {
        model.put(0, 0x1111111111111111111111111111111111111111, 100, 0, 1 << 64);
        model.put(2, 0x2222222222222222222222222222222222222222, 7, 5 << 64, 0);
        (bytes32 root, uint256 sum) = model.rootOf(2);
        eq(root, 0x770b4157b82028413232457bf831a0a8e9ac100b9d06426cbfa0d42c469760db, "root");
        eq(sum, 107, "sum");
        for (uint32 i = 0; i < 4; ++i) {
            ok(lib.containsLeaf(root, sum, 2, model.leaf(i), model.proofOf(2, i)), "every index proves");
        }
        ok(lib.containsLeaf(root, sum, 2, Leaf(4, address(0), 0, 0, 0), new Sibling[](0)), "beyond the tree is empty");
        ok(!lib.containsLeaf(root, sum, 2, Leaf(4, address(1), 1, 0, 0), new Sibling[](0)), "and nothing else");
    }

    function test_beforeTheFirstReportAllIsEmpty() public view {
        ok(lib.containsLeaf(0, 0, 0, Leaf(0, address(0), 0, 0, 0), new Sibling[](0)), "empty");
        ok(!lib.containsLeaf(0, 0, 0, Leaf(0, address(1), 1, 0, 0), new Sibling[](0)), "no credits");
        ok(!lib.containsLeaf(0, 0, 0, Leaf(0, address(0), 0, 0, 0), new Sibling[](1)), "no proof");
    }

    /// Beyond the tree neither a hash without credits nor credits without a hash stand.
    function test_emptyPlacesHaveNeitherHashNorSum() public view {
        ok(lib.contains("root", 5, 2, 4, 0, 0), "empty");
        ok(!lib.contains("root", 5, 2, 4, "hash", 0), "a hash alone");
        ok(!lib.contains("root", 5, 2, 4, 0, 1), "credits alone");
    }

    /// Any change of a leaf, a sibling, a sum, the depth or the index breaks the proof.
    function test_onlyTheTrueLeafProves(uint64[8] memory credits, uint8 at, uint8 what, uint256 by) public {
        for (uint32 i = 0; i < 8; ++i) {
            if (credits[i] % 3 != 0) model.put(i, address(uint160(i + 1)), credits[i], uint256(credits[i]) * 7, credits[i]);
        }
        uint32 index = uint32(at % 8);
        (bytes32 root, uint256 sum) = model.rootOf(3);
        Leaf memory leaf = model.leaf(index);
        Sibling[] memory proof = model.proofOf(3, index);
        ok(lib.containsLeaf(root, sum, 3, leaf, proof), "true leaf");
        by = bound(by, 1, type(uint64).max);
        uint8 depth = 3;
        what = uint8(what % 8);
        if (what == 0) leaf.C += by;
        else if (what == 1 && leaf.C != 0) leaf.D += by;
        else if (what == 2 && leaf.C != 0) leaf.W += by;
        else if (what == 3 && leaf.C != 0) leaf.provider = address(uint160(leaf.provider) + uint160(by));
        else if (what == 4) proof[by % 3].sum += 1;
        else if (what == 5) proof[by % 3].hash ^= bytes32(by);
        else if (what == 6) depth = 2;
        else if (what == 7) sum += by;
        else return;
        ok(!lib.containsLeaf(root, sum, depth, leaf, proof), "altered");
    }

    /// Sums that wrap would let a tree hold more than its root says.
    function test_sumsThatOverflowAreRefused(uint8 at) public {
        model.put(1, address(1), 7, 0, 0);
        (bytes32 root, uint256 sum) = model.rootOf(3);
        Leaf memory leaf = model.leaf(1);
        Sibling[] memory proof = model.proofOf(3, 1);
        proof[at % 3].sum = type(uint256).max - 6;
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", 0x11));
        lib.containsLeaf(root, sum, 3, leaf, proof);
    }

    function test_proofOfAnotherLengthDoesNotProve() public {
        model.put(1, address(1), 7, 0, 0);
        (bytes32 root, uint256 sum) = model.rootOf(3);
        ok(!lib.containsLeaf(root, sum, 3, model.leaf(1), model.proofOf(2, 1)), "shorter");
        ok(!lib.containsLeaf(root, sum, 3, model.leaf(1), model.proofOf(4, 1)), "longer");
    }

    function test_wrongIndexDoesNotProve(uint8 a, uint8 b) public {
        a %= 8;
        b %= 8;
        vm.assume(a != b);
        for (uint32 i = 0; i < 8; ++i) {
            model.put(i, address(uint160(i + 1)), i + 1, 0, 0);
        }
        (bytes32 root, uint256 sum) = model.rootOf(3);
        Leaf memory leaf = model.leaf(a);
        leaf.index = b;
        ok(!lib.containsLeaf(root, sum, 3, leaf, model.proofOf(3, a)), "index");
    }

    function test_depthFor() public view {
        uint8[9] memory want = [1, 1, 1, 2, 2, 3, 3, 3, 3];
        for (uint256 n = 0; n < 9; ++n) {
            eq(lib.depthFor(n), want[n], "depth");
        }
        eq(lib.depthFor(1 << 20), 20, "a million");
        eq(lib.depthFor((1 << 20) + 1), 21, "more");
    }

    /// A tree of depth 0 is empty, even where its root would be the leaf itself.
    function test_depthZeroHoldsNothing() public {
        model.put(0, address(1), 7, 0, 0);
        bytes32 hash = model.leafNode(0).hash;
        ok(!lib.containsLeaf(hash, 7, 0, model.leaf(0), new Sibling[](0)), "no leaf");
        ok(lib.containsLeaf(hash, 7, 0, Leaf(0, address(0), 0, 0, 0), new Sibling[](0)), "empty whatever the root");
    }
}
