// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {ICampaign} from "./interfaces/ICampaign.sol";
import {ICreditLedger} from "./interfaces/ICreditLedger.sol";
import {IProviderRegistry} from "./interfaces/IProviderRegistry.sol";
import {IRevenueDistributor} from "./interfaces/IRevenueDistributor.sol";
import {IRunPart} from "./interfaces/IRunPart.sol";
import {Leaf, Revocation, RunAddresses, RunParams, Sibling} from "./interfaces/Types.sol";
import {Assets} from "./libraries/Assets.sol";
import {SumTree} from "./libraries/SumTree.sol";

/// @title RevenueDistributor
/// @notice Two pools, their accumulators and claims, each in constant time at any number of holders.
/// @dev `accCapital` follows from what was received and the fixed number of shares, so that it needs no storage and its
/// remainder is carried exactly. A payment writes one slot.
contract RevenueDistributor is IRevenueDistributor, IRunPart, Initializable {
    uint256 internal constant BPS = 10_000;
    uint256 internal constant SCALE_BITS = 64;
    uint256 internal constant POOL_LIMIT = 1 << 127;

    struct Pools {
        uint128 capital;
        uint128 compute;
    }

    /// @dev A funder's shares are kept with the first claim: they are fixed by then, and later claims need not ask the campaign.
    struct CapitalAccount {
        uint128 shares;
        uint128 claimed;
    }

    address internal _asset;
    uint128 internal _totalShares;
    uint16 internal _capitalBps;
    bool public finished;
    Pools internal _received;
    Pools internal _paid;
    uint256 public accCompute;
    /// @dev Units of the compute pool that the accumulator or wages have given out, and the scaled remainder.
    uint128 internal _allocated;
    uint128 internal _carry;
    uint256 internal _wagePerCredit;
    address internal _campaign;
    address internal _registry;
    address internal _oracle;
    address internal _ledger;
    address internal _disputes;
    mapping(address => CapitalAccount) internal _capital;
    mapping(uint32 => uint256) public claimedBy;
    mapping(uint32 => uint256) public debtOf;

    modifier onlyOracle() {
        if (msg.sender != _oracle) revert NotOracle();
        _;
    }

    constructor() {
        _disableInitializers();
    }

    function initialize(RunParams calldata p, RunAddresses calldata a) external initializer {
        _asset = p.asset;
        _capitalBps = p.capitalBps;
        _wagePerCredit = p.wagePerCredit;
        _campaign = a.campaign;
        _registry = a.registry;
        _oracle = a.oracle;
        _ledger = a.ledger;
        _disputes = a.disputes;
    }

    /*//////////////////////////////////////////////////////////////
                                REVENUE
    //////////////////////////////////////////////////////////////*/

    function payRevenue(uint256 amount) external payable {
        Assets.take(_asset, amount);
        if (amount == 0) revert ZeroAmount();
        _fixShares();
        uint256 toCapital = amount * _capitalBps / BPS;
        uint256 live = finished ? ICreditLedger(_ledger).liveCredits() : 0;
        if (finished && live == 0) toCapital = amount;
        uint256 toCompute = amount - toCapital;
        _receive(toCapital, toCompute);
        emit RevenueReceived(msg.sender, amount, toCapital, toCompute);
        if (live != 0) _distribute(live);
    }

    function payCapital(uint256 amount) external payable {
        Assets.take(_asset, amount);
        if (amount == 0) revert ZeroAmount();
        _fixShares();
        _receive(amount, 0);
        emit CapitalReceived(msg.sender, amount);
    }

    function receiveWages(uint256 amount, uint256 scaled) external payable {
        if (msg.sender != _campaign) revert NotCampaign();
        Assets.take(_asset, amount);
        _receive(0, amount);
        _allocated += uint128(amount);
        _carry += uint128((amount << SCALE_BITS) - scaled);
        emit WagesReceived(amount);
    }

    /// @dev The number of shares never changes once revenue is let in.
    function _fixShares() internal {
        if (_totalShares == 0) _totalShares = uint128(ICampaign(_campaign).totalShares());
    }

    function _receive(uint256 toCapital, uint256 toCompute) internal {
        uint256 capital = _received.capital + toCapital;
        uint256 compute = _received.compute + toCompute;
        if (capital >= POOL_LIMIT || compute >= POOL_LIMIT) revert PoolFull();
        _received = Pools(uint128(capital), uint128(compute));
    }

    /// @dev Gives all that is pending to `live` credits; what does not divide is carried, scaled.
    function _distribute(uint256 live) internal {
        uint256 scaled = (pendingCompute() << SCALE_BITS) + _carry;
        _allocated = _received.compute;
        _carry = uint128(scaled % live);
        accCompute += scaled / live;
        emit Distributed(accCompute, _carry);
    }

    /*//////////////////////////////////////////////////////////////
                                 CLAIMS
    //////////////////////////////////////////////////////////////*/

    function claimCapital(address funder) external {
        CapitalAccount memory account = _accountOf(funder);
        uint256 amount = _capitalDue(account);
        if (amount == 0) revert NothingDue();
        account.claimed += uint128(amount);
        _capital[funder] = account;
        _paid.capital += uint128(amount);
        emit CapitalClaimed(funder, amount);
        Assets.give(_asset, funder, amount);
    }

    function claimCompute(uint64 epoch, Leaf calldata leaf, Sibling[] calldata proof) external {
        Revocation memory revocation;
        {
            bytes32 root;
            uint256 sum;
            uint8 depth;
            (root, sum, depth, revocation) = ICreditLedger(_ledger).claimBasis(epoch, leaf.index);
            if (!SumTree.containsLeaf(root, sum, depth, leaf, proof)) revert InvalidProof();
        }
        (uint256 due, uint256 debt) = _due(epoch, leaf, revocation);
        if (due == 0) revert NothingDue();
        uint32 index = leaf.index;
        claimedBy[index] += due;
        _paid.compute += uint128(due);
        if (debt != 0) {
            debtOf[index] -= debt;
            _receive(debt, 0);
            emit DebtPaid(index, debt);
        }
        uint256 amount = due - debt;
        address payout = IProviderRegistry(_registry).payoutOf(index);
        emit ComputeClaimed(index, payout, amount, epoch);
        if (amount != 0) Assets.give(_asset, payout, amount);
    }

    /// @dev Units due to an index by its leaf, and how many of them go to its debt. Never more than the pool has given out.
    function _due(uint64 epoch, Leaf calldata leaf, Revocation memory revocation)
        internal
        view
        returns (uint256 due, uint256 debt)
    {
        if (revocation.any && epoch < revocation.lastEpoch) revert RootTooOld(revocation.lastEpoch);
        uint256 acc = accCompute;
        if (leaf.C < revocation.credits || leaf.D > leaf.C * acc || leaf.W > (leaf.C * _wagePerCredit) << SCALE_BITS) {
            revert LeafOutOfRange();
        }
        uint256 earned = (leaf.C - revocation.credits) * acc + revocation.accWeighted + leaf.W;
        earned = Math.saturatingSub(earned, leaf.D) >> SCALE_BITS;
        due = Math.min(Math.saturatingSub(earned, claimedBy[leaf.index]), _allocated - _paid.compute);
        debt = Math.min(due, debtOf[leaf.index]);
    }

    /*//////////////////////////////////////////////////////////////
                            ORACLE, DISPUTES
    //////////////////////////////////////////////////////////////*/

    function closeEpoch() external onlyOracle returns (uint256 acc) {
        uint256 live = ICreditLedger(_ledger).liveCredits();
        if (live != 0 && pendingCompute() != 0) _distribute(live);
        return accCompute;
    }

    function finish() external onlyOracle {
        finished = true;
        uint256 pending = pendingCompute();
        if (pending == 0) return;
        uint256 live = ICreditLedger(_ledger).liveCredits();
        if (live != 0) {
            _distribute(live);
        } else {
            _allocated += uint128(pending);
            _paid.compute += uint128(pending);
            _receive(pending, 0);
            emit CapitalReceived(address(this), pending);
        }
    }

    function addDebt(uint32 index, uint256 amount) external {
        if (msg.sender != _disputes) revert NotDisputes();
        debtOf[index] += amount;
        emit DebtAdded(index, amount);
    }

    /*//////////////////////////////////////////////////////////////
                                 VIEWS
    //////////////////////////////////////////////////////////////*/

    function claimableCapital(address funder) external view returns (uint256) {
        return _capitalDue(_accountOf(funder));
    }

    function claimableCompute(uint64 epoch, Leaf calldata leaf) external view returns (uint256) {
        (,,, Revocation memory revocation) = ICreditLedger(_ledger).claimBasis(epoch, leaf.index);
        (uint256 due, uint256 debt) = _due(epoch, leaf, revocation);
        return due - debt;
    }

    function capitalClaimedBy(address funder) external view returns (uint256) {
        return _capital[funder].claimed;
    }

    function _accountOf(address funder) internal view returns (CapitalAccount memory account) {
        account = _capital[funder];
        if (account.shares == 0) account.shares = uint128(ICampaign(_campaign).contributionOf(funder));
    }

    function _capitalDue(CapitalAccount memory account) internal view returns (uint256) {
        return ((account.shares * accCapital()) >> SCALE_BITS) - account.claimed;
    }

    function accCapital() public view returns (uint256) {
        if (_totalShares == 0) return 0;
        return (uint256(_received.capital) << SCALE_BITS) / _totalShares;
    }

    function pendingCompute() public view returns (uint256) {
        return _received.compute - _allocated;
    }

    function capitalReceived() external view returns (uint256) {
        return _received.capital;
    }

    function capitalPaid() external view returns (uint256) {
        return _paid.capital;
    }

    function computeReceived() external view returns (uint256) {
        return _received.compute;
    }

    function computePaid() external view returns (uint256) {
        return _paid.compute;
    }

    function computeCarry() external view returns (uint256) {
        return _carry;
    }
}
