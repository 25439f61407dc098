// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {IProviderRegistry} from "../../../contracts/interfaces/IProviderRegistry.sol";

/// @notice ProviderRegistry.withdrawStake: after a dispute period of a final epoch, and with no challenge open.
contract RegistryWithdrawStakeTest is Base {
    function test_stakeStaysForADisputePeriod() public eachAsset {
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

    /// Whoever leaves before training begins is free with the first epoch.
    function test_exitBeforeTheFirstEpoch() public eachAsset {
        registerMany(2);
        vm.prank(providerAccount(1));
        registry.exit();
        fund(alice, GOAL);
        postBonds();
        runEpoch(0);
        vm.warp(block.timestamp + 500);
        vm.prank(providerAccount(1));
        registry.withdrawStake(0);
        eq(balance(providerAccount(1)), STAKE, "stake back");
    }

    /// An exit in epoch 1 is not freed by the settling of epoch 0, nor by that of a void epoch.
    function test_exitBeforeSlashIsLocked() public eachAsset {
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

    function test_stakeIsFreeAfterTheRun() public eachAsset {
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

    function test_stakeIsFreeWhenTheCampaignFails() public eachAsset {
        registerOne(0);
        vm.warp(T0 + 100);
        vm.startPrank(providerAccount(0));
        registry.exit();
        registry.withdrawStake(0);
        vm.stopPrank();
        eq(balance(providerAccount(0)), STAKE, "stake back");
    }

    function test_openChallengeLocksStake() public eachAsset {
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
}
