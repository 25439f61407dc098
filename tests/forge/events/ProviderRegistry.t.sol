// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {EventLog} from "../support/EventLog.sol";
import {IDues} from "../../../contracts/interfaces/IDues.sol";
import {IProviderRegistry} from "../../../contracts/interfaces/IProviderRegistry.sol";

/// @notice What the registry logs about its third provider.
contract ProviderRegistryEventsTest is Base, EventLog {
    function arrange() internal override {
        super.arrange();
        registerMany(2);
    }

    function test_register() public {
        _listen();
        registerOne(2);
        _logged();
        _by(address(registry));
        emit IProviderRegistry.ProviderRegistered(2, providerAccount(2), address(0x30002), payoutAddress(2), "peer", STAKE);
        _same();
    }

    function test_changes() public {
        registerOne(2);
        uint256 value = ready(providerAccount(2), address(registry), 11);
        _listen();
        vm.startPrank(providerAccount(2));
        registry.rotateKey(address(0x40002));
        registry.setPayout(address(0x50002));
        registry.setPeer("another peer");
        registry.addStake{value: value}(11);
        registry.exit();
        // Nobody funded the run, so that stakes are free after its deadline.
        vm.warp(T0 + 100);
        registry.withdrawStake(0);
        vm.stopPrank();
        _logged();
        _by(address(registry));
        emit IProviderRegistry.KeyRotated(2, address(0x40002));
        _by(address(registry));
        emit IProviderRegistry.PayoutChanged(2, address(0x50002));
        _by(address(registry));
        emit IProviderRegistry.PeerChanged(2, "another peer");
        _by(address(registry));
        emit IProviderRegistry.StakeAdded(2, 11, 5_011);
        _by(address(registry));
        emit IProviderRegistry.ExitRequested(2, T0);
        _by(address(registry));
        emit IProviderRegistry.StakeWithdrawn(2, 5_011);
        _same();
    }

    function test_banAndSlash() public {
        registerOne(2);
        _listen();
        vm.prank(address(oracle));
        registry.ban(2, keccak256("why"), T0 + 10);
        vm.startPrank(address(disputes));
        registry.setChallenged(2, true);
        registry.slash(2, carol);
        vm.stopPrank();
        registry.payOwed(carol);
        _logged();
        _by(address(registry));
        emit IProviderRegistry.Banned(2, keccak256("why"), T0 + 10);
        _by(address(registry));
        emit IDues.Owed(carol, 500);
        _by(address(registry));
        emit IDues.Owed(address(distributor), 4_500);
        _by(address(registry));
        emit IProviderRegistry.Slashed(2, STAKE);
        _by(address(registry));
        emit IDues.OwedPaid(carol, 500);
        _same();
    }
}
