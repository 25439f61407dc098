// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Channel, VoucherClaim} from "./Types.sol";

/// @title IInferencePayments
/// @notice Channels from payers to servers and cumulative vouchers on them. A server settles many payers in one transaction; its
/// cut is the run's parameter, the rest goes to the distributor.
/// Assumptions: payers sign with an externally owned key; the asset neither rebases nor charges on transfer.
interface IInferencePayments {
    error ZeroAmount();
    error ZeroAddress();
    error DelayOutOfRange(uint64 minimum);
    error ChannelFull();
    error NotPayer();
    error NotServer(uint256 position);
    error BadSignature(uint256 position);
    error VoucherNotNew(uint256 position, uint256 settled);
    error AmountExceedsVoucher(uint256 position, uint256 cumulative);
    error VoucherExceedsDeposit(uint256 position, uint256 deposited);
    error NoWithdrawal();
    error WithdrawalNotDue(uint64 at);
    error NothingDue();

    event ChannelFunded(
        bytes32 indexed channelId, address indexed payer, address indexed server, uint64 delay, uint256 amount, uint256 deposited
    );
    event VoucherSettled(bytes32 indexed channelId, uint256 cumulative, uint256 amount);
    event ServerCredited(address indexed server, uint256 amount, uint256 revenue);
    event ServerPaid(address indexed server, uint256 amount);
    event WithdrawalRequested(bytes32 indexed channelId, uint256 amount, uint64 at);
    event WithdrawalCancelled(bytes32 indexed channelId);
    event Withdrawn(bytes32 indexed channelId, uint256 amount);

    /// @notice Funds the channel from `payer` to `server` whose withdrawals wait `delay` seconds, opening it if need be.
    function deposit(address payer, address server, uint64 delay, uint256 amount) external payable returns (bytes32 channelId);

    /// @notice Settles vouchers on channels of the calling server: each up to its claim's `amount`, which the voucher's ceiling
    /// and the deposit must cover. A bad claim reverts with its position.
    function settle(VoucherClaim[] calldata claims) external;

    /// @notice Pays a server's cut to its own address. Anyone.
    function claimServer(address server) external;

    /// @notice Starts the withdrawal of `amount`, due after the channel's delay; replaces one under way. Only the payer.
    function requestWithdrawal(bytes32 channelId, uint256 amount) external;
    function cancelWithdrawal(bytes32 channelId) external;
    /// @notice Pays a due withdrawal to the payer, as far as vouchers have left it. Only the payer.
    function withdraw(bytes32 channelId) external;

    function channel(bytes32 channelId) external view returns (Channel memory);
    function channelIdOf(address payer, address server, uint64 delay) external view returns (bytes32);
    /// @notice The EIP-712 digest that a payer signs.
    function voucherHash(bytes32 channelId, uint256 cumulative) external view returns (bytes32);
    function serverOwed(address server) external view returns (uint256);
}
