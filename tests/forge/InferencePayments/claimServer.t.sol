// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {PaymentSteps} from "../support/PaymentSteps.sol";
import {IInferencePayments} from "../../../contracts/interfaces/IInferencePayments.sol";

/// @notice InferencePayments.claimServer: anyone pays a server its cut.
contract PaymentsClaimServerTest is PaymentSteps {
    function test_claimServerOnce() public eachAsset {
        launch(1);
        bytes32 id = _deposit(payer, 50, 1_000);
        _settle(_sign(PAYER_KEY, id, 1_000));
        vm.prank(bob);
        payments.claimServer(server);
        eq(balance(server), 200, "its cut");
        vm.expectRevert(IInferencePayments.NothingDue.selector);
        payments.claimServer(server);
    }
}
