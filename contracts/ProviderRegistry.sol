// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Dues} from "./Dues.sol";
import {ICampaign} from "./interfaces/ICampaign.sol";
import {ICreditLedger} from "./interfaces/ICreditLedger.sol";
import {ICreditOracle} from "./interfaces/ICreditOracle.sol";
import {IProviderRegistry} from "./interfaces/IProviderRegistry.sol";
import {Provider} from "./interfaces/Types.sol";
import {Assets} from "./libraries/Assets.sol";
import {RunConstants} from "./libraries/RunConstants.sol";

/// @title ProviderRegistry
/// @notice Stable indices of compute providers with keys, stakes, unbonding and bans.
contract ProviderRegistry is IProviderRegistry, Dues {
    /// @dev A game over this many indices takes at most four answers of five levels.
    uint256 internal constant MAX_PROVIDERS = 1 << 20;
    uint256 internal constant MAX_PEER_BYTES = 512;

    struct Entry {
        address account;
        uint40 registeredAt;
        address signingKey;
        uint40 exitAt;
        uint32 openChallenges;
        address payout;
        uint64 bannedUntil;
        uint128 stake;
        string peer;
    }

    uint32 public providerCount;
    mapping(uint32 => Entry) internal _entries;
    mapping(address => uint256) internal _positionOf;
    mapping(address => uint256) internal _positionOfKey;

    /*//////////////////////////////////////////////////////////////
                               PROVIDERS
    //////////////////////////////////////////////////////////////*/

    function register(address signingKey, address payout, string calldata peer, uint256 stake)
        external
        payable
        returns (uint32 index)
    {
        Assets.take(RunConstants.asset(), stake);
        uint256 minimum = RunConstants.providerStake();
        if (stake < minimum) revert StakeTooLow(minimum);
        if (_positionOf[msg.sender] != 0) revert AlreadyRegistered(uint32(_positionOf[msg.sender] - 1));
        index = providerCount;
        if (index >= MAX_PROVIDERS) revert RegistryFull();
        providerCount = index + 1;
        _positionOf[msg.sender] = uint256(index) + 1;
        _takeKey(index, signingKey);
        _checkPayout(payout);
        _checkPeer(peer);
        Entry storage entry = _entries[index];
        entry.account = msg.sender;
        entry.registeredAt = uint40(block.timestamp);
        entry.signingKey = signingKey;
        entry.payout = payout;
        entry.stake = SafeCast.toUint128(stake);
        entry.peer = peer;
        emit ProviderRegistered(index, msg.sender, signingKey, payout, peer, stake);
    }

    function rotateKey(address signingKey) external {
        uint32 index = indexOf(msg.sender);
        _takeKey(index, signingKey);
        _entries[index].signingKey = signingKey;
        emit KeyRotated(index, signingKey);
    }

    function setPayout(address payout) external {
        uint32 index = indexOf(msg.sender);
        _checkPayout(payout);
        _entries[index].payout = payout;
        emit PayoutChanged(index, payout);
    }

    function setPeer(string calldata peer) external {
        uint32 index = indexOf(msg.sender);
        _checkPeer(peer);
        _entries[index].peer = peer;
        emit PeerChanged(index, peer);
    }

    function addStake(uint256 amount) external payable {
        Assets.take(RunConstants.asset(), amount);
        uint32 index = indexOf(msg.sender);
        if (amount == 0) revert ZeroAmount();
        if (_entries[index].exitAt != 0) revert AlreadyExited();
        uint128 stake = _entries[index].stake + SafeCast.toUint128(amount);
        _entries[index].stake = stake;
        emit StakeAdded(index, amount, stake);
    }

    function exit() external {
        uint32 index = indexOf(msg.sender);
        if (_entries[index].exitAt != 0) revert AlreadyExited();
        _entries[index].exitAt = uint40(block.timestamp);
        emit ExitRequested(index, uint64(block.timestamp));
    }

    function withdrawStake(uint64 settledEpoch) external {
        uint32 index = indexOf(msg.sender);
        Entry storage entry = _entries[index];
        if (entry.exitAt == 0) revert NotExited();
        if (entry.openChallenges != 0 || !_unbonded(entry.exitAt, settledEpoch)) revert StakeLocked();
        uint256 amount = entry.stake;
        if (amount == 0) revert ZeroAmount();
        entry.stake = 0;
        emit StakeWithdrawn(index, amount);
        Assets.give(RunConstants.asset(), msg.sender, amount);
    }

    function _takeKey(uint32 index, address signingKey) internal {
        if (signingKey == address(0)) revert ZeroAddress();
        if (_positionOfKey[signingKey] != 0) revert KeyTaken(signingKey);
        _positionOfKey[signingKey] = uint256(index) + 1;
    }

    function _checkPayout(address payout) internal pure {
        if (payout == address(0)) revert ZeroAddress();
    }

    function _checkPeer(string calldata peer) internal pure {
        if (bytes(peer).length > MAX_PEER_BYTES) revert PeerTooLong(bytes(peer).length);
    }

    /// @dev Work of the epoch in which the provider left is credited in that epoch's report or, were that void, in the next final one.
    function _unbonded(uint256 exitAt, uint64 settledEpoch) internal view returns (bool) {
        if (ICampaign(RunConstants.campaign()).failed()) return true;
        uint256 period = RunConstants.disputePeriod();
        uint256 finishedAt = ICreditOracle(RunConstants.oracle()).finishedAt();
        if (finishedAt != 0 && block.timestamp >= finishedAt + period) return true;
        uint256 start = RunConstants.epochStart();
        uint256 exitEpoch = exitAt < start ? 0 : (exitAt - start) / RunConstants.epochLength();
        uint256 finalAt = ICreditLedger(RunConstants.ledger()).finalAt(settledEpoch);
        return settledEpoch >= exitEpoch && finalAt != 0 && block.timestamp >= finalAt + period;
    }

    /*//////////////////////////////////////////////////////////////
                            ORACLE, DISPUTES
    //////////////////////////////////////////////////////////////*/

    function ban(uint32 index, bytes32 evidenceSha256, uint64 until) external {
        if (msg.sender != RunConstants.oracle()) revert NotOracle();
        if (index >= providerCount) revert UnknownProvider();
        uint64 bannedUntil = _entries[index].bannedUntil;
        if (until <= bannedUntil || until <= block.timestamp) revert BanNotLonger(bannedUntil);
        _entries[index].bannedUntil = until;
        emit Banned(index, evidenceSha256, until);
    }

    function setChallenged(uint32 index, bool open) external {
        if (msg.sender != RunConstants.disputes()) revert NotDisputes();
        if (open) ++_entries[index].openChallenges;
        else --_entries[index].openChallenges;
    }

    function slash(uint32 index, address challenger) external returns (uint256 amount) {
        if (msg.sender != RunConstants.disputes()) revert NotDisputes();
        amount = _entries[index].stake;
        _entries[index].stake = 0;
        _share(amount, challenger);
        emit Slashed(index, amount);
    }

    /*//////////////////////////////////////////////////////////////
                                 VIEWS
    //////////////////////////////////////////////////////////////*/

    function providerAt(uint32 index) external view returns (Provider memory) {
        if (index >= providerCount) revert UnknownProvider();
        Entry storage entry = _entries[index];
        return Provider({
            account: entry.account,
            signingKey: entry.signingKey,
            payout: entry.payout,
            registeredAt: entry.registeredAt,
            exitAt: entry.exitAt,
            bannedUntil: entry.bannedUntil,
            stake: entry.stake,
            peer: entry.peer
        });
    }

    function accountOf(uint32 index) external view returns (address) {
        return _entries[index].account;
    }

    function payoutOf(uint32 index) external view returns (address) {
        return _entries[index].payout;
    }

    function indexOf(address account) public view returns (uint32) {
        uint256 position = _positionOf[account];
        if (position == 0) revert UnknownProvider();
        return uint32(position - 1);
    }

    function indexOfKey(address signingKey) external view returns (uint32) {
        uint256 position = _positionOfKey[signingKey];
        if (position == 0) revert UnknownProvider();
        return uint32(position - 1);
    }

    function isBanned(uint32 index) external view returns (bool) {
        return _entries[index].bannedUntil > block.timestamp;
    }

    function openChallenges(uint32 index) external view returns (uint32) {
        return _entries[index].openChallenges;
    }
}
