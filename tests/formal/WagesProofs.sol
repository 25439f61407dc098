// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Wages} from "../../contracts/libraries/Wages.sol";

/// @title WagesProofs
/// @notice Wages of an epoch and the signers' fee on them fit what is unlocked, and rounding gives away less than one unit.
/// @dev An assertion that is proved may be used by those below it: the earlier ones are steps of one argument.
contract WagesProofs {
    uint256 internal constant SCALE = 2 ** 64;

    function wagesFitTheEscrow(uint256 unlocked, uint256 credits, uint256 wagePerCredit, uint256 oracleBps) external pure {
        require(unlocked < 2 ** 127 && credits != 0 && credits < 2 ** 64 && wagePerCredit < 2 ** 80 && oracleBps <= 10_000);
        uint256 wage = Wages.perCredit(unlocked, credits, wagePerCredit, oracleBps);
        assert(wage <= wagePerCredit * SCALE);
        uint256 budget = unlocked * 10_000 / (10_000 + oracleBps);
        assert(wage * credits <= budget * SCALE);
        (uint256 units, uint256 excess) = Wages.total(credits, wage);
        assert(units * SCALE == credits * wage + excess);
        assert(excess < SCALE);
        assert(units <= budget);
    }

    function wagesAndFeesFitTheEscrow(uint256 unlocked, uint256 wages, uint256 oracleBps, uint256 signers) external pure {
        require(unlocked < 2 ** 127 && oracleBps <= 10_000 && signers != 0 && signers < 32);
        uint256 budget = unlocked * 10_000 / (10_000 + oracleBps);
        require(wages <= budget);
        uint256 left = budget - wages;
        assert(left * (10_000 + oracleBps) + wages * (10_000 + oracleBps) == budget * (10_000 + oracleBps));
        assert(wages * 10_000 + wages * oracleBps <= unlocked * 10_000);
        uint256 fees = Wages.feeEach(wages, oracleBps, signers) * signers;
        assert(fees <= wages * oracleBps / 10_000);
        assert(fees * 10_000 <= wages * oracleBps);
        assert(wages + fees <= unlocked);
    }

    /// @dev No credits earn no wage, and an epoch without them costs nothing.
    function noCreditsCostNothing(uint256 unlocked, uint256 wagePerCredit, uint256 oracleBps) external pure {
        require(unlocked < 2 ** 127 && wagePerCredit < 2 ** 80 && oracleBps <= 10_000);
        uint256 wage = Wages.perCredit(unlocked, 0, wagePerCredit, oracleBps);
        (uint256 units, uint256 excess) = Wages.total(0, wage);
        assert(wage == 0 && units == 0 && excess == 0);
    }
}
