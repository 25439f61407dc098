// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";

/// @notice CreditOracle.slashSigners: exactly the signers of a mask lose their bonds.
contract OracleSlashSignersTest is Base {
    function test_onlyDisputesSlash() public {
        vm.expectRevert(ICreditOracle.NotDisputes.selector);
        oracle.slashSigners(0, 1, carol);
    }

    function test_slashesByMask() public eachAsset {
        launch(1);
        vm.prank(address(disputes));
        oracle.slashSigners(0, 10, carol);
        for (uint256 i = 0; i < 4; ++i) {
            eq(oracle.bondOf(vm.addr(signerKeys[i])), i % 2 == 1 ? 0 : BOND, "signers 1 and 3");
        }
        eq(oracle.owedTo(carol), 2 * (BOND / 10), "a tenth");
        vm.prank(address(disputes));
        oracle.slashSigners(0, 10, carol);
        eq(oracle.owedTo(carol), 2 * (BOND / 10), "an empty bond pays nobody");
    }
}
