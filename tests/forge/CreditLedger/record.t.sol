// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {ICreditLedger} from "../../../contracts/interfaces/ICreditLedger.sol";
import {EpochInfo, FinalEpoch} from "../../../contracts/interfaces/Types.sol";

/// @notice CreditLedger.record: only final epochs, only by the oracle.
contract LedgerRecordTest is Base {
    function test_onlyTheOracleRecords() public {
        FinalEpoch memory f;
        vm.expectRevert(ICreditLedger.NotOracle.selector);
        ledger.record(0, f);
    }

    function test_voidEpochIsNotInTheLedger() public {
        launch(1);
        lapseEpoch(0);
        vm.expectRevert(abi.encodeWithSelector(ICreditLedger.NotFinal.selector, 0));
        ledger.finalEpoch(0);
        EpochInfo memory info = oracle.epochInfo(0);
        eq(info.wage + info.acc + info.epochCredits, 0, "a void epoch keeps none");
    }
}
