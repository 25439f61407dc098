// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {PaymentSteps} from "../support/PaymentSteps.sol";
import {IInferencePayments} from "../../../contracts/interfaces/IInferencePayments.sol";
import {Channel} from "../../../contracts/interfaces/Types.sol";

/// @notice InferencePayments.deposit: a channel for each payer, server, asset and delay.
contract PaymentsDepositTest is PaymentSteps {
    function test_channelIsNamedByPayerServerAssetDelay() public eachAsset {
        bytes32 id = _deposit(payer, 50, 1_000);
        eq(id, keccak256(abi.encode(keccak256("commonweight.channel.v1"), payer, server, asset, uint64(50))), "id");
        _deposit(payer, 50, 500);
        eq(id, payments.channelIdOf(payer, server, 50), "id by the view");
        Channel memory c = payments.channel(id);
        eq(c.deposited, 1_500, "deposited");
        eq(c.payer, payer, "payer");
        eq(c.server, server, "server");
        eq(c.delay, 50, "delay");
        ok(_deposit(payer, 51, 1) != id, "another delay is another channel");
    }

    /// Anyone may pay in for a payer, and can so put off no withdrawal.
    function test_depositMovesNoWithdrawal() public eachAsset {
        bytes32 id = _deposit(payer, 50, 1_000);
        vm.prank(payer);
        payments.requestWithdrawal(id, 900);
        uint256 at = block.timestamp + 50;
        vm.warp(at - 1);
        _deposit(payer, 50, 1);
        Channel memory c = payments.channel(id);
        eq(c.withdrawalAt, at, "due when it was");
        eq(c.withdrawalAmount, 900, "as much as was asked for");
        vm.warp(at);
        vm.prank(payer);
        payments.withdraw(id);
        eq(balance(payer), 900, "paid");
    }

    function test_depositRefuses() public eachAsset {
        vm.expectRevert(IInferencePayments.ZeroAmount.selector);
        payments.deposit(payer, server, 50, 0);
        uint256 value = ready(alice, address(payments), 1);
        vm.startPrank(alice);
        vm.expectRevert(IInferencePayments.ZeroAddress.selector);
        payments.deposit{value: value}(address(0), server, 50, 1);
        vm.expectRevert(IInferencePayments.ZeroAddress.selector);
        payments.deposit{value: value}(payer, address(0), 50, 1);
        vm.expectRevert(abi.encodeWithSelector(IInferencePayments.DelayOutOfRange.selector, 50));
        payments.deposit{value: value}(payer, server, 49, 1);
        vm.expectRevert(abi.encodeWithSelector(IInferencePayments.DelayOutOfRange.selector, 50));
        payments.deposit{value: value}(payer, server, 1 << 40, 1);
        vm.stopPrank();
        value = ready(alice, address(payments), 1 << 127);
        vm.prank(alice);
        vm.expectRevert(IInferencePayments.ChannelFull.selector);
        payments.deposit{value: value}(payer, server, 50, 1 << 127);
    }
}
