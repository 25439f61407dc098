// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {ICreditLedger} from "../../../contracts/interfaces/ICreditLedger.sol";
import {Revocation} from "../../../contracts/interfaces/Types.sol";

/// @notice CreditLedger.revoke: takes credits out of the denominator.
contract LedgerRevokeTest is Base {
    function test_onlyDisputesRevoke() public {
        vm.expectRevert(ICreditLedger.NotDisputes.selector);
        ledger.revoke(0, 0, 1, 1);
    }

    /// The last revoked epoch is the highest, in whatever order convictions come.
    function test_revocationsAddUp() public {
        launch(1);
        list(0, 50);
        runEpoch(0);
        runEpoch(1);
        vm.startPrank(address(disputes));
        ledger.revoke(0, 1, 3, 100);
        ledger.revoke(0, 0, 2, 10);
        ledger.revoke(7, 0, 1, 1);
        ledger.revoke(7, 1, 1, 1);
        vm.stopPrank();
        eq(ledger.revoked(7).lastEpoch, 1, "raised");
        Revocation memory r = ledger.revoked(0);
        eq(r.credits, 5, "rC");
        eq(r.accWeighted, 320, "rA");
        eq(r.lastEpoch, 1, "last epoch");
        ok(r.any, "any");
        eq(ledger.liveCredits(), 43, "live");
    }

    /// Convictions by a false list can revoke more than there is: nothing is alive then, and nothing wraps.
    function test_revokedCreditsStopAtTheirMaximum() public {
        launch(2);
        list(0, 50);
        runEpoch(0);
        vm.startPrank(address(disputes));
        ledger.revoke(0, 0, type(uint64).max - 1, 1);
        ledger.revoke(1, 0, 3, 1);
        vm.stopPrank();
        eq(ledger.liveCredits(), 0, "none alive");
        eq(ledger.revoked(1).credits, 3, "its own all the same");
    }
}
