// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {IRevenueDistributor} from "../../../contracts/interfaces/IRevenueDistributor.sol";

/// @notice RevenueDistributor.addDebt: only what a conviction says.
contract DistributorAddDebtTest is Base {
    function test_onlyDisputesAddDebt() public {
        vm.expectRevert(IRevenueDistributor.NotDisputes.selector);
        distributor.addDebt(0, 1);
    }

    function test_debtsAddUp() public {
        vm.startPrank(address(disputes));
        distributor.addDebt(3, 4);
        distributor.addDebt(3, 5);
        vm.stopPrank();
        eq(distributor.debtOf(3), 9, "sum");
        eq(distributor.debtOf(4), 0, "nobody else's");
    }

    /// No debt needs to exceed what the pool can ever pay.
    function test_debtStopsAtThePoolsLimit() public {
        vm.startPrank(address(disputes));
        distributor.addDebt(3, uint256(1) << 200);
        eq(distributor.debtOf(3), 1 << 127, "limit");
        distributor.addDebt(3, 1);
        eq(distributor.debtOf(3), 1 << 127, "still");
        vm.stopPrank();
    }
}
