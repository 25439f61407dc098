// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";

/// @notice CreditOracle.holdReport: a pending report stays open longer, never shorter.
contract OracleHoldReportTest is Base {
    function test_onlyDisputesMay() public {
        vm.expectRevert(ICreditOracle.NotDisputes.selector);
        oracle.holdReport(uint64(block.timestamp) + 150);
    }

    function test_needsAPendingReport() public {
        launch(1);
        close(0);
        vm.prank(address(disputes));
        vm.expectRevert(ICreditOracle.NotReported.selector);
        oracle.holdReport(uint64(block.timestamp) + 150);
    }

    function test_actsOnThePendingReport() public {
        launch(1);
        close(0);
        submit(honestReport(0));
        vm.prank(address(disputes));
        oracle.holdReport(uint64(block.timestamp) + 150);
        eq(oracle.epochInfo(0).openUntil, block.timestamp + 150, "held");
        vm.prank(address(disputes));
        oracle.holdReport(uint64(block.timestamp));
        eq(oracle.epochInfo(0).openUntil, block.timestamp + 150, "never shorter");
    }
}
