// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {EventLog} from "../support/EventLog.sol";
import {ICreditLedger} from "../../../contracts/interfaces/ICreditLedger.sol";
import {FinalEpoch} from "../../../contracts/interfaces/Types.sol";

/// @notice What the ledger logs.
contract CreditLedgerEventsTest is Base, EventLog {
    function test_recordAndRevoke() public {
        FinalEpoch memory f = FinalEpoch(keccak256("root"), 100, 5, 60, 77, 88, 99, keccak256("digest"));
        _listen();
        vm.prank(address(oracle));
        ledger.record(3, f);
        _logged();
        _by(address(ledger));
        emit ICreditLedger.EpochRecorded(3, f.root, 100, 5);
        _same();

        vm.prank(address(disputes));
        ledger.revoke(2, 3, 41, 1_000);
        _logged();
        _by(address(ledger));
        emit ICreditLedger.CreditsRevoked(2, 3, 41, 1_000);
        _same();
    }
}
