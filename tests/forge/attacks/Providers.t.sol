// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {IProviderRegistry} from "../../../contracts/interfaces/IProviderRegistry.sol";

/// @notice Attacks by providers: leaving, coming back, being judged.
contract ProviderAttackTest is Base {
    /// An index is never reused: the account of an exited provider cannot register again, and its index stays.
    function test_attack_indexReused() public {
        launch(2);
        vm.prank(providerAccount(1));
        registry.exit();
        uint256 value = ready(providerAccount(1), address(registry), STAKE);
        vm.prank(providerAccount(1));
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.AlreadyRegistered.selector, 1));
        registry.register{value: value}(address(0x9999), alice, "", STAKE);
        registerOne(2);
        eq(registry.indexOf(providerAccount(1)), 1, "old index");
        eq(registry.indexOf(providerAccount(2)), 2, "next index");
    }

    /// A key that was ever registered belongs to its index for good, also after a rotation and an exit.
    function test_attack_keyReused() public {
        registerMany(1);
        vm.startPrank(providerAccount(0));
        registry.rotateKey(address(0x777));
        registry.exit();
        vm.stopPrank();
        for (uint256 i = 0; i < 2; ++i) {
            address key = i == 0 ? address(0x30000) : address(0x777);
            uint256 value = ready(alice, address(registry), STAKE);
            vm.prank(alice);
            vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.KeyTaken.selector, key));
            registry.register{value: value}(key, alice, "", STAKE);
        }
    }

    /// An exit in epoch 1 is not freed by the settling of epoch 0, nor by that of a void epoch.
    function test_attack_exitBeforeSlash() public eachAsset {
        launch(1);
        runEpoch(0);
        vm.warp(epochEnd(0) + 600);
        vm.prank(providerAccount(0));
        registry.exit();
        lapseEpoch(1);
        vm.warp(block.timestamp + 10_000);
        vm.startPrank(providerAccount(0));
        vm.expectRevert(IProviderRegistry.StakeLocked.selector);
        registry.withdrawStake(0);
        vm.expectRevert(IProviderRegistry.StakeLocked.selector);
        registry.withdrawStake(1);
        vm.stopPrank();
    }
}
