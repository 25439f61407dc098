// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {IProviderRegistry} from "../../../contracts/interfaces/IProviderRegistry.sol";

/// @notice ProviderRegistry.ban: only by the oracle, only known providers, only longer.
contract RegistryBanTest is Base {
    function test_onlyTheOracleBans() public {
        vm.expectRevert(IProviderRegistry.NotOracle.selector);
        registry.ban(0, 0, 1);
    }

    function test_bansOnlyGrow() public {
        registerOne(0);
        vm.startPrank(address(oracle));
        registry.ban(0, keccak256("why"), T0 + 10);
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.BanNotLonger.selector, T0 + 10));
        registry.ban(0, keccak256("why"), T0 + 10);
        registry.ban(0, keccak256("more"), T0 + 11);
        vm.expectRevert(IProviderRegistry.UnknownProvider.selector);
        registry.ban(1, keccak256("why"), T0 + 10);
        vm.stopPrank();
        ok(registry.isBanned(0), "banned");
        vm.warp(T0 + 11);
        ok(!registry.isBanned(0), "over");
    }
}
