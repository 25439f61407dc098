// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title CreditList
/// @notice The credits list of a report: entries of uint32 index and uint64 credits, packed big-endian, 12 bytes each.
library CreditList {
    uint256 internal constant ENTRY = 12;
    uint256 internal constant MAX_ENTRIES = 10_000;

    function entry(bytes calldata list, uint256 position) internal pure returns (uint32 index, uint64 credits) {
        uint96 packed = uint96(bytes12(list[position * ENTRY:(position + 1) * ENTRY]));
        index = uint32(packed >> 64);
        credits = uint64(packed);
    }

    /// @notice Credits listed for `index`, 0 if it is not listed, by binary search; meaningless on a list that does not ascend.
    function creditsOf(bytes calldata list, uint32 index) internal pure returns (uint64) {
        uint256 low = 0;
        uint256 high = list.length / ENTRY;
        while (low < high) {
            uint256 middle = (low + high) / 2;
            (uint32 at, uint64 credits) = entry(list, middle);
            if (at == index) return credits;
            if (at < index) low = middle + 1;
            else high = middle;
        }
        return 0;
    }
}
