// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {IProviderRegistry} from "../../../contracts/interfaces/IProviderRegistry.sol";

/// @notice ProviderRegistry.setChallenged: counts the challenges that are open.
contract RegistrySetChallengedTest is Base {
    function test_onlyDisputesCount() public {
        vm.expectRevert(IProviderRegistry.NotDisputes.selector);
        registry.setChallenged(0, true);
    }

    function test_countsUpAndDown() public {
        registerOne(0);
        vm.startPrank(address(disputes));
        registry.setChallenged(0, true);
        registry.setChallenged(0, true);
        registry.setChallenged(0, false);
        vm.stopPrank();
        eq(registry.openChallenges(0), 1, "one of two");
    }
}
