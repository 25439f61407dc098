// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Dues} from "./Dues.sol";
import {ICreditLedger} from "./interfaces/ICreditLedger.sol";
import {ICreditOracle} from "./interfaces/ICreditOracle.sol";
import {IDisputes} from "./interfaces/IDisputes.sol";
import {EpochInfo, EpochState, Report} from "./interfaces/Types.sol";
import {RunConstants} from "./libraries/RunConstants.sol";

/// @title DisputesBase
/// @notice What the kinds of dispute share: the run's other contracts, windows and bonds, and the facts that a report is judged by.
abstract contract DisputesBase is IDisputes, Dues {
    /// @dev The facts a report's tree is judged by, kept from the first game on, since the ledger goes on after a void.
    struct Case {
        uint64 epoch;
        uint64 prevEpoch;
        uint40 windowEnd;
        uint40 voidedAt;
        uint8 depth;
        bool prevAny;
        bool fraud;
        uint32 providerCount;
        uint32 rotation;
        uint32 signerMask;
        uint32 openGames;
        uint192 acc;
        uint192 wage;
    }

    mapping(bytes32 => Case) internal _cases;

    function _reportDigest(Report calldata report) internal view returns (bytes32) {
        return ICreditOracle(RunConstants.oracle()).reportHash(report);
    }

    function _isPending(uint64 epoch, bytes32 digest) internal view returns (bool, EpochInfo memory info) {
        info = ICreditOracle(RunConstants.oracle()).epochInfo(epoch);
        return (info.state == EpochState.Reported && info.reportDigest == digest, info);
    }

    /// @dev The case of a pending report; reverts if the report is not the pending one.
    function _pendingCase(Report calldata report, bytes32 digest) internal view returns (Case memory c) {
        (bool pending, EpochInfo memory info) = _isPending(report.epoch, digest);
        if (info.state != EpochState.Reported) revert NotPending();
        if (!pending) revert WrongReport();
        c = _cases[digest];
        if (c.windowEnd != 0) return c;
        (c.prevEpoch, c.prevAny,,,) = ICreditLedger(RunConstants.ledger()).latest();
        c.epoch = report.epoch;
        c.windowEnd = uint40(info.openUntil);
        c.depth = report.depth;
        c.providerCount = info.providerCount;
        c.rotation = info.rotation;
        c.signerMask = info.signerMask;
        c.acc = uint192(info.acc);
        c.wage = uint192(info.wage);
    }
}
