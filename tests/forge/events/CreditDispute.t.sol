// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {CreditDisputeSteps} from "../support/CreditDisputeSteps.sol";
import {EventLog} from "../support/EventLog.sol";
import {ICreditLedger} from "../../../contracts/interfaces/ICreditLedger.sol";
import {IDisputes} from "../../../contracts/interfaces/IDisputes.sol";
import {IDues} from "../../../contracts/interfaces/IDues.sol";
import {IProviderRegistry} from "../../../contracts/interfaces/IProviderRegistry.sol";
import {IRevenueDistributor} from "../../../contracts/interfaces/IRevenueDistributor.sol";

/// @notice What a dispute over credits logs.
contract CreditDisputeEventsTest is CreditDisputeSteps, EventLog {
    function _closed(address receiver) internal {
        _by(address(disputes));
        emit IDues.Owed(receiver, DISPUTE_BOND);
        _by(address(disputes));
        emit IDisputes.ChallengeClosed(0, 1);
    }

    function test_conviction() public {
        finalizeNow(0);
        pay(10_000);
        close(1);
        uint64 until = uint64(block.timestamp + 2_000);
        _listen();
        _challenge(0, 1);
        _logged();
        _by(address(disputes));
        emit IDisputes.CreditsChallenged(0, 1, carol, keccak256("why"), until);
        _same();

        vm.prank(providerAccount(1));
        disputes.answerChallenge(0, 1, keccak256("because"));
        _logged();
        _by(address(disputes));
        emit IDisputes.ChallengeAnswered(0, 1, keccak256("because"));
        _same();

        _judge(0, 1, true);
        _logged();
        _by(address(disputes));
        emit IDisputes.VerdictGiven(0, 1, true, keccak256("verdict"));
        _same();

        disputes.enforceVerdict(good, goodList, 1);
        _logged();
        _by(address(ledger));
        emit ICreditLedger.CreditsRevoked(1, 0, 40, uint256(60) << 64);
        _by(address(distributor));
        emit IRevenueDistributor.DebtAdded(1, 2_800);
        _by(address(registry));
        emit IDues.Owed(carol, 500);
        _by(address(registry));
        emit IDues.Owed(address(distributor), 4_500);
        _by(address(registry));
        emit IProviderRegistry.Slashed(1, STAKE);
        _by(address(disputes));
        emit IDisputes.Convicted(0, 1, 40, 2_800, STAKE);
        _closed(carol);
        _same();
    }

    function test_acquittal() public {
        _challenge(0, 1);
        _listen();
        _judge(0, 1, false);
        _logged();
        _by(address(disputes));
        emit IDisputes.VerdictGiven(0, 1, false, keccak256("verdict"));
        _closed(payoutAddress(1));
        _same();

        disputes.payOwed(payoutAddress(1));
        _logged();
        _by(address(disputes));
        emit IDues.OwedPaid(payoutAddress(1), DISPUTE_BOND);
        _same();
    }

    function test_noVerdict() public {
        _challenge(0, 1);
        vm.warp(block.timestamp + 2_001);
        _listen();
        disputes.closeChallenge(0, 1);
        _logged();
        _closed(carol);
        _same();
    }
}
