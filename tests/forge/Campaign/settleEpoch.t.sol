// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {EscrowSteps} from "../support/EscrowSteps.sol";
import {ICampaign} from "../../../contracts/interfaces/ICampaign.sol";
import {EpochInfo, Milestone, Report, RunParams} from "../../../contracts/interfaces/Types.sol";

/// @notice Campaign.settleEpoch: wages, fees and milestones of an epoch that is final or void.
contract CampaignSettleEpochTest is EscrowSteps {
    function test_voidReleasesReservation() public eachAsset {
        launch(1);
        lapseEpoch(0);
        eq(campaign.reserved(), 0, "released");
        eq(campaign.unlockedEscrow(), 1_500_001, "whole again");
        eq(campaign.released(), 0, "nothing spent");
    }

    function test_milestonesUnlockTranches() public eachAsset {
        _withMilestones();
        launch(1);
        eq(campaign.milestonesMet(), 1, "the first from the start");
        eq(campaign.unlockedEscrow(), 300_000, "20 %");
        // Enough credits, but the loss is too high for the second.
        list(0, 300);
        runEpoch(0);
        eq(campaign.milestonesMet(), 1, "loss too high");
        close(1);
        list(0, 1);
        Report memory r = honestReport(1);
        r.lossMicro = 2_999_999;
        submit(r);
        finalizeNow(1);
        clearList();
        eq(campaign.milestonesMet(), 3, "second met at its deadline");
        eq(campaign.unlockedEscrow(), 750_000 - campaign.released(), "50 %");
        list(0, 699);
        runEpoch(2);
        eq(campaign.milestonesMet(), 7, "third met");
        ok(!campaign.ended(), "goes on");
    }

    /// As many milestones as there can be, all met by one report.
    function test_sixteenMilestonesAtOnce() public {
        RunParams memory p = defaultParams();
        p.milestones = new Milestone[](16);
        for (uint256 i = 0; i < 16; ++i) {
            p.milestones[i] = Milestone(0, 0, 3_000_000, 625);
        }
        createRun(p);
        launch(1);
        runEpoch(0);
        eq(campaign.milestonesMet(), 0xffff, "all");
        eq(campaign.unlockedEscrow(), 1_500_001, "every tranche");
        ok(!campaign.ended(), "goes on");
    }

    function test_lateMilestoneIsMissed() public eachAsset {
        _withMilestones();
        launch(1);
        lapseEpoch(0);
        list(0, 1_000);
        runEpoch(1);
        ok(campaign.ended(), "loss stayed too high up to epoch 1");
        eq(campaign.milestonesMet() & 2, 0, "not met");
    }

    function test_wagesFitTheEscrow() public eachAsset {
        RunParams memory p = defaultParams();
        p.wagePerCredit = (1 << 80) - 1;
        createRun(p);
        launch(1);
        close(0);
        list(0, 7);
        EpochInfo memory info = oracle.epochInfo(0);
        uint256 b = info.unlockedEscrow * 10_000 / 10_500;
        uint256 wage = (b << 64) / 7;
        tree.add(0, providerAccount(0), 7, info.acc, wage);
        submit(reportOn(0, tree, 7));
        eq(oracle.epochInfo(0).wage, wage, "wage bounded by the escrow");
        finalizeNow(0);
        ok(campaign.released() <= 1_500_001, "never above raised");
        eq(distributor.computeReceived(), (7 * wage + (1 << 64) - 1) >> 64, "rounded up");
        eq(distributor.computeCarry(), (distributor.computeReceived() << 64) - 7 * wage, "excess is carried");
    }

    function test_wageOfOneUnitMoves() public eachAsset {
        RunParams memory p = defaultParams();
        p.wagePerCredit = 1;
        createRun(p);
        launch(1);
        list(0, 1);
        runEpoch(0);
        eq(campaign.wagesDue(), 0, "nothing is left due");
        eq(distributor.computeReceived(), 1, "it has moved");
    }

    function test_onlyTheOracleSettles() public {
        vm.expectRevert(ICampaign.NotOracle.selector);
        campaign.settleEpoch(0, 1, 1, 0, new address[](0), 0, 0, true, false);
    }
}
