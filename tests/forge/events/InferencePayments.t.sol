// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {EventLog} from "../support/EventLog.sol";
import {PaymentSteps} from "../support/PaymentSteps.sol";
import {IInferencePayments} from "../../../contracts/interfaces/IInferencePayments.sol";
import {IRevenueDistributor} from "../../../contracts/interfaces/IRevenueDistributor.sol";
import {VoucherClaim} from "../../../contracts/interfaces/Types.sol";

/// @notice What channels and vouchers log.
contract InferencePaymentsEventsTest is PaymentSteps, EventLog {
    function test_deposit() public {
        bytes32 id = _deposit(payer, 51, 300);
        _listen();
        _deposit(payer, 51, 1_000);
        _logged();
        _by(address(payments));
        emit IInferencePayments.ChannelFunded(id, payer, server, 51, 1_000, 1_300);
        _same();
    }

    function test_settle() public {
        launch(1);
        bytes32 id = _deposit(payer, 51, 1_000);
        bytes32 other = _deposit(payer, 52, 1_000);
        _settle(_sign(PAYER_KEY, id, 10));
        VoucherClaim[] memory claims = new VoucherClaim[](2);
        claims[0] = _sign(PAYER_KEY, id, 400);
        claims[0].amount = 333;
        claims[1] = _sign(PAYER_KEY, other, 77);
        _listen();
        vm.prank(server);
        payments.settle(claims);
        _logged();
        _by(address(payments));
        emit IInferencePayments.VoucherSettled(id, 333, 323);
        _by(address(payments));
        emit IInferencePayments.VoucherSettled(other, 77, 77);
        _by(address(payments));
        emit IInferencePayments.ServerCredited(server, 80, 320);
        _by(address(distributor));
        emit IRevenueDistributor.RevenueReceived(address(payments), 320, 128, 192);
        _same();

        payments.claimServer(server);
        _logged();
        _by(address(payments));
        emit IInferencePayments.ServerPaid(server, 82);
        _same();
    }

    function test_withdrawal() public {
        bytes32 id = _deposit(payer, 51, 1_000);
        _listen();
        vm.startPrank(payer);
        payments.requestWithdrawal(id, 70);
        _logged();
        _by(address(payments));
        emit IInferencePayments.WithdrawalRequested(id, 70, T0 + 51);
        _same();

        payments.cancelWithdrawal(id);
        _logged();
        _by(address(payments));
        emit IInferencePayments.WithdrawalCancelled(id);
        _same();

        // More than there is pays what there is.
        payments.requestWithdrawal(id, 1_001);
        vm.warp(block.timestamp + 51);
        _listen();
        payments.withdraw(id);
        _logged();
        _by(address(payments));
        emit IInferencePayments.Withdrawn(id, 1_000);
        _same();
        vm.stopPrank();
    }
}
