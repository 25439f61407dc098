// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {PaymentSteps} from "../support/PaymentSteps.sol";
import {ICampaign} from "../../../contracts/interfaces/ICampaign.sol";
import {IInferencePayments} from "../../../contracts/interfaces/IInferencePayments.sol";
import {RunParams, VoucherClaim} from "../../../contracts/interfaces/Types.sol";

/// @notice InferencePayments.settle: cumulative vouchers, many payers at once.
contract PaymentsSettleTest is PaymentSteps {
    function test_settlePaysServerAndDistributor() public eachAsset {
        launch(1);
        bytes32 id = _deposit(payer, 50, 1_000);
        _settle(_sign(PAYER_KEY, id, 333));
        eq(payments.serverOwed(server), 66, "20 % rounded down");
        eq(distributor.capitalReceived() + distributor.computeReceived(), 267, "the rest");
        _settle(_sign(PAYER_KEY, id, 1_000));
        eq(payments.channel(id).settled, 1_000, "cumulative");
        payments.claimServer(server);
        eq(balance(server), 66 + 133, "paid");
        eq(balance(address(payments)), 0, "nothing left");
        vm.expectRevert(IInferencePayments.NothingDue.selector);
        payments.claimServer(server);
    }

    /// The payer signs a ceiling; the server settles what it charged under it, and more later by the same voucher.
    function test_settleBelowTheCeiling() public eachAsset {
        launch(1);
        bytes32 id = _deposit(payer, 50, 1_000);
        VoucherClaim memory c = _sign(PAYER_KEY, id, 5_000);
        c.amount = 100;
        _settle(c);
        eq(payments.channel(id).settled, 100, "the amount");
        c.amount = 150;
        _settle(c);
        eq(payments.channel(id).settled, 150, "more under the same ceiling");
        c.amount = 1_001;
        _refused(c, abi.encodeWithSelector(IInferencePayments.VoucherExceedsDeposit.selector, 0, 1_000));
        c = _sign(PAYER_KEY, id, 200);
        c.amount = 201;
        _refused(c, abi.encodeWithSelector(IInferencePayments.AmountExceedsVoucher.selector, 0, 200));
        c.amount = 150;
        _refused(c, abi.encodeWithSelector(IInferencePayments.VoucherNotNew.selector, 0, 150));
    }

    function test_settleManyPayersAtOnce() public eachAsset {
        launch(1);
        VoucherClaim[] memory claims = new VoucherClaim[](10);
        for (uint256 i = 0; i < 10; ++i) {
            bytes32 id = _deposit(vm.addr(0xAA00 + i), 50, 1_000);
            claims[i] = _sign(0xAA00 + i, id, 100 + i);
        }
        vm.prank(server);
        payments.settle(claims);
        eq(payments.serverOwed(server), 209, "20 % of 1045");
        vm.prank(server);
        vm.expectRevert(abi.encodeWithSelector(IInferencePayments.VoucherNotNew.selector, 0, 100));
        payments.settle(claims);
    }

    function test_badVouchersNameTheirPosition() public eachAsset {
        launch(1);
        bytes32 id = _deposit(payer, 50, 1_000);
        _settle(_sign(PAYER_KEY, id, 10));
        _refused(_sign(PAYER_KEY, id, 10), abi.encodeWithSelector(IInferencePayments.VoucherNotNew.selector, 0, 10));
        _refused(_sign(PAYER_KEY, id, 1_001), abi.encodeWithSelector(IInferencePayments.VoucherExceedsDeposit.selector, 0, 1_000));
        _refused(_sign(0xBAD, id, 11), abi.encodeWithSelector(IInferencePayments.BadSignature.selector, 0));
        VoucherClaim memory c = _sign(PAYER_KEY, id, 11);
        c.signature = hex"1234";
        _refused(c, abi.encodeWithSelector(IInferencePayments.BadSignature.selector, 0));
        _refused(_sign(PAYER_KEY, keccak256("none"), 11), abi.encodeWithSelector(IInferencePayments.NotServer.selector, 0));
        bytes32 nobodys = payments.channelIdOf(address(0), server, 0);
        _refused(_sign(PAYER_KEY, nobodys, 11), abi.encodeWithSelector(IInferencePayments.NotServer.selector, 0));
        VoucherClaim[] memory claims = new VoucherClaim[](2);
        claims[0] = _sign(PAYER_KEY, id, 11);
        claims[1] = claims[0];
        vm.prank(server);
        vm.expectRevert(abi.encodeWithSelector(IInferencePayments.VoucherNotNew.selector, 1, 11));
        payments.settle(claims);
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(IInferencePayments.NotServer.selector, 0));
        payments.settle(claims);
        vm.expectRevert(IInferencePayments.ZeroAmount.selector);
        payments.settle(new VoucherClaim[](0));
    }

    function test_noSettlementBeforeTheCampaignSucceeded() public eachAsset {
        bytes32 id = _deposit(payer, 50, 1_000);
        _refused(_sign(PAYER_KEY, id, 10), abi.encodeWithSelector(ICampaign.DepositsOpen.selector));
    }

    function test_serverMayTakeAll() public eachAsset {
        RunParams memory p = defaultParams();
        p.serverBps = 10_000;
        createRun(p);
        launch(1);
        bytes32 id = _deposit(payer, 50, 1_000);
        _settle(_sign(PAYER_KEY, id, 1_000));
        eq(payments.serverOwed(server), 1_000, "all");
        eq(distributor.computeReceived() + distributor.capitalReceived(), 0, "no revenue");
    }

    /// However vouchers are cut, server and distributor together get the whole and no more.
    function test_splitIsWhole(uint64[6] memory steps) public eachAsset {
        launch(1);
        uint256 cumulative = 0;
        bytes32 id = _deposit(payer, 50, uint256(type(uint64).max) * 6);
        for (uint256 i = 0; i < 6; ++i) {
            cumulative += bound(steps[i], 1, type(uint64).max);
            _settle(_sign(PAYER_KEY, id, cumulative));
        }
        uint256 revenue = distributor.capitalReceived() + distributor.computeReceived();
        eq(payments.serverOwed(server) + revenue, cumulative, "whole");
        ok(payments.serverOwed(server) <= cumulative / 5, "never above the cut");
    }
}
