// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {IProviderRegistry} from "../../../contracts/interfaces/IProviderRegistry.sol";

/// @notice ProviderRegistry: who is not there is unknown.
contract RegistryViewsTest is Base {
    function test_unknownProvider() public {
        vm.expectRevert(IProviderRegistry.UnknownProvider.selector);
        registry.indexOf(alice);
        vm.expectRevert(IProviderRegistry.UnknownProvider.selector);
        registry.indexOfKey(alice);
        vm.expectRevert(IProviderRegistry.UnknownProvider.selector);
        registry.providerAt(0);
        vm.expectRevert(IProviderRegistry.UnknownProvider.selector);
        registry.exit();
    }
}
