// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {EscrowSteps} from "../support/EscrowSteps.sol";
import {EventLog} from "../support/EventLog.sol";
import {ICampaign} from "../../../contracts/interfaces/ICampaign.sol";
import {IRevenueDistributor} from "../../../contracts/interfaces/IRevenueDistributor.sol";

/// @notice What the campaign's transactions log.
contract CampaignEventsTest is EscrowSteps, EventLog {
    function _settle(bool isFinal, bool isLast) internal {
        address[] memory signed = new address[](2);
        (signed[0], signed[1]) = (alice, bob);
        vm.prank(address(oracle));
        campaign.settleEpoch(4, 70, 0, 13, signed, 500, 2_000_000, isFinal, isLast);
    }

    function test_deposit() public {
        fund(alice, 7);
        _listen();
        fund(alice, 11);
        _logged();
        _by(address(campaign));
        emit ICampaign.Deposited(alice, 11, 18);
        _same();
    }

    function test_refund() public {
        fund(alice, 7);
        vm.warp(T0 + 100);
        _listen();
        vm.prank(alice);
        campaign.refund();
        _logged();
        _by(address(campaign));
        emit ICampaign.Refunded(alice, 7);
        _same();
    }

    function test_reserve() public {
        launch(1);
        _listen();
        vm.prank(address(oracle));
        campaign.reserve(3);
        _logged();
        _by(address(campaign));
        emit ICampaign.EscrowReserved(3, 1_500_001);
        _same();
    }

    /// Wages and fees, a milestone met, another missed, and with it the escrow's end.
    function test_settleEpochAndWhatFollows() public {
        _withMilestones();
        launch(1);
        _listen();
        _settle(true, false);
        _logged();
        _by(address(campaign));
        emit ICampaign.WagesDue(4, 70, 26);
        _by(address(campaign));
        emit ICampaign.MilestoneMet(1, 4);
        _by(address(campaign));
        emit ICampaign.MilestoneMissed(2, 4);
        _by(address(campaign));
        emit ICampaign.EscrowEnded(4, 1_499_905);
        _same();

        campaign.payWages();
        _logged();
        _by(address(campaign));
        emit ICampaign.WagesPaid(70);
        _by(address(distributor));
        emit IRevenueDistributor.WagesReceived(70);
        _same();

        campaign.claimFee(bob);
        _logged();
        _by(address(campaign));
        emit ICampaign.FeePaid(bob, 13);
        _same();

        vm.prank(alice);
        campaign.claimUnspent();
        _logged();
        _by(address(campaign));
        emit ICampaign.UnspentReturned(alice, uint256(1_499_905) * 1_000_000 / 1_500_001);
        _same();
    }

    /// The last epoch ends the escrow without a missed milestone, and once only.
    function test_lastEpochEndsTheEscrowOnce() public {
        launch(1);
        _listen();
        _settle(false, true);
        _settle(false, true);
        _logged();
        _by(address(campaign));
        emit ICampaign.WagesDue(4, 70, 26);
        _by(address(campaign));
        emit ICampaign.EscrowEnded(4, 1_499_905);
        _by(address(campaign));
        emit ICampaign.WagesDue(4, 70, 26);
        _same();
    }
}
