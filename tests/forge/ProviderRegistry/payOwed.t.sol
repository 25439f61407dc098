// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {IDues} from "../../../contracts/interfaces/IDues.sol";

/// @notice ProviderRegistry.payOwed: slashed stakes are pulled, once.
contract RegistryPayOwedTest is Base {
    function test_payOwedOnce() public eachAsset {
        launch(1);
        vm.prank(address(disputes));
        registry.slash(0, carol);
        registry.payOwed(carol);
        eq(registry.owedTo(carol), 0, "paid");
        vm.expectRevert(IDues.NothingOwed.selector);
        registry.payOwed(carol);
        vm.expectRevert(IDues.NothingOwed.selector);
        registry.payOwed(alice);
    }
}
