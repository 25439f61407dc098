// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {PaymentSteps} from "../support/PaymentSteps.sol";
import {IInferencePayments} from "../../../contracts/interfaces/IInferencePayments.sol";

/// @notice InferencePayments.cancelWithdrawal: only the payer, only one that is under way.
contract PaymentsCancelWithdrawalTest is PaymentSteps {
    function test_cancelRefuses() public {
        bytes32 id = _deposit(payer, 50, 1_000);
        vm.prank(bob);
        vm.expectRevert(IInferencePayments.NotPayer.selector);
        payments.cancelWithdrawal(id);
        vm.prank(payer);
        vm.expectRevert(IInferencePayments.NoWithdrawal.selector);
        payments.cancelWithdrawal(id);
    }

    function test_withdrawalRestartsAndCancels() public eachAsset {
        bytes32 id = _deposit(payer, 50, 1_000);
        vm.startPrank(payer);
        payments.requestWithdrawal(id, 10);
        vm.warp(block.timestamp + 40);
        payments.requestWithdrawal(id, 20);
        vm.warp(block.timestamp + 10);
        vm.expectPartialRevert(IInferencePayments.WithdrawalNotDue.selector);
        payments.withdraw(id);
        payments.cancelWithdrawal(id);
        eq(payments.channel(id).withdrawalAmount, 0, "nothing is asked for");
        vm.warp(block.timestamp + 100);
        vm.expectRevert(IInferencePayments.NoWithdrawal.selector);
        payments.withdraw(id);
        vm.stopPrank();
    }
}
