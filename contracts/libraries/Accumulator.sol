// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title Accumulator
/// @notice Pays an amount to any number of credits in one step: each gains the same, scaled by 2^64, and what does not divide is carried.
library Accumulator {
    uint256 internal constant SCALE_BITS = 64;

    /// @param pending units to give out, below 2^127
    /// @param carry scaled remainder of the last time, below 2^64
    /// @param live credits to share among, at least one and below 2^64
    /// @return gain what each credit gains, scaled
    /// @return rest the scaled remainder, below `live`: `gain * live + rest` is `pending * 2^64 + carry` exactly
    function distribute(uint256 pending, uint256 carry, uint256 live) internal pure returns (uint256 gain, uint256 rest) {
        uint256 scaled = (pending << SCALE_BITS) + carry;
        gain = scaled / live;
        rest = scaled - gain * live;
    }
}
