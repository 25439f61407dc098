// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {EventLog} from "../support/EventLog.sol";
import {IRevenueDistributor} from "../../../contracts/interfaces/IRevenueDistributor.sol";

/// @notice What the distributor logs.
contract RevenueDistributorEventsTest is Base, EventLog {
    /// @dev Seven live credits, three and four.
    function _withCredits() internal {
        launch(2);
        list(0, 3);
        list(1, 4);
        runEpoch(0);
    }

    function _finish() internal {
        vm.prank(address(oracle));
        distributor.finish();
    }

    function test_revenueAndCapital() public {
        launch(1);
        _listen();
        pay(9_999);
        uint256 value = ready(carol, address(distributor), 13);
        vm.prank(carol);
        distributor.payCapital{value: value}(13);
        _logged();
        _by(address(distributor));
        emit IRevenueDistributor.RevenueReceived(address(0xBEEF), 9_999, 3_999, 6_000);
        _by(address(distributor));
        emit IRevenueDistributor.CapitalReceived(carol, 13);
        _same();

        distributor.claimCapital(alice);
        _logged();
        _by(address(distributor));
        emit IRevenueDistributor.CapitalClaimed(alice, uint256(4_012) * 1_000_000 / 1_500_001);
        _same();
    }

    function test_wages() public {
        give(address(campaign), 70);
        _listen();
        vm.prank(address(campaign));
        distributor.receiveWages{value: 70}(70, 11);
        _logged();
        _by(address(distributor));
        emit IRevenueDistributor.WagesReceived(70);
        _same();
    }

    function test_distributionAtTheCloseAndOnArrival() public {
        _withCredits();
        pay(1_000);
        _listen();
        vm.startPrank(address(oracle));
        distributor.closeEpoch();
        // Nothing new, nothing given out.
        distributor.closeEpoch();
        vm.stopPrank();
        _logged();
        uint256 acc = (uint256(600) << 64) / 7;
        uint256 carry = (uint256(600) << 64) % 7;
        _by(address(distributor));
        emit IRevenueDistributor.Distributed(acc, carry);
        _same();

        _finish();
        pay(100);
        _logged();
        uint256 scaled = (uint256(60) << 64) + carry;
        _by(address(distributor));
        emit IRevenueDistributor.RevenueReceived(address(0xBEEF), 100, 40, 60);
        _by(address(distributor));
        emit IRevenueDistributor.Distributed(acc + scaled / 7, scaled % 7);
        _same();
    }

    function test_finishGivesOutWhatIsPending() public {
        _withCredits();
        pay(1_000);
        _listen();
        _finish();
        _logged();
        _by(address(distributor));
        emit IRevenueDistributor.Distributed((uint256(600) << 64) / 7, (uint256(600) << 64) % 7);
        _same();
    }

    function test_computeClaims() public {
        _withCredits();
        _listen();
        vm.prank(address(disputes));
        distributor.addDebt(1, 17);
        claimCompute(1);
        claimCompute(0);
        _logged();
        _by(address(distributor));
        emit IRevenueDistributor.DebtAdded(1, 17);
        _by(address(distributor));
        emit IRevenueDistributor.DebtPaid(1, 17);
        _by(address(distributor));
        emit IRevenueDistributor.ComputeClaimed(1, payoutAddress(1), 23, 0);
        _by(address(distributor));
        emit IRevenueDistributor.ComputeClaimed(0, payoutAddress(0), 30, 0);
        _same();
    }
}
