// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {PausableToken} from "../../../contracts/mocks/Tokens.sol";

/// @notice Campaign.payWages: wages move to the distributor when the asset lets them.
contract CampaignPayWagesTest is Base {
    function test_nothingDueMovesNothing() public eachAsset {
        launch(1);
        campaign.payWages();
        eq(distributor.computeReceived(), 0, "nothing");
    }

    /// A token that pauses holds up no epoch: the wages stay due and move later.
    function test_pausedTokenHoldsNoEpoch() public {
        PausableToken token = new PausableToken();
        asset = address(token);
        createRun(defaultParams());
        launch(2);
        list(0, 100);
        close(0);
        submit(honestReport(0));
        token.pause(true);
        finalizeNow(0);
        eq(campaign.wagesDue(), 1_000, "due");
        eq(distributor.computeReceived(), 0, "not yet");
        token.pause(false);
        campaign.payWages();
        eq(campaign.wagesDue(), 0, "paid");
        eq(distributor.computeReceived(), 1_000, "received");
        claimCompute(0);
        eq(balance(payoutAddress(0)), 1_000, "wages");
    }
}
