// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";
import {EpochInfo, EpochState, FinalEpoch, Report} from "../../../contracts/interfaces/Types.sol";

/// @notice CreditOracle.finalizeEpoch: a report is final once its window is over.
contract OracleFinalizeEpochTest is Base {
    function test_reportIsStoredAndFinal() public {
        launch(3);
        close(0);
        list(0, 7);
        list(2, 9);
        Report memory r = honestReport(0);
        submit(r);
        EpochInfo memory info = oracle.epochInfo(0);
        eq(uint256(info.state), uint256(EpochState.Reported), "reported");
        eq(info.openUntil, block.timestamp + 100, "window");
        eq(info.epochCredits, 16, "credits");
        eq(info.wage, uint256(10) << 64, "wage");
        eq(info.reportDigest, digestOf(r), "digest");
        eq(oracle.reportHash(r), digestOf(r), "the contract hashes as EIP-712 says");
        eq(info.signerMask, 7, "signers 0, 1 and 2");
        vm.warp(info.openUntil - 1);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.StillOpen.selector, info.openUntil));
        oracle.finalizeEpoch(accepted);
        vm.expectRevert(ICreditOracle.NotClosed.selector);
        oracle.voidEpoch(0);
        vm.warp(info.openUntil);
        Report memory other = r;
        other.lossMicro += 1;
        vm.expectRevert(ICreditOracle.WrongReport.selector);
        oracle.finalizeEpoch(other);
        other.lossMicro -= 1;
        oracle.finalizeEpoch(accepted);
        FinalEpoch memory f = ledger.finalEpoch(0);
        eq(f.root, r.root, "root");
        eq(f.sum, 16, "sum");
        eq(f.depth, 2, "depth");
        eq(f.reportDigest, info.reportDigest, "digest kept");
        eq(f.finalAt, block.timestamp, "time");
        eq(oracle.epochInfo(0).wage, f.wage, "snapshot by either view");
        vm.expectRevert(ICreditOracle.NotReported.selector);
        oracle.finalizeEpoch(accepted);
    }
}
