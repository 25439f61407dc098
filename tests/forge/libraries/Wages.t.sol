// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {Wages} from "../../../contracts/libraries/Wages.sol";

/// @notice Wages are rounded up to whole units, exactly.
contract WagesTest is Base {
    function setUp() public override {}

    function test_theLeastPartOfAUnitIsAUnit() public pure {
        (uint256 units, uint256 excess) = Wages.total(1, 1);
        eq(units, 1, "rounded up");
        eq(excess, (1 << 64) - 1, "what that adds");
    }

    function test_totalIsTheLeastNumberOfUnitsThatCovers(uint64 credits, uint128 wage) public pure {
        uint256 scaled = uint256(credits) * wage;
        (uint256 units, uint256 excess) = Wages.total(credits, wage);
        eq(units << 64, scaled + excess, "all is accounted for");
        require(excess < 1 << 64, "less than a unit is added");
    }
}
