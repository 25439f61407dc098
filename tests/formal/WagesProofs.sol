// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Wages} from "../../contracts/libraries/Wages.sol";

/// @title WagesProofs
/// @notice Wages of an epoch and the signers' fee on them fit what is unlocked, and rounding gives away less than one unit.
/// @dev An assertion that is proved may be used by those below it: the later ones are steps of one argument.
contract WagesProofs {
    uint256 internal constant SCALE = 2 ** 64;

    function wagesFitTheEscrow(uint256 unlocked, uint256 credits, uint256 wageCap, uint256 oracleBps) external pure {
        require(unlocked < 2 ** 127 && credits != 0 && credits < 2 ** 64 && wageCap < 2 ** 80 && oracleBps <= 10_000);
        uint256 wage = Wages.perCredit(unlocked, credits, wageCap, oracleBps);
        assert(wage <= wageCap * SCALE);
        uint256 budget = unlocked * 10_000 / (10_000 + oracleBps);
        assert(wage * credits <= budget * SCALE);
        (uint256 wages, uint256 scaled) = Wages.total(credits, wage);
        assert(wages * SCALE >= scaled);
        assert(wages * SCALE - scaled < SCALE);
        assert(wages <= budget);
    }

    /// @dev What follows for the fee, which is at most `oracleBps` of the wages, rounded down for each signer.
    function wagesAndFeeFitTheEscrow(uint256 unlocked, uint256 wages, uint256 oracleBps) external pure {
        require(unlocked < 2 ** 127 && oracleBps <= 10_000);
        uint256 budget = unlocked * 10_000 / (10_000 + oracleBps);
        require(wages <= budget);
        uint256 fee = wages * oracleBps / 10_000;
        uint256 left = budget - wages;
        assert(left * (10_000 + oracleBps) + wages * (10_000 + oracleBps) == budget * (10_000 + oracleBps));
        assert(wages * 10_000 + wages * oracleBps <= unlocked * 10_000);
        assert(fee * 10_000 <= wages * oracleBps);
        assert(wages + fee <= unlocked);
    }
}
