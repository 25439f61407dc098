// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {EscrowSteps} from "../support/EscrowSteps.sol";
import {ICampaign} from "../../../contracts/interfaces/ICampaign.sol";

/// @notice Campaign.claimUnspent: what was not spent goes back pro rata once the escrow has ended.
contract CampaignClaimUnspentTest is EscrowSteps {
    function test_missedMilestoneReturnsUnspent() public eachAsset {
        _withMilestones();
        launch(1);
        list(0, 300);
        runEpoch(0);
        uint256 spent = campaign.released();
        ok(!campaign.ended(), "deadline not reached");
        vm.prank(alice);
        vm.expectRevert(ICampaign.NotEnded.selector);
        campaign.claimUnspent();
        lapseEpoch(1);
        ok(campaign.ended(), "missed");
        uint256 rest = 1_500_001 - spent;
        eq(campaign.returnable(), rest, "rest");
        vm.prank(alice);
        campaign.claimUnspent();
        vm.prank(bob);
        campaign.claimUnspent();
        eq(balance(alice), rest * 1_000_000 / 1_500_001, "alice pro rata");
        eq(balance(bob), rest * 500_001 / 1_500_001, "bob pro rata");
        ok(balance(alice) + balance(bob) + spent <= 1_500_001, "never above raised");
        vm.prank(alice);
        vm.expectRevert(ICampaign.NothingDue.selector);
        campaign.claimUnspent();
        // Later epochs earn no wages, but credits still count.
        eq(campaign.unlockedEscrow(), 0, "nothing unlocked any more");
        list(0, 50);
        runEpoch(2);
        eq(campaign.released(), spent, "no wages");
        eq(ledger.liveCredits(), 350, "credits");
    }

    function test_lastSettlementReturnsUnspent() public eachAsset {
        launch(1);
        for (uint64 e = 0; e < 8; ++e) {
            ok(!campaign.ended(), "not before the last");
            list(0, 10);
            runEpoch(e);
        }
        ok(campaign.ended() && oracle.finishedAt() != 0, "ended with the last epoch");
        eq(campaign.returnable(), 1_500_001 - campaign.released(), "rest");
    }
}
