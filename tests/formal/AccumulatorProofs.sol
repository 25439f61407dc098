// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Accumulator} from "../../contracts/libraries/Accumulator.sol";

/// @title AccumulatorProofs
/// @notice A distribution gives out exactly what was pending: what the credits gain and what is carried are together what came in.
contract AccumulatorProofs {
    function nothingIsLostOrMade(uint256 pending, uint256 carry, uint256 live) external pure {
        require(pending < 2 ** 127 && carry < 2 ** 64 && live != 0 && live < 2 ** 64);
        (uint256 gain, uint256 rest) = Accumulator.distribute(pending, carry, live);
        assert(gain * live + rest == pending * 2 ** 64 + carry);
        assert(rest < live);
    }

    /// @dev The accumulator's 192 bits hold all gains: none exceeds what is pending, scaled, and all of it together stays below 2^191.
    function aGainFitsTheAccumulator(uint256 pending, uint256 carry, uint256 live) external pure {
        require(pending < 2 ** 127 && carry < 2 ** 64 && live != 0 && live < 2 ** 64);
        (uint256 gain,) = Accumulator.distribute(pending, carry, live);
        assert(gain <= pending * 2 ** 64 + carry);
        assert(gain < 2 ** 192);
    }
}
