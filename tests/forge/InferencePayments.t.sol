// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "./Base.sol";
import {ICampaign} from "../../contracts/interfaces/ICampaign.sol";
import {IInferencePayments} from "../../contracts/interfaces/IInferencePayments.sol";
import {Channel, RunParams, VoucherClaim} from "../../contracts/interfaces/Types.sol";
import {PlainToken} from "../../contracts/mocks/Tokens.sol";

/// @notice InferencePayments: channels, vouchers, withdrawals.
contract PaymentsTest is Base {
    uint256 internal constant PAYER_KEY = 0xFACE;
    address internal payer;
    address internal server = address(0x5E44E4);

    function setUp() public virtual override {
        super.setUp();
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

    function test_channelIsNamedByPayerServerAssetDelay() public {
        bytes32 id = _deposit(payer, 50, 1_000);
        eq(id, keccak256(abi.encode(keccak256("commonweight.channel.v1"), payer, server, asset, uint64(50))), "id");
        _deposit(payer, 50, 500);
        eq(id, payments.channelIdOf(payer, server, 50), "id by the view");
        Channel memory c = payments.channel(id);
        eq(c.deposited, 1_500, "deposited");
        eq(c.payer, payer, "payer");
        eq(c.server, server, "server");
        eq(c.delay, 50, "delay");
        ok(_deposit(payer, 51, 1) != id, "another delay is another channel");
    }

    function test_depositRefuses() public {
        vm.expectRevert(IInferencePayments.ZeroAmount.selector);
        payments.deposit(payer, server, 50, 0);
        uint256 value = ready(alice, address(payments), 1);
        vm.startPrank(alice);
        vm.expectRevert(IInferencePayments.ZeroAddress.selector);
        payments.deposit{value: value}(address(0), server, 50, 1);
        vm.expectRevert(IInferencePayments.ZeroAddress.selector);
        payments.deposit{value: value}(payer, address(0), 50, 1);
        vm.expectRevert(abi.encodeWithSelector(IInferencePayments.DelayOutOfRange.selector, 50));
        payments.deposit{value: value}(payer, server, 49, 1);
        vm.expectRevert(abi.encodeWithSelector(IInferencePayments.DelayOutOfRange.selector, 50));
        payments.deposit{value: value}(payer, server, 1 << 40, 1);
        vm.stopPrank();
        value = ready(alice, address(payments), 1 << 127);
        vm.prank(alice);
        vm.expectRevert(IInferencePayments.ChannelFull.selector);
        payments.deposit{value: value}(payer, server, 50, 1 << 127);
    }

    function test_settlePaysServerAndDistributor() public {
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
    function test_settleBelowTheCeiling() public {
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

    function test_settleManyPayersAtOnce() public {
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

    function test_badVouchersNameTheirPosition() public {
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

    /// A voucher is good on one chain, for one run and one channel.
    function test_voucherDoesNotReplay() public {
        launch(1);
        bytes32 id = _deposit(payer, 50, 1_000);
        VoucherClaim memory c = _sign(PAYER_KEY, id, 10);
        vm.chainId(777);
        _refused(c, abi.encodeWithSelector(IInferencePayments.BadSignature.selector, 0));
        vm.chainId(31_337);
        bytes32 other = _deposit(payer, 60, 1_000);
        VoucherClaim memory moved = VoucherClaim(other, c.cumulative, c.amount, c.signature);
        _refused(moved, abi.encodeWithSelector(IInferencePayments.BadSignature.selector, 0));
        eq(payments.voucherHash(id, 10), _voucherDigest(id, 10), "EIP-712");
    }

    function _voucherDigest(bytes32 id, uint256 cumulative) internal view returns (bytes32) {
        return typed(
            address(payments), keccak256(abi.encode(keccak256("Voucher(bytes32 channelId,uint256 cumulative)"), id, cumulative))
        );
    }

    function test_noSettlementBeforeTheCampaignSucceeded() public {
        bytes32 id = _deposit(payer, 50, 1_000);
        _refused(_sign(PAYER_KEY, id, 10), abi.encodeWithSelector(ICampaign.DepositsOpen.selector));
    }

    function test_withdrawalWaitsAndLeavesVouchersAlone() public {
        launch(1);
        bytes32 id = _deposit(payer, 50, 1_000);
        vm.prank(bob);
        vm.expectRevert(IInferencePayments.NotPayer.selector);
        payments.requestWithdrawal(id, 1);
        vm.startPrank(payer);
        vm.expectRevert(IInferencePayments.NoWithdrawal.selector);
        payments.withdraw(id);
        vm.expectRevert(IInferencePayments.NoWithdrawal.selector);
        payments.cancelWithdrawal(id);
        vm.expectRevert(IInferencePayments.ZeroAmount.selector);
        payments.requestWithdrawal(id, 0);
        payments.requestWithdrawal(id, 900);
        uint256 at = block.timestamp + 50;
        eq(payments.channel(id).withdrawalAt, at, "due");
        vm.warp(at - 1);
        vm.expectRevert(abi.encodeWithSelector(IInferencePayments.WithdrawalNotDue.selector, at));
        payments.withdraw(id);
        vm.stopPrank();
        _settle(_sign(PAYER_KEY, id, 300));
        vm.warp(at);
        vm.prank(payer);
        payments.withdraw(id);
        eq(balance(payer), 700, "what vouchers have left");
        eq(payments.channel(id).deposited, 300, "deposited");
        vm.prank(payer);
        vm.expectRevert(IInferencePayments.NoWithdrawal.selector);
        payments.withdraw(id);
        _refused(_sign(PAYER_KEY, id, 301), abi.encodeWithSelector(IInferencePayments.VoucherExceedsDeposit.selector, 0, 300));
        _deposit(payer, 50, 10);
        _settle(_sign(PAYER_KEY, id, 301));
    }

    function test_withdrawalRestartsAndCancels() public {
        bytes32 id = _deposit(payer, 50, 1_000);
        vm.startPrank(payer);
        payments.requestWithdrawal(id, 10);
        vm.warp(block.timestamp + 40);
        payments.requestWithdrawal(id, 20);
        vm.warp(block.timestamp + 10);
        vm.expectPartialRevert(IInferencePayments.WithdrawalNotDue.selector);
        payments.withdraw(id);
        payments.cancelWithdrawal(id);
        vm.warp(block.timestamp + 100);
        vm.expectRevert(IInferencePayments.NoWithdrawal.selector);
        payments.withdraw(id);
        vm.stopPrank();
    }

    function test_allVouchersSpentLeavesNothingToWithdraw() public {
        launch(1);
        bytes32 id = _deposit(payer, 50, 1_000);
        vm.prank(payer);
        payments.requestWithdrawal(id, 1_000);
        _settle(_sign(PAYER_KEY, id, 1_000));
        vm.warp(block.timestamp + 50);
        vm.prank(payer);
        payments.withdraw(id);
        eq(balance(payer), 0, "nothing");
    }

    function test_serverMayTakeAll() public {
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
    function test_splitIsWhole(uint64[6] memory steps) public {
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

contract PaymentsTokenTest is PaymentsTest {
    function setUp() public override {
        asset = address(new PlainToken());
        super.setUp();
    }
}
