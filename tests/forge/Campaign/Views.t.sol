// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {ICampaign} from "../../../contracts/interfaces/ICampaign.sol";
import {RunParams} from "../../../contracts/interfaces/Types.sol";

/// @notice Campaign: what its views tell.
contract CampaignViewsTest is Base {
    function test_assetIsTheRuns() public eachAsset {
        eq(campaign.asset(), asset, "asset");
    }

    function test_noRevenueSharesBeforeSuccess() public {
        fund(alice, GOAL);
        vm.expectRevert(ICampaign.DepositsOpen.selector);
        campaign.totalShares();
        vm.warp(T0 + 100);
        eq(campaign.totalShares(), GOAL, "shares");
    }

    function test_viewsTellTheParameters() public view {
        RunParams memory p = campaign.params();
        eq(p.cap, CAP, "cap");
        eq(campaign.createdBlock(), 1000, "block");
        eq(p.signers.length, 4, "signers");
        eq(keccak256(bytes(p.name)), keccak256("test run"), "name");
        eq(campaign.milestones().length, 1, "milestones");
        eq(campaign.milestones()[0].trancheBps, 10_000, "tranche");
        eq(campaign.unspentOf(alice), 0, "nothing unspent yet");
    }
}
