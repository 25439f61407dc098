// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "./Base.sol";
import {VoucherClaim} from "../../../contracts/interfaces/Types.sol";

/// @notice A payer with a key, a server, and the steps between them.
abstract contract PaymentSteps is Base {
    uint256 internal constant PAYER_KEY = 0xFACE;
    address internal payer;
    address internal server = address(0x5E44E4);

    function arrange() internal virtual override {
        super.arrange();
        payer = vm.addr(PAYER_KEY);
    }

    function _deposit(address who, uint64 delay, uint256 amount) internal returns (bytes32) {
        uint256 value = ready(alice, address(payments), amount);
        vm.prank(alice);
        return payments.deposit{value: value}(who, server, delay, amount);
    }

    function _sign(uint256 key, bytes32 id, uint256 cumulative) internal view returns (VoucherClaim memory) {
        bytes32 hash = keccak256(abi.encode(keccak256("Voucher(bytes32 channelId,uint256 cumulative)"), id, cumulative));
        return VoucherClaim(id, cumulative, cumulative, signWith(key, typed(address(payments), hash)));
    }

    function _settle(VoucherClaim memory c) internal {
        VoucherClaim[] memory claims = new VoucherClaim[](1);
        claims[0] = c;
        vm.prank(server);
        payments.settle(claims);
    }

    function _refused(VoucherClaim memory c, bytes memory with) internal {
        VoucherClaim[] memory claims = new VoucherClaim[](1);
        claims[0] = c;
        vm.prank(server);
        vm.expectRevert(with);
        payments.settle(claims);
    }

    function _voucherDigest(bytes32 id, uint256 cumulative) internal view returns (bytes32) {
        return typed(
            address(payments), keccak256(abi.encode(keccak256("Voucher(bytes32 channelId,uint256 cumulative)"), id, cumulative))
        );
    }
}
