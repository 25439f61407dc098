// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {PaymentSteps} from "../support/PaymentSteps.sol";
import {IInferencePayments} from "../../../contracts/interfaces/IInferencePayments.sol";
import {VoucherClaim} from "../../../contracts/interfaces/Types.sol";

/// @notice Attacks on vouchers.
contract VoucherAttackTest is PaymentSteps {
    /// A voucher is good on one chain, for one run and one channel.
    function test_attack_voucherReplay() public eachAsset {
        launch(1);
        bytes32 id = _deposit(payer, 50, 1_000);
        VoucherClaim memory c = _sign(PAYER_KEY, id, 10);
        vm.chainId(777);
        _refused(c, abi.encodeWithSelector(IInferencePayments.BadSignature.selector, 0));
        vm.chainId(31_337);
        bytes32 other = _deposit(payer, 60, 1_000);
        VoucherClaim memory moved = VoucherClaim(other, c.cumulative, c.amount, c.signature);
        _refused(moved, abi.encodeWithSelector(IInferencePayments.BadSignature.selector, 0));
        eq(payments.voucherHash(id, 10), _voucherDigest(id, 10), "EIP-712");
    }

    /// A payer that withdraws while its server sleeps gets no more than what settled vouchers left.
    function test_attack_withdrawAgainstAVoucher() public eachAsset {
        launch(1);
        bytes32 id = _deposit(payer, 50, 1_000);
        vm.prank(payer);
        payments.requestWithdrawal(id, type(uint256).max);
        vm.warp(block.timestamp + 49);
        _settle(_sign(PAYER_KEY, id, 700));
        vm.warp(block.timestamp + 1);
        vm.prank(payer);
        payments.withdraw(id);
        eq(balance(payer), 300, "the rest");
        eq(payments.channel(id).deposited, payments.channel(id).settled, "nothing left");
    }
}
