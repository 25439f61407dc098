// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {ICampaign} from "../../../contracts/interfaces/ICampaign.sol";

/// @notice Campaign.claimFee: the signers of a report share its fee.
contract CampaignClaimFeeTest is Base {
    function test_feePaysSignersOfTheReport() public eachAsset {
        launch(1);
        list(0, 100);
        runEpoch(0);
        address[] memory set = signerAddresses();
        for (uint256 i = 0; i < 3; ++i) {
            campaign.claimFee(set[i]);
            eq(balance(set[i]), 16, "share");
        }
        vm.expectRevert(ICampaign.NothingDue.selector);
        campaign.claimFee(set[3]);
        vm.expectRevert(ICampaign.NothingDue.selector);
        campaign.claimFee(set[0]);
    }
}
