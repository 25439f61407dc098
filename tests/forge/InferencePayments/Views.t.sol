// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {PaymentSteps} from "../support/PaymentSteps.sol";

/// @notice InferencePayments: what payers sign.
contract PaymentsViewsTest is PaymentSteps {
    function test_voucherHashIsEip712() public {
        bytes32 id = _deposit(payer, 50, 1_000);
        eq(payments.voucherHash(id, 10), _voucherDigest(id, 10), "EIP-712");
        ok(payments.channelIdOf(payer, server, 50) != payments.channelIdOf(server, payer, 50), "roles differ");
    }
}
