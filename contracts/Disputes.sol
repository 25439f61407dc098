// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {CreditDispute} from "./CreditDispute.sol";
import {RootGame} from "./RootGame.sol";
import {ICreditLedger} from "./interfaces/ICreditLedger.sol";
import {ICreditOracle} from "./interfaces/ICreditOracle.sol";
import {IProviderRegistry} from "./interfaces/IProviderRegistry.sol";
import {FinalEpoch, Leaf, Report, Sibling} from "./interfaces/Types.sol";
import {CreditList} from "./libraries/CreditList.sol";
import {RunConstants} from "./libraries/RunConstants.sol";
import {SumTree} from "./libraries/SumTree.sol";

/// @title Disputes
/// @notice Proofs against a report, and with them the root game and the disputes over credits.
contract Disputes is RootGame, CreditDispute {
    function proveWrongLeaf(
        Report calldata report,
        bytes calldata credits,
        uint32 index,
        bytes32 leafHash,
        uint256 leafSum,
        Sibling[] calldata proof,
        Leaf calldata last,
        Sibling[] calldata lastProof
    ) external {
        (bytes32 digest, Case memory c) = _accused(report, credits);
        if (last.index != index) revert InvalidProof();
        _requireNewNode(report, index, leafHash, leafSum, proof);
        _requireLastLeaf(c, last, lastProof);
        if (_isRight(c, CreditList.creditsOf(credits, index), leafHash, leafSum, last)) revert NotFraud();
        emit WrongLeafProved(digest, index, msg.sender);
        _punish(digest, c);
    }

    function proveBadList(Report calldata report, bytes calldata credits, uint256 position) external {
        (bytes32 digest, Case memory c) = _accused(report, credits);
        if (!_isBadAt(credits, position, c.providerCount)) revert NotFraud();
        emit BadListProved(digest, position, msg.sender);
        _punish(digest, c);
    }

    /// @dev The case of a report that can still be fraud: the pending one, or one that a default has voided, as long as a game on it is open.
    function _accused(Report calldata report, bytes calldata credits) internal view returns (bytes32 digest, Case memory c) {
        digest = _reportDigest(report);
        c = _cases[digest];
        if (c.voidedAt == 0 || c.fraud || c.openGames == 0) c = _pendingCase(report, digest);
        if (keccak256(credits) != report.creditsHash) revert WrongList();
    }

    function _punish(bytes32 digest, Case memory c) internal {
        _cases[digest].fraud = true;
        ICreditOracle oracle = ICreditOracle(RunConstants.oracle());
        if (c.voidedAt != 0) oracle.slashSigners(c.rotation, c.signerMask, msg.sender);
        else oracle.voidByFraud(msg.sender);
    }

    /// @dev A report's depth is at least one, so that an empty proof can only mean an index beyond its tree.
    function _requireNewNode(Report calldata report, uint32 index, bytes32 hash, uint256 sum, Sibling[] calldata proof) internal pure {
        if (proof.length == 0) revert InvalidProof();
        if (!SumTree.contains(report.root, report.sum, report.depth, index, hash, sum, proof)) revert InvalidProof();
    }

    function _requireLastLeaf(Case memory c, Leaf calldata last, Sibling[] calldata lastProof) internal view {
        FinalEpoch memory f;
        if (c.prevAny) f = ICreditLedger(RunConstants.ledger()).finalEpoch(c.prevEpoch);
        if (!SumTree.containsLeaf(f.root, f.sum, f.depth, last, lastProof)) revert InvalidProof();
    }

    /// @dev Compares a position of the new tree with what last leaf, listed credits and snapshots make it. Wrapping is deliberate:
    /// credits that large can not sum to a root below 2^64, so the sums differ anyhow.
    function _isRight(Case memory case_, uint64 c, bytes32 leafHash, uint256 leafSum, Leaf calldata last)
        internal
        view
        returns (bool)
    {
        if (c != 0 && last.index >= case_.providerCount) return false;
        bool empty = last.C == 0;
        unchecked {
            uint256 C = last.C + c;
            uint256 D = (empty ? 0 : last.D) + c * uint256(case_.acc);
            uint256 W = (empty ? 0 : last.W) + c * uint256(case_.wage);
            if (leafSum != C) return false;
            address provider = IProviderRegistry(RunConstants.registry()).accountOf(last.index);
            return leafHash == SumTree.leafHash(last.index, provider, C, D, W);
        }
    }

    /// @dev A length that is no multiple of an entry is bad at any position. An index that nobody had registered has no leaf that could be
    /// wrong when it lies beyond the tree, so that the entry itself must be the proof.
    function _isBadAt(bytes calldata credits, uint256 position, uint256 providerCount) internal pure returns (bool) {
        if (credits.length % CreditList.ENTRY != 0) return true;
        if (position >= credits.length / CreditList.ENTRY) return false;
        (uint32 index, uint64 c) = CreditList.entry(credits, position);
        if (c == 0 || index >= providerCount) return true;
        if (position == 0) return false;
        (uint32 before,) = CreditList.entry(credits, position - 1);
        return index <= before;
    }
}
