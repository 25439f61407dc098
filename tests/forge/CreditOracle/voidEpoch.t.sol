// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";

/// @notice CreditOracle.voidEpoch: an epoch without a report is void after its span.
contract OracleVoidEpochTest is Base {
    function test_voidOnlyAfterTheSpan() public {
        launch(1);
        close(0);
        vm.warp(block.timestamp + 299);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.ReportSpanOpen.selector, block.timestamp + 1));
        oracle.voidEpoch(0);
    }
}
