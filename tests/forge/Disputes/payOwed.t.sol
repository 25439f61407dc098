// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {CreditDisputeSteps} from "../support/CreditDisputeSteps.sol";
import {IDues} from "../../../contracts/interfaces/IDues.sol";

/// @notice Disputes.payOwed: bonds are pulled, once.
contract DisputesPayOwedTest is CreditDisputeSteps {
    function test_payOwedOnce() public eachAsset {
        finalizeNow(0);
        _challenge(0, 0);
        _judge(0, 0, false);
        disputes.payOwed(payoutAddress(0));
        eq(balance(payoutAddress(0)), DISPUTE_BOND, "bond");
        eq(balance(address(disputes)), 0, "nothing kept");
        vm.expectRevert(IDues.NothingOwed.selector);
        disputes.payOwed(payoutAddress(0));
    }
}
