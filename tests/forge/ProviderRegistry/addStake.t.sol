// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {IProviderRegistry} from "../../../contracts/interfaces/IProviderRegistry.sol";

/// @notice ProviderRegistry.addStake: more stake, until the provider leaves.
contract RegistryAddStakeTest is Base {
    function _addStake(uint256 amount) internal {
        uint256 value = ready(providerAccount(0), address(registry), amount);
        vm.prank(providerAccount(0));
        registry.addStake{value: value}(amount);
    }

    function test_addStake() public eachAsset {
        registerOne(0);
        _addStake(11);
        eq(registry.providerAt(0).stake, STAKE + 11, "stake");
        eq(balance(address(registry)), STAKE + 11, "held");
        vm.prank(providerAccount(0));
        vm.expectRevert(IProviderRegistry.ZeroAmount.selector);
        registry.addStake(0);
        vm.prank(providerAccount(0));
        registry.exit();
        uint256 value = ready(providerAccount(0), address(registry), 1);
        vm.prank(providerAccount(0));
        vm.expectRevert(IProviderRegistry.AlreadyExited.selector);
        registry.addStake{value: value}(1);
    }
}
