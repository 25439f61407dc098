// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {IProviderRegistry} from "../../../contracts/interfaces/IProviderRegistry.sol";

/// @notice ProviderRegistry.setPeer: where a provider is reached.
contract RegistrySetPeerTest is Base {
    function test_setPeer() public {
        registerOne(0);
        vm.startPrank(providerAccount(0));
        registry.setPeer("elsewhere");
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.PeerTooLong.selector, 513));
        registry.setPeer(string(new bytes(513)));
        vm.stopPrank();
        eq(keccak256(bytes(registry.providerAt(0).peer)), keccak256("elsewhere"), "peer");
        vm.expectRevert(IProviderRegistry.UnknownProvider.selector);
        registry.setPeer("nowhere");
    }
}
