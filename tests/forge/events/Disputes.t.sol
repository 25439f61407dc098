// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {DisputeSteps} from "../support/DisputeSteps.sol";
import {EventLog} from "../support/EventLog.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";
import {IDisputes} from "../../../contracts/interfaces/IDisputes.sol";

/// @notice What the proof of a bad list logs; games and wrong leaves are in RootGame.t.sol.
contract DisputesEventsTest is DisputeSteps, EventLog {
    function test_proveBadList() public {
        _prepare(4);
        list(2, 1);
        _submitLie(12);
        _listen();
        vm.prank(carol);
        disputes.proveBadList(bad, badList, 2);
        _logged();
        _by(address(disputes));
        emit IDisputes.BadListProved(digestOf(bad), 2, carol);
        _slashedThree(carol);
        _by(address(oracle));
        emit ICreditOracle.EpochVoided(1, true);
        _same();
    }
}
