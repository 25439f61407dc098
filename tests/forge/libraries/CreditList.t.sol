// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {CreditList} from "../../../contracts/libraries/CreditList.sol";

contract CreditListCaller {
    function creditsOf(bytes calldata list, uint32 index) external pure returns (uint64) {
        return CreditList.creditsOf(list, index);
    }
}

/// @notice The credits list: every entry is found, and nothing else.
contract CreditListTest is Base {
    CreditListCaller internal lib;

    function setUp() public override {
        lib = new CreditListCaller();
    }

    function test_creditsOfFindsEveryEntry(uint16[20] memory gaps) public view {
        bytes memory list_ = "";
        uint32 index = 0;
        uint32[20] memory at;
        for (uint256 i = 0; i < 20; ++i) {
            index += uint32(gaps[i]) + 1;
            at[i] = index;
            list_ = abi.encodePacked(list_, index, uint64(index) * 1e9);
        }
        for (uint256 i = 0; i < 20; ++i) {
            eq(lib.creditsOf(list_, at[i]), uint256(at[i]) * 1e9, "listed");
            if (gaps[i] != 0) eq(lib.creditsOf(list_, at[i] - 1), 0, "not listed");
        }
        eq(lib.creditsOf("", 0), 0, "empty list");
    }
}
