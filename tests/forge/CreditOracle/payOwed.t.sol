// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {IDues} from "../../../contracts/interfaces/IDues.sol";

/// @notice CreditOracle.payOwed: slashed bonds are pulled, once.
contract OraclePayOwedTest is Base {
    function test_payOwedOnce() public eachAsset {
        launch(1);
        vm.prank(address(disputes));
        oracle.slashSigners(0, 1, carol);
        oracle.payOwed(carol);
        oracle.payOwed(address(distributor));
        eq(balance(carol), BOND / 10, "prover");
        eq(distributor.capitalReceived(), BOND - BOND / 10, "capital pool");
        vm.expectRevert(IDues.NothingOwed.selector);
        oracle.payOwed(carol);
    }
}
