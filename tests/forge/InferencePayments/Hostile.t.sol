// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {HostileSuite} from "../support/HostileSuite.sol";
import {IInferencePayments} from "../../../contracts/interfaces/IInferencePayments.sol";
import {Actor} from "../../../contracts/mocks/Receivers.sol";

/// @notice InferencePayments against hostile tokens and receivers: deposits and withdrawals.
contract PaymentsHostileTest is HostileSuite {
    function target() internal view override returns (address) {
        return address(payments);
    }

    function payInCall(Actor who) internal pure override returns (bytes memory) {
        return abi.encodeCall(IInferencePayments.deposit, (address(who), address(0x5E44E4), 50, AMOUNT));
    }

    function _channel(Actor who) private view returns (bytes32) {
        return payments.channelIdOf(address(who), address(0x5E44E4), 50);
    }

    function ripen() internal override {
        hostile.act(address(payments), 0, abi.encodeCall(IInferencePayments.requestWithdrawal, (_channel(hostile), AMOUNT)));
        other.act(address(payments), 0, abi.encodeCall(IInferencePayments.requestWithdrawal, (_channel(other), AMOUNT)));
        vm.warp(block.timestamp + 50);
    }

    function payOutCall(Actor who) internal view override returns (bytes memory) {
        return abi.encodeCall(IInferencePayments.withdraw, (_channel(who)));
    }
}
