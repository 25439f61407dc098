// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @title Wages
/// @notice What an epoch's credits cost the escrow. Wages per credit are scaled by 2^64.
library Wages {
    uint256 internal constant SCALE_BITS = 64;
    uint256 internal constant BPS = 10_000;

    /// @notice Scaled wage per credit, so that wages and the fee on them fit the unlocked escrow.
    function perCredit(uint256 unlocked, uint256 credits, uint256 wagePerCredit, uint256 oracleBps) internal pure returns (uint256) {
        if (credits == 0) return 0;
        uint256 budget = unlocked * BPS / (BPS + oracleBps);
        return Math.min(wagePerCredit << SCALE_BITS, (budget << SCALE_BITS) / credits);
    }

    /// @notice Units that `credits` earn at the scaled `wage`, and what rounding up adds to them, scaled and below 2^64.
    function total(uint256 credits, uint256 wage) internal pure returns (uint256 units, uint256 excess) {
        uint256 scaled = credits * wage;
        units = (scaled + (1 << SCALE_BITS) - 1) >> SCALE_BITS;
        excess = (units << SCALE_BITS) - scaled;
    }

    /// @notice The fee on `wages` for each of `signers` signers.
    function feeEach(uint256 wages, uint256 oracleBps, uint256 signers) internal pure returns (uint256) {
        return wages * oracleBps / BPS / signers;
    }
}
