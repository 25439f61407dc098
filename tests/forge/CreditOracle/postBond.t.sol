// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Base} from "../support/Base.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";
import {PlainToken} from "../../../contracts/mocks/Tokens.sol";

/// @notice CreditOracle.postBond: anyone fills a bond.
contract OraclePostBondTest is Base {
    function test_bondsAddUp() public eachAsset {
        postBond(alice, 3);
        postBond(alice, 4);
        eq(oracle.bondOf(alice), 7, "sum");
        vm.expectRevert(ICreditOracle.ZeroAmount.selector);
        oracle.postBond(alice, 0);
    }

    /// A bond that does not fit 128 bits is refused, not cut.
    function test_bondIsNotTruncated() public {
        asset = address(new PlainToken());
        createRun(defaultParams());
        ready(alice, address(oracle), 1 << 128);
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(SafeCast.SafeCastOverflowedUintDowncast.selector, 128, 1 << 128));
        oracle.postBond(alice, 1 << 128);
    }
}
