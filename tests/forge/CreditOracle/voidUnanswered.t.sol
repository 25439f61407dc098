// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";
import {EpochState} from "../../../contracts/interfaces/Types.sol";

/// @notice CreditOracle.voidUnanswered: a pending report falls without a slash.
contract OracleVoidUnansweredTest is Base {
    function test_onlyDisputesMay() public {
        vm.expectRevert(ICreditOracle.NotDisputes.selector);
        oracle.voidUnanswered();
    }

    function test_needsAPendingReport() public {
        launch(1);
        close(0);
        vm.prank(address(disputes));
        vm.expectRevert(ICreditOracle.NotReported.selector);
        oracle.voidUnanswered();
    }

    function test_actsOnThePendingReport() public {
        launch(1);
        close(0);
        submit(honestReport(0));
        vm.prank(address(disputes));
        oracle.voidUnanswered();
        eq(uint256(oracle.epochInfo(0).state), uint256(EpochState.Void), "void");
        eq(oracle.bondOf(vm.addr(signerKeys[0])), BOND, "no slash yet");
    }
}
