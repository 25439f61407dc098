// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {IInferencePayments} from "./interfaces/IInferencePayments.sol";
import {IRevenueDistributor} from "./interfaces/IRevenueDistributor.sol";
import {Channel, VoucherClaim} from "./interfaces/Types.sol";
import {Assets} from "./libraries/Assets.sol";
import {Eip712} from "./libraries/Eip712.sol";
import {RunConstants} from "./libraries/RunConstants.sol";

/// @title InferencePayments
/// @notice Channels and cumulative vouchers of one run.
contract InferencePayments is IInferencePayments {
    uint256 internal constant BPS = 10_000;
    bytes32 internal constant CHANNEL_TAG = keccak256("commonweight.channel.v1");
    bytes32 internal constant VOUCHER_TYPEHASH = keccak256("Voucher(bytes32 channelId,uint256 cumulative)");

    struct Entry {
        address payer;
        uint64 delay;
        address server;
        uint64 withdrawalAt;
        uint128 deposited;
        uint128 settled;
        uint256 withdrawalAmount;
    }

    mapping(bytes32 => Entry) internal _channels;
    mapping(address => uint256) public serverOwed;

    /*//////////////////////////////////////////////////////////////
                                CHANNELS
    //////////////////////////////////////////////////////////////*/

    function deposit(address payer, address server, uint64 delay, uint256 amount) external payable returns (bytes32 channelId) {
        Assets.take(RunConstants.asset(), amount);
        if (amount == 0) revert ZeroAmount();
        if (payer == address(0) || server == address(0)) revert ZeroAddress();
        uint64 minimum = RunConstants.withdrawalDelay();
        if (delay < minimum || delay >= 1 << 40) revert DelayOutOfRange(minimum);
        channelId = channelIdOf(payer, server, delay);
        Entry storage entry = _channels[channelId];
        if (entry.payer == address(0)) {
            entry.payer = payer;
            entry.delay = delay;
            entry.server = server;
        }
        uint256 deposited = entry.deposited + amount;
        if (deposited >= 1 << 127) revert ChannelFull();
        entry.deposited = uint128(deposited);
        emit ChannelFunded(channelId, payer, server, delay, amount, deposited);
    }

    function requestWithdrawal(bytes32 channelId, uint256 amount) external {
        Entry storage entry = _ofPayer(channelId);
        if (amount == 0) revert ZeroAmount();
        uint64 at = uint64(block.timestamp) + entry.delay;
        entry.withdrawalAmount = amount;
        entry.withdrawalAt = at;
        emit WithdrawalRequested(channelId, amount, at);
    }

    function cancelWithdrawal(bytes32 channelId) external {
        Entry storage entry = _ofPayer(channelId);
        if (entry.withdrawalAt == 0) revert NoWithdrawal();
        entry.withdrawalAmount = 0;
        entry.withdrawalAt = 0;
        emit WithdrawalCancelled(channelId);
    }

    function withdraw(bytes32 channelId) external {
        Entry storage entry = _ofPayer(channelId);
        if (entry.withdrawalAt == 0) revert NoWithdrawal();
        if (block.timestamp < entry.withdrawalAt) revert WithdrawalNotDue(entry.withdrawalAt);
        uint256 left = entry.deposited - entry.settled;
        uint256 amount = entry.withdrawalAmount < left ? entry.withdrawalAmount : left;
        entry.deposited -= uint128(amount);
        entry.withdrawalAmount = 0;
        entry.withdrawalAt = 0;
        emit Withdrawn(channelId, amount);
        if (amount != 0) Assets.give(RunConstants.asset(), msg.sender, amount);
    }

    function _ofPayer(bytes32 channelId) internal view returns (Entry storage entry) {
        entry = _channels[channelId];
        if (entry.payer != msg.sender) revert NotPayer();
    }

    /*//////////////////////////////////////////////////////////////
                                VOUCHERS
    //////////////////////////////////////////////////////////////*/

    function settle(VoucherClaim[] calldata claims) external {
        uint256 total = 0;
        for (uint256 i = 0; i < claims.length; ++i) {
            total += _settleOne(i, claims[i]);
        }
        if (total == 0) revert ZeroAmount();
        uint256 cut = total * RunConstants.serverBps() / BPS;
        uint256 revenue = total - cut;
        serverOwed[msg.sender] += cut;
        emit ServerCredited(msg.sender, cut, revenue);
        if (revenue != 0) {
            address distributor = RunConstants.distributor();
            uint256 value = Assets.ready(RunConstants.asset(), distributor, revenue);
            IRevenueDistributor(distributor).payRevenue{value: value}(revenue);
        }
    }

    function claimServer(address server) external {
        uint256 amount = serverOwed[server];
        if (amount == 0) revert NothingDue();
        serverOwed[server] = 0;
        emit ServerPaid(server, amount);
        Assets.give(RunConstants.asset(), server, amount);
    }

    function _settleOne(uint256 position, VoucherClaim calldata claim) internal returns (uint256 amount) {
        Entry storage entry = _channels[claim.channelId];
        (address payer, uint64 delay) = (entry.payer, entry.delay);
        // The identifier names the server, so that its slot need not be read.
        if (payer == address(0) || channelIdOf(payer, msg.sender, delay) != claim.channelId) revert NotServer(position);
        (uint256 settled, uint256 deposited) = (entry.settled, entry.deposited);
        if (claim.amount <= settled) revert VoucherNotNew(position, settled);
        if (claim.amount > claim.cumulative) revert AmountExceedsVoucher(position, claim.cumulative);
        if (claim.amount > deposited) revert VoucherExceedsDeposit(position, deposited);
        (address signer, ECDSA.RecoverError failure,) =
            ECDSA.tryRecoverCalldata(voucherHash(claim.channelId, claim.cumulative), claim.signature);
        if (failure != ECDSA.RecoverError.NoError || signer != payer) revert BadSignature(position);
        entry.settled = uint128(claim.amount);
        amount = claim.amount - settled;
        emit VoucherSettled(claim.channelId, claim.amount, amount);
    }

    /*//////////////////////////////////////////////////////////////
                                 VIEWS
    //////////////////////////////////////////////////////////////*/

    function channel(bytes32 channelId) external view returns (Channel memory) {
        Entry memory entry = _channels[channelId];
        return Channel({
            payer: entry.payer,
            server: entry.server,
            delay: entry.delay,
            withdrawalAt: entry.withdrawalAt,
            deposited: entry.deposited,
            settled: entry.settled,
            withdrawalAmount: entry.withdrawalAmount
        });
    }

    function channelIdOf(address payer, address server, uint64 delay) public view returns (bytes32) {
        return keccak256(abi.encode(CHANNEL_TAG, payer, server, RunConstants.asset(), delay));
    }

    function voucherHash(bytes32 channelId, uint256 cumulative) public view returns (bytes32) {
        return Eip712.digest(keccak256(abi.encode(VOUCHER_TYPEHASH, channelId, cumulative)));
    }
}
