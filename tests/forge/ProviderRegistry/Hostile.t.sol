// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {HostileSuite} from "../support/HostileSuite.sol";
import {IProviderRegistry} from "../../../contracts/interfaces/IProviderRegistry.sol";
import {Actor} from "../../../contracts/mocks/Receivers.sol";

/// @notice ProviderRegistry against hostile tokens and receivers: stakes.
contract RegistryHostileTest is HostileSuite {
    function target() internal view override returns (address) {
        return address(registry);
    }

    function payInCall(Actor who) internal pure override returns (bytes memory) {
        return abi.encodeCall(IProviderRegistry.register, (address(uint160(address(who)) + 1), address(who), "", AMOUNT));
    }

    /// @dev The campaign fails.
    function ripen() internal override {
        vm.warp(T0 + 100);
        hostile.act(address(registry), 0, abi.encodeCall(IProviderRegistry.exit, ()));
        other.act(address(registry), 0, abi.encodeCall(IProviderRegistry.exit, ()));
    }

    function payOutCall(Actor) internal pure override returns (bytes memory) {
        return abi.encodeCall(IProviderRegistry.withdrawStake, (0));
    }
}
