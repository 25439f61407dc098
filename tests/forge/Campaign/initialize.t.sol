// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {Milestone, RunParams} from "../../../contracts/interfaces/Types.sol";

/// @notice Campaign.initialize: which milestones are met from the start.
contract CampaignInitializeTest is Base {
    function test_milestonesThatAskForNothingAreMet() public {
        RunParams memory p = defaultParams();
        p.milestones = new Milestone[](4);
        p.milestones[0] = Milestone(7, 1, type(uint64).max, 4_000);
        p.milestones[1] = Milestone(7, 0, type(uint64).max, 1_000);
        p.milestones[2] = Milestone(7, 0, type(uint64).max, 2_000);
        p.milestones[3] = Milestone(7, 0, type(uint64).max - 1, 3_000);
        createRun(p);
        launch(1);
        eq(campaign.milestonesMet(), 6, "the second and the third");
        eq(campaign.unlockedEscrow(), 450_000, "30 %");
        eq(keccak256(abi.encode(campaign.milestones())), keccak256(abi.encode(p.milestones)), "kept in their order");
    }
}
