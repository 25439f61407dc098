// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {PaymentSteps} from "../support/PaymentSteps.sol";
import {IInferencePayments} from "../../../contracts/interfaces/IInferencePayments.sol";

/// @notice InferencePayments.withdraw: after the delay, what vouchers have left.
contract PaymentsWithdrawTest is PaymentSteps {
    function test_withdrawalWaitsAndLeavesVouchersAlone() public eachAsset {
        launch(1);
        bytes32 id = _deposit(payer, 50, 1_000);
        vm.prank(bob);
        vm.expectRevert(IInferencePayments.NotPayer.selector);
        payments.requestWithdrawal(id, 1);
        vm.startPrank(payer);
        vm.expectRevert(IInferencePayments.NoWithdrawal.selector);
        payments.withdraw(id);
        vm.expectRevert(IInferencePayments.NoWithdrawal.selector);
        payments.cancelWithdrawal(id);
        vm.expectRevert(IInferencePayments.ZeroAmount.selector);
        payments.requestWithdrawal(id, 0);
        payments.requestWithdrawal(id, 900);
        uint256 at = block.timestamp + 50;
        eq(payments.channel(id).withdrawalAt, at, "due");
        vm.warp(at - 1);
        vm.expectRevert(abi.encodeWithSelector(IInferencePayments.WithdrawalNotDue.selector, at));
        payments.withdraw(id);
        vm.stopPrank();
        _settle(_sign(PAYER_KEY, id, 300));
        vm.warp(at);
        vm.prank(payer);
        payments.withdraw(id);
        eq(balance(payer), 700, "what vouchers have left");
        eq(payments.channel(id).deposited, 300, "deposited");
        eq(payments.channel(id).withdrawalAmount, 0, "no more is asked for");
        vm.prank(payer);
        vm.expectRevert(IInferencePayments.NoWithdrawal.selector);
        payments.withdraw(id);
        _refused(_sign(PAYER_KEY, id, 301), abi.encodeWithSelector(IInferencePayments.VoucherExceedsDeposit.selector, 0, 300));
        _deposit(payer, 50, 10);
        _settle(_sign(PAYER_KEY, id, 301));
    }

    function test_allVouchersSpentLeavesNothingToWithdraw() public eachAsset {
        launch(1);
        bytes32 id = _deposit(payer, 50, 1_000);
        vm.prank(payer);
        payments.requestWithdrawal(id, 1_000);
        _settle(_sign(PAYER_KEY, id, 1_000));
        vm.warp(block.timestamp + 50);
        vm.prank(payer);
        payments.withdraw(id);
        eq(balance(payer), 0, "nothing");
    }

    function test_noMoreThanWasAskedFor() public eachAsset {
        bytes32 id = _deposit(payer, 50, 1_000);
        vm.startPrank(payer);
        payments.requestWithdrawal(id, 400);
        vm.warp(block.timestamp + 50);
        payments.withdraw(id);
        vm.stopPrank();
        eq(balance(payer), 400, "the rest stays for vouchers");
    }

    /// A payer that can receive nothing can still end a withdrawal that left nothing.
    function test_nothingLeftIsNotSent() public {
        launch(1);
        bytes32 id = _deposit(payer, 50, 1_000);
        vm.prank(payer);
        payments.requestWithdrawal(id, 1_000);
        _settle(_sign(PAYER_KEY, id, 1_000));
        vm.warp(block.timestamp + 50);
        vm.etch(payer, address(ledger).code);
        vm.prank(payer);
        payments.withdraw(id);
        eq(payments.channel(id).withdrawalAt, 0, "ended");
    }
}
