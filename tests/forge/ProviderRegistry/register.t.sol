// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Base} from "../support/Base.sol";
import {IProviderRegistry} from "../../../contracts/interfaces/IProviderRegistry.sol";
import {Provider} from "../../../contracts/interfaces/Types.sol";
import {PlainToken} from "../../../contracts/mocks/Tokens.sol";

/// @notice ProviderRegistry.register: one stable index an account, with a stake and a key of its own.
contract RegistryRegisterTest is Base {
    function test_registerGivesStableIndices() public eachAsset {
        registerMany(3);
        eq(registry.providerCount(), 3, "count");
        for (uint32 i = 0; i < 3; ++i) {
            Provider memory p = registry.providerAt(i);
            eq(p.account, providerAccount(i), "account");
            eq(p.signingKey, address(uint160(0x30000 + i)), "key");
            eq(p.payout, payoutAddress(i), "payout");
            eq(p.stake, STAKE, "stake");
            eq(p.registeredAt, T0, "time");
            eq(registry.indexOf(providerAccount(i)), i, "index of account");
            eq(registry.indexOfKey(p.signingKey), i, "index of key");
            eq(registry.accountOf(i), p.account, "account of");
            eq(registry.payoutOf(i), p.payout, "payout of");
        }
        eq(balance(address(registry)), 3 * STAKE, "held");
    }

    function test_registerRefuses() public eachAsset {
        registerOne(0);
        uint256 value = ready(alice, address(registry), STAKE - 1);
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.StakeTooLow.selector, STAKE));
        registry.register{value: value}(alice, alice, "", STAKE - 1);

        value = ready(providerAccount(0), address(registry), STAKE);
        vm.prank(providerAccount(0));
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.AlreadyRegistered.selector, 0));
        registry.register{value: value}(alice, alice, "", STAKE);

        value = ready(alice, address(registry), STAKE);
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.KeyTaken.selector, address(0x30000)));
        registry.register{value: value}(address(0x30000), alice, "", STAKE);
        vm.prank(alice);
        vm.expectRevert(IProviderRegistry.ZeroAddress.selector);
        registry.register{value: value}(address(0), alice, "", STAKE);
        vm.prank(alice);
        vm.expectRevert(IProviderRegistry.ZeroAddress.selector);
        registry.register{value: value}(alice, address(0), "", STAKE);
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.PeerTooLong.selector, 513));
        registry.register{value: value}(alice, alice, string(new bytes(513)), STAKE);
        string memory peer = string(new bytes(512));
        vm.prank(alice);
        registry.register{value: value}(alice, alice, peer, STAKE);
        eq(bytes(registry.providerAt(1).peer).length, 512, "kept");
    }

    function test_registryHasALastIndex() public eachAsset {
        // providerCount is packed with the three times before it: the slot of it is found by looking.
        for (uint256 slot = 0; slot < 20; ++slot) {
            bytes32 word = vm.load(address(registry), bytes32(slot));
            uint256 snapshot = vm.snapshotState();
            for (uint256 shift = 0; shift < 256; shift += 32) {
                vm.store(address(registry), bytes32(slot), bytes32(uint256(word) | (uint256(1 << 20) << shift)));
                if (registry.providerCount() == 1 << 20) {
                    uint256 value = ready(alice, address(registry), STAKE);
                    vm.prank(alice);
                    vm.expectRevert(IProviderRegistry.RegistryFull.selector);
                    registry.register{value: value}(alice, alice, "", STAKE);
                    return;
                }
            }
            vm.revertToState(snapshot);
        }
        revert NotTrue("slot of providerCount not found");
    }

    /// A stake that does not fit 128 bits is refused, not cut.
    function test_stakeIsNotTruncated() public {
        asset = address(new PlainToken());
        createRun(defaultParams());
        uint256 huge = (1 << 128) + STAKE;
        ready(alice, address(registry), huge);
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(SafeCast.SafeCastOverflowedUintDowncast.selector, 128, huge));
        registry.register(alice, alice, "", huge);
    }
}
