// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {ICampaign} from "../../../contracts/interfaces/ICampaign.sol";

/// @notice Campaign.commitWages: a report reduces the reservation to its wages and fee.
contract CampaignCommitWagesTest is Base {
    function test_onlyTheOracleCommits() public {
        vm.expectRevert(ICampaign.NotOracle.selector);
        campaign.commitWages(0, 1);
    }
}
