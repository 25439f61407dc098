// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {IRevenueDistributor} from "../../../contracts/interfaces/IRevenueDistributor.sol";
import {Leaf, Sibling} from "../../../contracts/interfaces/Types.sol";

/// @notice RevenueDistributor.awaitWages: providers wait for wages that their leaves count already; funders do not.
contract DistributorAwaitWagesTest is Base {
    function test_onlyTheOracle() public {
        vm.expectRevert(IRevenueDistributor.NotOracle.selector);
        distributor.awaitWages();
    }

    function test_claimsOfProvidersWaitForWages() public eachAsset {
        launch(1);
        list(0, 100);
        runEpoch(0);
        pay(1_000);
        vm.prank(address(oracle));
        distributor.awaitWages();
        uint256 pending = distributor.pendingCompute();
        Leaf memory leaf = tree.leaf(0);
        Sibling[] memory proof = tree.proofOf(1, 0);
        vm.expectRevert(IRevenueDistributor.WagesMissing.selector);
        distributor.claimCompute(0, leaf, proof);
        eq(distributor.claimableCompute(0, leaf), 0, "nothing for now");
        distributor.claimCapital(alice);
        // Wages of a later epoch bring all that is due.
        clearList();
        list(0, 50);
        runEpoch(1);
        eq(distributor.computeReceived() - pending, 1_500, "the wages of both epochs");
        claimCompute(0);
        eq(distributor.computePaid(), 1_500 + pending, "and the revenue");
    }
}
