// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {IProviderRegistry} from "../../../contracts/interfaces/IProviderRegistry.sol";

/// @notice ProviderRegistry.slash: a tenth to who showed it, the rest to the capital pool.
contract RegistrySlashTest is Base {
    function test_slashIsPulled() public eachAsset {
        launch(1);
        vm.prank(address(disputes));
        eq(registry.slash(0, carol), STAKE, "whole stake");
        eq(registry.owedTo(carol), STAKE / 10, "a tenth to the challenger");
        registry.payOwed(carol);
        registry.payOwed(address(distributor));
        eq(balance(carol), STAKE / 10, "paid");
        eq(distributor.capitalReceived(), STAKE - STAKE / 10, "the rest to the capital pool");
        eq(balance(address(registry)), 0, "nothing left");
    }

    function test_onlyDisputesSlash() public {
        vm.expectRevert(IProviderRegistry.NotDisputes.selector);
        registry.slash(0, alice);
    }
}
