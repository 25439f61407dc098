// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {ICampaign} from "../../../contracts/interfaces/ICampaign.sol";

/// @notice Campaign.reserve: closing an epoch reserves the whole unlocked escrow.
contract CampaignReserveTest is Base {
    function test_wholeEscrowIsReservedAtClose() public eachAsset {
        launch(1);
        eq(campaign.unlockedEscrow(), 1_500_001, "unlocked");
        close(0);
        eq(campaign.reserved(), 1_500_001, "reserved whole");
        eq(campaign.unlockedEscrow(), 0, "nothing left to reserve");
        list(0, 100);
        submit(honestReport(0));
        // 1000 wages, 5 % fee of 50 among three signers: 16 each.
        eq(campaign.reserved(), 1_048, "reduced to wages plus fee");
        finalizeNow(0);
        eq(campaign.reserved(), 0, "released");
        eq(campaign.released(), 1_048, "spent");
        eq(campaign.unlockedEscrow(), 1_500_001 - 1_048, "rest");
        eq(balance(address(distributor)), 1_000, "wages moved");
        campaign.payWages();
        eq(distributor.computeReceived(), 1_000, "nothing more is due");
    }

    function test_onlyTheOracleReserves() public {
        vm.expectRevert(ICampaign.NotOracle.selector);
        campaign.reserve(0);
    }
}
