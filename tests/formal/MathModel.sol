// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title Math
/// @notice What the SMTChecker reads for OpenZeppelin's Math, whose branchless tricks it cannot follow.
library Math {
    function min(uint256 a, uint256 b) internal pure returns (uint256) {
        return a < b ? a : b;
    }

    function max(uint256 a, uint256 b) internal pure returns (uint256) {
        return a > b ? a : b;
    }

    function saturatingSub(uint256 a, uint256 b) internal pure returns (uint256) {
        return a > b ? a - b : 0;
    }
}
