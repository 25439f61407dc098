// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {ICreditLedger} from "../../../contracts/interfaces/ICreditLedger.sol";
import {Leaf} from "../../../contracts/interfaces/Types.sol";

/// @notice RevenueDistributor: its views tell what a claim would do.
contract DistributorViewsTest is Base {
    function test_claimableIsWhatAClaimPays() public eachAsset {
        launch(2);
        list(0, 10);
        list(1, 20);
        runEpoch(0);
        pay(1_001);
        close(1);
        uint256 told = distributor.claimableCompute(0, tree.leaf(1));
        claimCompute(1);
        eq(balance(payoutAddress(1)), told, "compute");
        eq(distributor.claimedBy(1), told, "claimed");
        told = distributor.claimableCapital(bob);
        distributor.claimCapital(bob);
        eq(balance(bob), told, "capital");
        vm.expectRevert(abi.encodeWithSelector(ICreditLedger.NotFinal.selector, 1));
        distributor.claimableCompute(1, Leaf(0, address(0), 0, 0, 0));
    }
}
