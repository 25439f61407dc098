// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {IProviderRegistry} from "../../../contracts/interfaces/IProviderRegistry.sol";

/// @notice ProviderRegistry.exit: a provider leaves once.
contract RegistryExitTest is Base {
    function test_exitOnce() public {
        vm.expectRevert(IProviderRegistry.UnknownProvider.selector);
        registry.exit();
        registerOne(0);
        vm.warp(T0 + 7);
        vm.startPrank(providerAccount(0));
        registry.exit();
        eq(registry.providerAt(0).exitAt, T0 + 7, "time");
        vm.expectRevert(IProviderRegistry.AlreadyExited.selector);
        registry.exit();
        vm.stopPrank();
        eq(registry.providerAt(0).stake, STAKE, "its stake stays slashable");
    }
}
