// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {ICreditLedger} from "./interfaces/ICreditLedger.sol";
import {ICreditOracle} from "./interfaces/ICreditOracle.sol";
import {IDisputes} from "./interfaces/IDisputes.sol";
import {IProviderRegistry} from "./interfaces/IProviderRegistry.sol";
import {IRunPart} from "./interfaces/IRunPart.sol";
import {EpochInfo, EpochState, Leaf, Report, RunAddresses, RunParams, Sibling} from "./interfaces/Types.sol";
import {CreditList} from "./libraries/CreditList.sol";
import {SumTree} from "./libraries/SumTree.sol";

/// @title Disputes
/// @notice Proofs against a pending report.
contract Disputes is IDisputes, IRunPart, Initializable {
    address internal _oracle;
    address internal _ledger;
    address internal _registry;

    constructor() {
        _disableInitializers();
    }

    function initialize(RunParams calldata, RunAddresses calldata a) external initializer {
        _oracle = a.oracle;
        _ledger = a.ledger;
        _registry = a.registry;
    }

    /*//////////////////////////////////////////////////////////////
                             PENDING REPORT
    //////////////////////////////////////////////////////////////*/

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
        EpochInfo memory info = _pendingReport(report, credits);
        if (uint256(index) >> report.depth != 0) revert InvalidProof();
        if (!SumTree.contains(report.root, report.sum, report.depth, index, leafHash, leafSum, proof)) revert InvalidProof();
        _requireLastLeaf(index, last, lastProof);
        if (_isRight(info, CreditList.creditsOf(credits, index), index, leafHash, leafSum, last)) revert NotFraud();
        emit WrongLeafProved(report.epoch, index, msg.sender);
        ICreditOracle(_oracle).voidByFraud(msg.sender);
    }

    function proveBadList(Report calldata report, bytes calldata credits, uint256 position) external {
        _pendingReport(report, credits);
        if (!_isBadAt(credits, position)) revert NotFraud();
        emit BadListProved(report.epoch, position, msg.sender);
        ICreditOracle(_oracle).voidByFraud(msg.sender);
    }

    function _pendingReport(Report calldata report, bytes calldata credits) internal view returns (EpochInfo memory info) {
        info = ICreditOracle(_oracle).epochInfo(report.epoch);
        if (info.state != EpochState.Reported) revert NotPending();
        if (ICreditOracle(_oracle).reportHash(report) != info.reportDigest) revert WrongReport();
        if (keccak256(credits) != report.creditsHash) revert WrongList();
    }

    function _requireLastLeaf(uint32 index, Leaf calldata last, Sibling[] calldata lastProof) internal view {
        if (last.index != index) revert InvalidProof();
        (,, bytes32 root, uint256 sum, uint8 depth) = ICreditLedger(_ledger).latest();
        if (!SumTree.containsLeaf(root, sum, depth, last, lastProof)) revert InvalidProof();
    }

    /// @dev Compares a position of the new tree with what last leaf, listed credits and snapshots make it. Wrapping is deliberate:
    /// credits that large can not sum to a root below 2^64, so the sums differ anyhow.
    function _isRight(EpochInfo memory info, uint64 c, uint32 index, bytes32 leafHash, uint256 leafSum, Leaf calldata last)
        internal
        view
        returns (bool)
    {
        if (c != 0 && index >= info.providerCount) return false;
        bool empty = last.C == 0;
        unchecked {
            uint256 C = empty ? c : last.C + c;
            uint256 D = (empty ? 0 : last.D) + c * info.acc;
            uint256 W = (empty ? 0 : last.W) + c * info.wage;
            if (leafSum != C) return false;
            return leafHash == SumTree.leafHash(index, IProviderRegistry(_registry).accountOf(index), C, D, W);
        }
    }

    /// @dev A length that is no multiple of an entry is bad at any position.
    function _isBadAt(bytes calldata credits, uint256 position) internal pure returns (bool) {
        if (credits.length % CreditList.ENTRY != 0) return true;
        if (position >= credits.length / CreditList.ENTRY) return false;
        (uint32 index, uint64 c) = CreditList.entry(credits, position);
        if (c == 0) return true;
        if (position == 0) return false;
        (uint32 before,) = CreditList.entry(credits, position - 1);
        return index <= before;
    }
}
