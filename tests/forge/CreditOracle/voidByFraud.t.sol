// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";
import {EpochState} from "../../../contracts/interfaces/Types.sol";

/// @notice CreditOracle.voidByFraud: only for the disputes contract, only against a pending report.
contract OracleVoidByFraudTest is Base {
    function test_onlyDisputesVoid() public {
        vm.expectRevert(ICreditOracle.NotDisputes.selector);
        oracle.voidByFraud(alice);
    }

    function test_voidByFraudNeedsAPendingReport() public {
        launch(1);
        close(0);
        vm.prank(address(disputes));
        vm.expectRevert(ICreditOracle.NotReported.selector);
        oracle.voidByFraud(alice);
    }

    function test_signersOfTheReportLoseTheirBonds() public eachAsset {
        launch(1);
        close(0);
        submit(honestReport(0));
        vm.prank(address(disputes));
        oracle.voidByFraud(carol);
        eq(uint256(oracle.epochInfo(0).state), uint256(EpochState.Void), "void");
        eq(oracle.owedTo(carol), 3 * (BOND / 10), "a tenth to the prover");
        eq(oracle.owedTo(address(distributor)), 3 * (BOND - BOND / 10), "the rest to the capital pool");
        eq(oracle.bondOf(vm.addr(signerKeys[3])), BOND, "who did not sign keeps it");
    }
}
