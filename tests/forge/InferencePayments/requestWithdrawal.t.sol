// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {PaymentSteps} from "../support/PaymentSteps.sol";
import {IInferencePayments} from "../../../contracts/interfaces/IInferencePayments.sol";

/// @notice InferencePayments.requestWithdrawal: only the payer, and it waits.
contract PaymentsRequestWithdrawalTest is PaymentSteps {
    function test_onlyThePayerAsks() public {
        bytes32 id = _deposit(payer, 50, 1_000);
        vm.prank(bob);
        vm.expectRevert(IInferencePayments.NotPayer.selector);
        payments.requestWithdrawal(id, 1);
        vm.startPrank(payer);
        vm.expectRevert(IInferencePayments.ZeroAmount.selector);
        payments.requestWithdrawal(id, 0);
        payments.requestWithdrawal(id, 100);
        payments.requestWithdrawal(id, 900);
        vm.stopPrank();
        eq(payments.channel(id).withdrawalAmount, 900, "in place of the first");
        eq(payments.channel(id).withdrawalAt, block.timestamp + 50, "due");
    }
}
