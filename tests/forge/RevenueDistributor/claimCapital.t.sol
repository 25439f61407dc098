// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {IRevenueDistributor} from "../../../contracts/interfaces/IRevenueDistributor.sol";

/// @notice RevenueDistributor.claimCapital: each funder its share, at any time.
contract DistributorClaimCapitalTest is Base {
    function test_capitalClaimsPayByShare() public eachAsset {
        launch(1);
        pay(1_000_000);
        eq(distributor.claimableCapital(alice), uint256(400_000) * 1_000_000 / 1_500_001, "alice");
        distributor.claimCapital(alice);
        distributor.claimCapital(bob);
        eq(distributor.capitalClaimedBy(alice), balance(alice), "told by the view");
        eq(distributor.capitalPaid(), balance(alice) + balance(bob), "paid out");
        eq(distributor.accCapital(), (uint256(400_000) << 64) / 1_500_001, "accumulator");
        eq(balance(alice), uint256(400_000) * 1_000_000 / 1_500_001, "paid");
        eq(balance(bob), uint256(400_000) * 500_001 / 1_500_001, "paid");
        vm.expectRevert(IRevenueDistributor.NothingDue.selector);
        distributor.claimCapital(alice);
        vm.expectRevert(IRevenueDistributor.NothingDue.selector);
        distributor.claimCapital(carol);
    }

    function test_claimsAtAnyTimeGiveTheSame(uint16[8] memory payments_, uint8 mask) public eachAsset {
        launch(1);
        uint256 total = 0;
        for (uint256 i = 0; i < 8; ++i) {
            pay(uint256(payments_[i]) + 1);
            total = distributor.capitalReceived();
            if (mask >> i & 1 == 1 && distributor.claimableCapital(alice) != 0) distributor.claimCapital(alice);
        }
        if (distributor.claimableCapital(alice) != 0) distributor.claimCapital(alice);
        eq(balance(alice), (((total << 64) / 1_500_001) * 1_000_000) >> 64, "same as one claim");
    }

    /// Shares are kept with the first claim: a later one needs the campaign no more.
    function test_laterClaimsDoNotAskTheCampaign() public {
        launch(1);
        pay(10_000);
        distributor.claimCapital(alice);
        pay(10_000);
        vm.etch(address(campaign), hex"fe");
        distributor.claimCapital(alice);
        eq(balance(alice), uint256(8_000) * 1_000_000 / 1_500_001, "both");
    }
}
