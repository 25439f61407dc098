// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {IRunFactory} from "../../../contracts/interfaces/IRunFactory.sol";
import {RunAddresses} from "../../../contracts/interfaces/Types.sol";

/// @notice RunFactory: its implementations have code, and fit.
contract RunFactoryConstructorTest is Base {
    function test_constructorNeedsImplementations() public {
        RunAddresses memory impl = factory.implementations();
        for (uint256 i = 0; i < 8; ++i) {
            RunAddresses memory broken = abi.decode(abi.encode(impl), (RunAddresses));
            // The fields of a struct in memory stand one after the other.
            assembly ("memory-safe") {
                mstore(add(broken, mul(i, 0x20)), 0x1234)
            }
            (address made, bytes memory why) = _create(broken);
            eq(made, address(0), "nothing is made");
            eq(keccak256(why), keccak256(abi.encodeWithSelector(IRunFactory.NoImplementation.selector, i)), "says which one");
        }
        (address whole,) = _create(impl);
        ok(whole.code.length != 0, "made of what has code");
    }

    function _create(RunAddresses memory impl) internal returns (address made, bytes memory why) {
        bytes memory code = abi.encodePacked(vm.getCode("RunFactory.sol:RunFactory"), abi.encode(impl));
        assembly ("memory-safe") {
            made := create(0, add(code, 0x20), mload(code))
            why := mload(0x40)
            mstore(why, returndatasize())
            returndatacopy(add(why, 0x20), 0, returndatasize())
            mstore(0x40, add(why, and(add(returndatasize(), 0x3f), not(0x1f))))
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

    /// Each clone runs the code of its own part: an EIP-1167 proxy has the address from its eleventh byte on.
    function test_implementationsAreTheClonesOwn() public view {
        RunAddresses memory impl = factory.implementations();
        RunAddresses memory run = campaign.addresses();
        eq(_target(run.campaign), impl.campaign, "campaign");
        eq(_target(run.registry), impl.registry, "registry");
        eq(_target(run.oracle), impl.oracle, "oracle");
        eq(_target(run.ledger), impl.ledger, "ledger");
        eq(_target(run.checkpoints), impl.checkpoints, "checkpoints");
        eq(_target(run.distributor), impl.distributor, "distributor");
        eq(_target(run.payments), impl.payments, "payments");
        eq(_target(run.disputes), impl.disputes, "disputes");
    }

    function _target(address clone) internal view returns (address target) {
        bytes memory code = clone.code;
        assembly ("memory-safe") {
            target := shr(96, mload(add(code, 0x2a)))
        }
    }
}
