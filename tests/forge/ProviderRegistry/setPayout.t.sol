// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {IProviderRegistry} from "../../../contracts/interfaces/IProviderRegistry.sol";

/// @notice ProviderRegistry.setPayout: claims go where the account says.
contract RegistrySetPayoutTest is Base {
    function test_setPayout() public {
        registerOne(0);
        vm.startPrank(providerAccount(0));
        registry.setPayout(bob);
        vm.expectRevert(IProviderRegistry.ZeroAddress.selector);
        registry.setPayout(address(0));
        vm.stopPrank();
        eq(registry.payoutOf(0), bob, "payout");
        vm.expectRevert(IProviderRegistry.UnknownProvider.selector);
        registry.setPayout(bob);
    }

    function test_claimsGoToTheNewAddress() public eachAsset {
        launch(1);
        list(0, 10);
        runEpoch(0);
        vm.prank(providerAccount(0));
        registry.setPayout(carol);
        claimCompute(0);
        eq(balance(carol), 100, "new");
        eq(balance(payoutAddress(0)), 0, "old");
    }
}
