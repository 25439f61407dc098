// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {IRevenueDistributor} from "../../../contracts/interfaces/IRevenueDistributor.sol";

/// @notice RevenueDistributor.closeEpoch: pays what is pending to credits that are final.
contract DistributorCloseEpochTest is Base {
    function test_onlyTheOracleCloses() public {
        vm.expectRevert(IRevenueDistributor.NotOracle.selector);
        distributor.closeEpoch();
    }

    /// What does not divide is carried, scaled, and comes out with the next payment.
    function test_remainderIsCarried() public eachAsset {
        launch(1);
        list(0, 7);
        runEpoch(0);
        pay(10);
        close(1);
        eq(distributor.accCompute(), (uint256(6) << 64) / 7, "six to seven credits");
        eq(distributor.computeCarry(), (uint256(6) << 64) % 7, "remainder");
        pay(10);
        vm.warp(block.timestamp + 300);
        close(2);
        eq(distributor.accCompute(), (uint256(12) << 64) / 7, "as if it had come at once");
    }
}
