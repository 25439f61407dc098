// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "./Base.sol";
import {IProviderRegistry} from "../../contracts/interfaces/IProviderRegistry.sol";
import {Provider} from "../../contracts/interfaces/Types.sol";
import {PlainToken} from "../../contracts/mocks/Tokens.sol";

/// @notice ProviderRegistry: indices, keys, stakes and unbonding.
contract ProviderRegistryTest is Base {
    function test_registerGivesStableIndices() public {
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

    function _register(address who, address key, address payout, string memory peer, uint256 stake) internal {
        uint256 value = ready(who, address(registry), stake);
        vm.prank(who);
        registry.register{value: value}(key, payout, peer, stake);
    }

    function test_registerRefuses() public {
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
        vm.prank(alice);
        registry.register{value: value}(alice, alice, string(new bytes(512)), STAKE);
    }

    function test_registryHasALastIndex() public {
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

    function test_unknownProvider() public {
        vm.expectRevert(IProviderRegistry.UnknownProvider.selector);
        registry.indexOf(alice);
        vm.expectRevert(IProviderRegistry.UnknownProvider.selector);
        registry.indexOfKey(alice);
        vm.expectRevert(IProviderRegistry.UnknownProvider.selector);
        registry.providerAt(0);
        vm.expectRevert(IProviderRegistry.UnknownProvider.selector);
        registry.exit();
    }

    function test_rotateKeyNeverReuses() public {
        registerMany(2);
        vm.startPrank(providerAccount(0));
        registry.rotateKey(address(0x777));
        eq(registry.providerAt(0).signingKey, address(0x777), "new key");
        eq(registry.indexOfKey(address(0x30000)), 0, "old key still names it");
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.KeyTaken.selector, address(0x30000)));
        registry.rotateKey(address(0x30000));
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.KeyTaken.selector, address(0x30001)));
        registry.rotateKey(address(0x30001));
        vm.stopPrank();
    }

    function test_setPayoutAndPeer() public {
        registerOne(0);
        vm.startPrank(providerAccount(0));
        registry.setPayout(bob);
        registry.setPeer("elsewhere");
        vm.expectRevert(IProviderRegistry.ZeroAddress.selector);
        registry.setPayout(address(0));
        vm.stopPrank();
        eq(registry.payoutOf(0), bob, "payout");
        eq(keccak256(bytes(registry.providerAt(0).peer)), keccak256("elsewhere"), "peer");
    }

    function _addStake(uint256 amount) internal {
        uint256 value = ready(providerAccount(0), address(registry), amount);
        vm.prank(providerAccount(0));
        registry.addStake{value: value}(amount);
    }

    function test_addStake() public {
        registerOne(0);
        _addStake(11);
        eq(registry.providerAt(0).stake, STAKE + 11, "stake");
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

    function test_stakeStaysForADisputePeriod() public {
        launch(2);
        vm.warp(epochEnd(0) - 10);
        vm.startPrank(providerAccount(1));
        vm.expectRevert(IProviderRegistry.NotExited.selector);
        registry.withdrawStake(0);
        registry.exit();
        vm.expectRevert(IProviderRegistry.AlreadyExited.selector);
        registry.exit();
        vm.expectRevert(IProviderRegistry.StakeLocked.selector);
        registry.withdrawStake(0);
        vm.stopPrank();
        list(1, 5);
        runEpoch(0);
        uint256 settled = block.timestamp;
        vm.warp(settled + 499);
        vm.prank(providerAccount(1));
        vm.expectRevert(IProviderRegistry.StakeLocked.selector);
        registry.withdrawStake(0);
        vm.warp(settled + 500);
        vm.prank(providerAccount(1));
        registry.withdrawStake(0);
        eq(balance(providerAccount(1)), STAKE, "stake back");
        vm.prank(providerAccount(1));
        vm.expectRevert(IProviderRegistry.ZeroAmount.selector);
        registry.withdrawStake(0);
        eq(registry.indexOf(providerAccount(1)), 1, "index stays");
    }

    /// An exit in epoch 1 is not freed by the settling of epoch 0, nor by that of a void epoch.
    function test_exitBeforeSlashIsLocked() public {
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

    function test_stakeIsFreeAfterTheRun() public {
        launch(1);
        for (uint64 e = 0; e < 8; ++e) {
            lapseEpoch(e);
        }
        vm.startPrank(providerAccount(0));
        registry.exit();
        vm.expectRevert(IProviderRegistry.StakeLocked.selector);
        registry.withdrawStake(0);
        vm.warp(block.timestamp + 500);
        registry.withdrawStake(0);
        vm.stopPrank();
        eq(balance(providerAccount(0)), STAKE, "stake back");
    }

    function test_stakeIsFreeWhenTheCampaignFails() public {
        registerOne(0);
        vm.warp(T0 + 100);
        vm.startPrank(providerAccount(0));
        registry.exit();
        registry.withdrawStake(0);
        vm.stopPrank();
        eq(balance(providerAccount(0)), STAKE, "stake back");
    }

    function test_onlyOthersOfTheRun() public {
        vm.expectRevert(IProviderRegistry.NotOracle.selector);
        registry.ban(0, 0, 1);
        vm.expectRevert(IProviderRegistry.NotDisputes.selector);
        registry.setChallenged(0, true);
        vm.expectRevert(IProviderRegistry.NotDisputes.selector);
        registry.slash(0, alice);
    }

    function test_openChallengeLocksStake() public {
        registerOne(0);
        vm.warp(T0 + 100);
        vm.prank(providerAccount(0));
        registry.exit();
        vm.prank(address(disputes));
        registry.setChallenged(0, true);
        eq(registry.openChallenges(0), 1, "open");
        vm.prank(providerAccount(0));
        vm.expectRevert(IProviderRegistry.StakeLocked.selector);
        registry.withdrawStake(0);
        vm.prank(address(disputes));
        registry.setChallenged(0, false);
        vm.prank(providerAccount(0));
        registry.withdrawStake(0);
    }

    function test_slashIsPulled() public {
        launch(1);
        vm.prank(address(disputes));
        eq(registry.slash(0, carol), STAKE, "whole stake");
        eq(registry.owedTo(carol), STAKE / 10, "a tenth to the challenger");
        registry.payOwed(carol);
        registry.payOwed(address(distributor));
        eq(balance(carol), STAKE / 10, "paid");
        eq(distributor.capitalReceived(), STAKE - STAKE / 10, "the rest to the capital pool");
        eq(balance(address(registry)), 0, "nothing left");
        vm.expectRevert();
        registry.payOwed(carol);
    }
}

contract ProviderRegistryTokenTest is ProviderRegistryTest {
    function setUp() public override {
        asset = address(new PlainToken());
        super.setUp();
    }

    /// A stake that does not fit 128 bits is refused, not cut.
    function test_stakeIsNotTruncated() public {
        uint256 huge = (1 << 128) + STAKE;
        ready(alice, address(registry), huge);
        vm.prank(alice);
        vm.expectRevert();
        registry.register(alice, alice, "", huge);
    }
}
