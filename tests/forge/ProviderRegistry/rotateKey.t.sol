// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {IProviderRegistry} from "../../../contracts/interfaces/IProviderRegistry.sol";

/// @notice ProviderRegistry.rotateKey: a key belongs to one index for good.
contract RegistryRotateKeyTest is Base {
    function test_rotateKeyNeverReuses() public {
        registerMany(2);
        vm.startPrank(providerAccount(0));
        registry.rotateKey(address(0x777));
        eq(registry.providerAt(0).signingKey, address(0x777), "new key");
        eq(registry.indexOfKey(address(0x30000)), 0, "old key still names it");
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.KeyTaken.selector, address(0x30000)));
        registry.rotateKey(address(0x30000));
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.KeyTaken.selector, address(0x30001)));
        registry.rotateKey(address(0x30001));
        vm.stopPrank();
    }

    function test_rotateKeyRefuses() public {
        vm.expectRevert(IProviderRegistry.UnknownProvider.selector);
        registry.rotateKey(address(0x777));
        registerOne(0);
        vm.prank(providerAccount(0));
        vm.expectRevert(IProviderRegistry.ZeroAddress.selector);
        registry.rotateKey(address(0));
    }
}
