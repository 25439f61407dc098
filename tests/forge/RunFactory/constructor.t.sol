// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {IRunFactory} from "../../../contracts/interfaces/IRunFactory.sol";
import {RunAddresses} from "../../../contracts/interfaces/Types.sol";

/// @notice RunFactory: its implementations have code, and fit.
contract RunFactoryConstructorTest is Base {
    function test_constructorNeedsImplementations() public {
        RunAddresses memory impl = factory.implementations();
        impl.ledger = address(0x1234);
        bytes memory code = abi.encodePacked(vm.getCode("RunFactory.sol:RunFactory"), abi.encode(impl));
        vm.expectRevert(abi.encodeWithSelector(IRunFactory.NoImplementation.selector, 3));
        assembly ("memory-safe") {
            let made := create(0, add(code, 0x20), mload(code))
            pop(made)
        }
    }

    /// forge does not limit code, since its own test contracts are larger. (`forge coverage` compiles unoptimised and fails only this.)
    function test_implementationsFitTheCodeSizeLimit() public view {
        RunAddresses memory a = factory.implementations();
        address[9] memory all =
            [a.campaign, a.registry, a.oracle, a.ledger, a.checkpoints, a.distributor, a.payments, a.disputes, address(factory)];
        for (uint256 i = 0; i < 9; ++i) {
            ok(all[i].code.length <= 24_576, "code-size limit");
        }
    }
}
