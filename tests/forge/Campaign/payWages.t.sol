// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {Report, RunParams} from "../../../contracts/interfaces/Types.sol";
import {PausableToken} from "../../../contracts/mocks/Tokens.sol";

/// @notice Campaign.payWages: wages move to the distributor when the asset lets them.
contract CampaignPayWagesTest is Base {
    function test_nothingDueMovesNothing() public eachAsset {
        launch(1);
        vm.recordLogs();
        campaign.payWages();
        eq(vm.getRecordedLogs().length, 0, "nothing is said");
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

    /// What two epochs left due while the token was paused moves at once, rounding included.
    function test_wagesOfTwoEpochsMoveTogether() public {
        PausableToken token = new PausableToken();
        asset = address(token);
        RunParams memory p = defaultParams();
        p.wagePerCredit = (1 << 80) - 1; // more than the escrow holds: the wage is a fraction, and its product is rounded up
        createRun(p);
        launch(2);
        uint256 scaled;
        for (uint64 e = 0; e < 2; ++e) {
            clearList();
            list(0, 7);
            close(e);
            Report memory r = honestReport(e);
            submit(r);
            token.pause(true);
            finalizeNow(e);
            token.pause(false);
            scaled += 7 * oracle.epochInfo(e).wage;
        }
        uint256 due = campaign.wagesDue();
        campaign.payWages();
        eq(distributor.computeReceived(), due, "received");
        eq(distributor.computeCarry(), (due << 64) - scaled, "what was rounded up in both is carried");
    }
}
