// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {ICampaign} from "./interfaces/ICampaign.sol";
import {ICreditLedger} from "./interfaces/ICreditLedger.sol";
import {IProviderRegistry} from "./interfaces/IProviderRegistry.sol";
import {IRevenueDistributor} from "./interfaces/IRevenueDistributor.sol";
import {Leaf, Revocation, Sibling} from "./interfaces/Types.sol";
import {Accumulator} from "./libraries/Accumulator.sol";
import {Assets} from "./libraries/Assets.sol";
import {RunConstants} from "./libraries/RunConstants.sol";
import {SumTree} from "./libraries/SumTree.sol";

/// @title RevenueDistributor
/// @notice Two pools, their accumulators and claims, each in constant time at any number of holders.
/// @dev `accCapital` follows from what was received and the fixed number of shares, so that it needs no storage and its
/// remainder is carried exactly. A payment writes one slot, a claim two.
contract RevenueDistributor is IRevenueDistributor {
    uint256 internal constant BPS = 10_000;
    uint256 internal constant SCALE_BITS = 64;
    uint256 internal constant POOL_LIMIT = 1 << 127;

    /// @dev What the pools received. Both stay below 2^127, so that two flags fit the same slot.
    struct Receipts {
        uint256 capital;
        uint256 compute;
        bool open;
        bool finished;
    }

    /// @dev The number of shares is fixed with the first receipt.
    struct CapitalPool {
        uint128 shares;
        uint128 paid;
    }

    /// @dev `allocated`: units that the accumulator or wages have given out. Both figures stay below 2^127, so that a flag fits the slot.
    struct ComputePool {
        uint256 allocated;
        uint256 paid;
        bool wagesMissing;
    }

    /// @dev `acc`: what a credit has earned since the first, scaled. `carry`: the scaled remainder, below one unit.
    struct Credited {
        uint192 acc;
        uint64 carry;
    }

    /// @dev A funder's shares are kept with the first claim: they are fixed by then, and later claims need not ask the campaign.
    struct CapitalAccount {
        uint128 shares;
        uint128 claimed;
    }

    struct ComputeAccount {
        uint128 claimed;
        uint128 debt;
    }

    uint256 internal _receipts;
    CapitalPool internal _capitalPool;
    uint256 internal _computePool;
    Credited internal _credited;
    mapping(address => CapitalAccount) internal _capital;
    mapping(uint32 => ComputeAccount) internal _compute;

    modifier onlyOracle() {
        if (msg.sender != RunConstants.oracle()) revert NotOracle();
        _;
    }

    /*//////////////////////////////////////////////////////////////
                                REVENUE
    //////////////////////////////////////////////////////////////*/

    function payRevenue(uint256 amount) external payable {
        Assets.take(RunConstants.asset(), amount);
        if (amount == 0) revert ZeroAmount();
        Receipts memory r = _opened();
        uint256 toCapital = amount * RunConstants.capitalBps() / BPS;
        uint256 live = 0;
        if (r.finished) {
            live = ICreditLedger(RunConstants.ledger()).liveCredits();
            if (live == 0) toCapital = amount;
        }
        uint256 toCompute = amount - toCapital;
        _receive(r, toCapital, toCompute);
        emit RevenueReceived(msg.sender, amount, toCapital, toCompute);
        if (live != 0) _distribute(r.compute, live);
    }

    function payCapital(uint256 amount) external payable {
        Assets.take(RunConstants.asset(), amount);
        if (amount == 0) revert ZeroAmount();
        _receive(_opened(), amount, 0);
        emit CapitalReceived(msg.sender, amount);
    }

    function receiveWages(uint256 amount, uint256 excess) external payable {
        if (msg.sender != RunConstants.campaign()) revert NotCampaign();
        Assets.take(RunConstants.asset(), amount);
        _receive(_load(), 0, amount);
        // Whole units of excess go back to what is pending.
        uint256 carry = _credited.carry + excess;
        ComputePool memory pool = _loadPool();
        pool.allocated += amount - (carry >> SCALE_BITS);
        // A token can make another epoch final while these arrive.
        pool.wagesMissing = ICampaign(msg.sender).wagesDue() != 0;
        _storePool(pool);
        _credited.carry = uint64(carry);
        emit WagesReceived(amount);
    }

    /// @dev The receipts, once the number of shares is fixed: it never changes after revenue is let in.
    function _opened() internal returns (Receipts memory r) {
        r = _load();
        if (r.open) return r;
        _capitalPool.shares = uint128(ICampaign(RunConstants.campaign()).totalShares());
        r.open = true;
    }

    function _receive(Receipts memory r, uint256 toCapital, uint256 toCompute) internal {
        r.capital += toCapital;
        r.compute += toCompute;
        if (r.capital >= POOL_LIMIT || r.compute >= POOL_LIMIT) revert PoolFull();
        _store(r);
    }

    /// @dev Gives all of the pool that is pending to `live` credits; what does not divide is carried, scaled.
    function _distribute(uint256 received, uint256 live) internal {
        Credited memory a = _credited;
        ComputePool memory pool = _loadPool();
        (uint256 gain, uint256 rest) = Accumulator.distribute(received - pool.allocated, a.carry, live);
        pool.allocated = received;
        _storePool(pool);
        a.acc += uint192(gain);
        a.carry = uint64(rest);
        _credited = a;
        emit Distributed(a.acc, a.carry);
    }

    function _load() internal view returns (Receipts memory r) {
        (r.capital, r.compute, r.open, r.finished) = _unpack(_receipts);
    }

    function _store(Receipts memory r) internal {
        _receipts = _pack(r.capital, r.compute, r.open, r.finished);
    }

    function _loadPool() internal view returns (ComputePool memory pool) {
        (pool.allocated, pool.paid, pool.wagesMissing,) = _unpack(_computePool);
    }

    function _storePool(ComputePool memory pool) internal {
        _computePool = _pack(pool.allocated, pool.paid, pool.wagesMissing, false);
    }

    /// @dev Two figures below 2^127 and two flags in one word.
    function _pack(uint256 low, uint256 high, bool lowFlag, bool highFlag) internal pure returns (uint256 word) {
        word = low | (high << 128);
        if (lowFlag) word |= POOL_LIMIT;
        if (highFlag) word |= POOL_LIMIT << 128;
    }

    function _unpack(uint256 word) internal pure returns (uint256 low, uint256 high, bool lowFlag, bool highFlag) {
        low = word & (POOL_LIMIT - 1);
        high = (word >> 128) & (POOL_LIMIT - 1);
        lowFlag = word & POOL_LIMIT != 0;
        highFlag = word >> 255 != 0;
    }

    /*//////////////////////////////////////////////////////////////
                                 CLAIMS
    //////////////////////////////////////////////////////////////*/

    function claimCapital(address funder) external {
        CapitalAccount memory account = _accountOf(funder);
        CapitalPool memory pool = _capitalPool;
        uint256 amount = _capitalDue(account, pool.shares);
        if (amount == 0) revert NothingDue();
        account.claimed += uint128(amount);
        pool.paid += uint128(amount);
        _capital[funder] = account;
        _capitalPool = pool;
        emit CapitalClaimed(funder, amount);
        Assets.give(RunConstants.asset(), funder, amount);
    }

    function claimCompute(uint64 epoch, Leaf calldata leaf, Sibling[] calldata proof) external {
        Revocation memory revocation;
        {
            bytes32 root;
            uint256 sum;
            uint8 depth;
            (root, sum, depth, revocation) = ICreditLedger(RunConstants.ledger()).claimBasis(epoch, leaf.index);
            if (!SumTree.containsLeaf(root, sum, depth, leaf, proof)) revert InvalidProof();
        }
        uint32 index = leaf.index;
        ComputeAccount memory account = _compute[index];
        ComputePool memory pool = _loadPool();
        if (pool.wagesMissing) revert WagesMissing();
        (uint256 due, uint256 debt) = _due(epoch, leaf, revocation, account, pool);
        if (due == 0) revert NothingDue();
        account.claimed += uint128(due);
        account.debt -= uint128(debt);
        pool.paid += due;
        _compute[index] = account;
        _storePool(pool);
        if (debt != 0) {
            _receive(_opened(), debt, 0);
            emit DebtPaid(index, debt);
        }
        uint256 amount = due - debt;
        address payout = IProviderRegistry(RunConstants.registry()).payoutOf(index);
        emit ComputeClaimed(index, payout, amount, epoch);
        if (amount != 0) Assets.give(RunConstants.asset(), payout, amount);
    }

    /// @dev Units due to an index by its leaf, and how many of them go to its debt. Never more than the pool has given out.
    function _due(
        uint64 epoch,
        Leaf calldata leaf,
        Revocation memory revocation,
        ComputeAccount memory account,
        ComputePool memory pool
    ) internal view returns (uint256 due, uint256 debt) {
        if (revocation.any && epoch < revocation.lastEpoch) revert RootTooOld(revocation.lastEpoch);
        uint256 acc = _credited.acc;
        uint256 wageLimit = (leaf.C * RunConstants.wagePerCredit()) << SCALE_BITS;
        if (leaf.C < revocation.credits || leaf.D > leaf.C * acc || leaf.W > wageLimit) revert LeafOutOfRange();
        uint256 earned = (leaf.C - revocation.credits) * acc + revocation.accWeighted + leaf.W;
        earned = Math.saturatingSub(earned, leaf.D) >> SCALE_BITS;
        due = Math.min(Math.saturatingSub(earned, account.claimed), pool.allocated - pool.paid);
        debt = Math.min(due, account.debt);
        // A full capital pool takes no debt; it waits, and so does what it is paid from.
        if (debt != 0 && debt + _load().capital >= POOL_LIMIT) (due, debt) = (due - debt, 0);
    }

    /*//////////////////////////////////////////////////////////////
                            ORACLE, DISPUTES
    //////////////////////////////////////////////////////////////*/

    function closeEpoch() external onlyOracle returns (uint256 acc) {
        uint256 received = _load().compute;
        if (received != _loadPool().allocated) {
            uint256 live = ICreditLedger(RunConstants.ledger()).liveCredits();
            if (live != 0) _distribute(received, live);
        }
        return _credited.acc;
    }

    /// @dev Must not fail, since the run's last settlement waits for it. Money that would overfill the capital pool stays pending.
    function finish() external onlyOracle {
        Receipts memory r = _load();
        r.finished = true;
        ComputePool memory pool = _loadPool();
        uint256 pending = r.compute - pool.allocated;
        uint256 live = pending == 0 ? 0 : ICreditLedger(RunConstants.ledger()).liveCredits();
        if (live == 0 && r.capital + pending < POOL_LIMIT) {
            r.capital += pending;
            pool.allocated = r.compute;
            pool.paid += pending;
            _storePool(pool);
            if (pending != 0) emit CapitalReceived(address(this), pending);
        }
        _store(r);
        if (live != 0) _distribute(r.compute, live);
    }

    function awaitWages() external onlyOracle {
        ComputePool memory pool = _loadPool();
        pool.wagesMissing = true;
        _storePool(pool);
    }

    /// @dev No debt needs to exceed what the pool can ever pay.
    function addDebt(uint32 index, uint256 amount) external {
        if (msg.sender != RunConstants.disputes()) revert NotDisputes();
        _compute[index].debt = uint128(Math.min(_compute[index].debt + amount, POOL_LIMIT));
        emit DebtAdded(index, amount);
    }

    /*//////////////////////////////////////////////////////////////
                                 VIEWS
    //////////////////////////////////////////////////////////////*/

    function claimableCapital(address funder) external view returns (uint256) {
        return _capitalDue(_accountOf(funder), _capitalPool.shares);
    }

    function claimableCompute(uint64 epoch, Leaf calldata leaf) external view returns (uint256) {
        (,,, Revocation memory revocation) = ICreditLedger(RunConstants.ledger()).claimBasis(epoch, leaf.index);
        ComputePool memory pool = _loadPool();
        if (pool.wagesMissing) return 0;
        (uint256 due, uint256 debt) = _due(epoch, leaf, revocation, _compute[leaf.index], pool);
        return due - debt;
    }

    function _accountOf(address funder) internal view returns (CapitalAccount memory account) {
        account = _capital[funder];
        if (account.shares == 0) account.shares = uint128(ICampaign(RunConstants.campaign()).contributionOf(funder));
    }

    function _capitalDue(CapitalAccount memory account, uint256 shares) internal view returns (uint256) {
        return ((account.shares * _accCapital(shares)) >> SCALE_BITS) - account.claimed;
    }

    function _accCapital(uint256 shares) internal view returns (uint256) {
        if (shares == 0) return 0;
        return (_load().capital << SCALE_BITS) / shares;
    }

    function capitalClaimedBy(address funder) external view returns (uint256) {
        return _capital[funder].claimed;
    }

    function claimedBy(uint32 index) external view returns (uint256) {
        return _compute[index].claimed;
    }

    function debtOf(uint32 index) external view returns (uint256) {
        return _compute[index].debt;
    }

    function finished() external view returns (bool) {
        return _load().finished;
    }

    function accCapital() external view returns (uint256) {
        return _accCapital(_capitalPool.shares);
    }

    function accCompute() external view returns (uint256) {
        return _credited.acc;
    }

    function pendingCompute() external view returns (uint256) {
        return _load().compute - _loadPool().allocated;
    }

    function capitalReceived() external view returns (uint256) {
        return _load().capital;
    }

    function capitalPaid() external view returns (uint256) {
        return _capitalPool.paid;
    }

    function computeReceived() external view returns (uint256) {
        return _load().compute;
    }

    function computePaid() external view returns (uint256) {
        return _loadPool().paid;
    }

    function computeCarry() external view returns (uint256) {
        return _credited.carry;
    }
}
