// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @title SubstitutionChecks
/// @notice What scripts/formal.py gives the SMTChecker to read is equal to what it stands for.
contract SubstitutionChecks {
    uint256 internal constant SCALE_BITS = 64;

    function check_shiftLeft(uint256 x) external pure {
        if (x >= 1 << 192) return;
        assert(x << SCALE_BITS == x * 2 ** SCALE_BITS);
    }

    function check_shiftRight(uint256 x) external pure {
        assert(x >> SCALE_BITS == x / 2 ** SCALE_BITS);
    }

    function check_min(uint256 a, uint256 b) external pure {
        assert(Math.min(a, b) == (a < b ? a : b));
    }

    function check_max(uint256 a, uint256 b) external pure {
        assert(Math.max(a, b) == (a > b ? a : b));
    }

    function check_saturatingSub(uint256 a, uint256 b) external pure {
        assert(Math.saturatingSub(a, b) == (a > b ? a - b : 0));
    }
}
