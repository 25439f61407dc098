// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {HostileSuite} from "../support/HostileSuite.sol";
import {IInferencePayments} from "../../../contracts/interfaces/IInferencePayments.sol";
import {VoucherClaim} from "../../../contracts/interfaces/Types.sol";
import {Actor} from "../../../contracts/mocks/Receivers.sol";

/// @notice InferencePayments against hostile tokens and receivers: servers' cuts.
contract PaymentsHostileServerTest is HostileSuite {
    uint256 internal constant KEY = 0xFACE;

    function target() internal view override returns (address) {
        return address(payments);
    }

    function before_() internal override {
        fund(alice, GOAL);
        vm.warp(T0 + 100);
    }

    function payInCall(Actor who) internal pure override returns (bytes memory) {
        return abi.encodeCall(IInferencePayments.deposit, (vm.addr(KEY), address(who), 50, AMOUNT));
    }

    function ripen() internal override {
        _settle(hostile);
        _settle(other);
    }

    function _settle(Actor server) private {
        bytes32 id = payments.channelIdOf(vm.addr(KEY), address(server), 50);
        VoucherClaim[] memory claims = new VoucherClaim[](1);
        claims[0] = VoucherClaim(id, AMOUNT, AMOUNT, signWith(KEY, payments.voucherHash(id, AMOUNT)));
        server.act(address(payments), 0, abi.encodeCall(IInferencePayments.settle, (claims)));
    }

    function payOutCall(Actor who) internal pure override returns (bytes memory) {
        return abi.encodeCall(IInferencePayments.claimServer, (address(who)));
    }
}
