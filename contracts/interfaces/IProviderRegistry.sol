// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Provider} from "./Types.sol";

/// @title IProviderRegistry
/// @notice Stable indices of compute providers with their keys, stakes and bans. An account registers once; account and index
/// never change and are never reused; a signing key belongs to one index for good.
interface IProviderRegistry {
    error NotOracle();
    error NotDisputes();
    error ZeroAddress();
    error ZeroAmount();
    error AlreadyRegistered(uint32 index);
    error KeyTaken(address signingKey);
    error PeerTooLong(uint256 length);
    error StakeTooLow(uint256 required);
    error RegistryFull();
    error UnknownProvider();
    error AlreadyExited();
    error NotExited();
    error StakeLocked();
    error BanNotLonger(uint64 bannedUntil);

    event ProviderRegistered(
        uint32 indexed index, address indexed account, address signingKey, address payout, string peer, uint256 stake
    );
    event KeyRotated(uint32 indexed index, address signingKey);
    event PayoutChanged(uint32 indexed index, address payout);
    event PeerChanged(uint32 indexed index, string peer);
    event StakeAdded(uint32 indexed index, uint256 amount, uint256 stake);
    event Banned(uint32 indexed index, bytes32 evidenceSha256, uint64 until);
    event Slashed(uint32 indexed index, uint256 amount);
    event ExitRequested(uint32 indexed index, uint64 exitAt);
    event StakeWithdrawn(uint32 indexed index, uint256 amount);

    /*//////////////////////////////////////////////////////////////
                               PROVIDERS
    //////////////////////////////////////////////////////////////*/

    /// @notice Registers the caller at the next index. `stake` is at least the run's provider stake.
    function register(address signingKey, address payout, string calldata peer, uint256 stake)
        external
        payable
        returns (uint32 index);
    function rotateKey(address signingKey) external;
    function setPayout(address payout) external;
    function setPeer(string calldata peer) external;
    function addStake(uint256 amount) external payable;
    /// @notice Announces that the caller leaves. Its stake stays slashable until it is withdrawn.
    function exit() external;
    /// @notice Pays the stake back to the account.
    /// @dev Allowed once an epoch `settledEpoch`, not before the one in which the caller left, has been final for a dispute
    /// period; or a dispute period after the run's last settlement; or at once if the campaign failed; and only while no
    /// challenge against the index is open.
    function withdrawStake(uint64 settledEpoch) external;

    /*//////////////////////////////////////////////////////////////
                            ORACLE, DISPUTES
    //////////////////////////////////////////////////////////////*/

    /// @notice Records a ban that ends later than any before it. Only the oracle.
    function ban(uint32 index, bytes32 evidenceSha256, uint64 until) external;
    /// @notice Counts challenges that are open against an index. Only the disputes contract.
    function setChallenged(uint32 index, bool open) external;
    /// @notice Takes the whole stake: a tenth is paid out to `challenger`, the rest to the capital pool. Only the disputes contract.
    function slash(uint32 index, address challenger) external returns (uint256 amount);

    /*//////////////////////////////////////////////////////////////
                                 VIEWS
    //////////////////////////////////////////////////////////////*/

    function providerCount() external view returns (uint32);
    function providerAt(uint32 index) external view returns (Provider memory);
    function accountOf(uint32 index) external view returns (address);
    function payoutOf(uint32 index) external view returns (address);
    /// @notice Reverts `UnknownProvider` for an account that never registered.
    function indexOf(address account) external view returns (uint32);
    function indexOfKey(address signingKey) external view returns (uint32);
    function isBanned(uint32 index) external view returns (bool);
    function openChallenges(uint32 index) external view returns (uint32);
}
