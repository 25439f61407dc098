// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {ICampaign} from "./interfaces/ICampaign.sol";
import {IERC3009} from "./interfaces/IERC3009.sol";
import {IRevenueDistributor} from "./interfaces/IRevenueDistributor.sol";
import {IRunPart} from "./interfaces/IRunPart.sol";
import {Milestone, RunAddresses, RunParams} from "./interfaces/Types.sol";
import {Assets} from "./libraries/Assets.sol";

/// @title Campaign
/// @notice Contributions and the escrow of one run. Its address names the run.
contract Campaign is ICampaign, IRunPart, Initializable {
    uint256 internal constant BPS = 10_000;

    struct Contribution {
        uint128 amount;
        bool returned;
    }

    address public asset;
    uint64 internal _depositDeadline;
    uint16 internal _metBps;
    uint16 internal _metMask;
    uint128 internal _cap;
    uint128 internal _raised;
    uint128 internal _goal;
    uint128 internal _released;
    uint128 internal _reserved;
    uint128 internal _returnable;
    uint128 internal _wagesDue;
    bool public ended;
    uint64 public createdBlock;
    uint256 internal _wagesDueScaled;
    Milestone[] internal _milestones;
    mapping(address => Contribution) internal _contributions;
    mapping(address => uint256) public feeOf;
    RunAddresses internal _addresses;
    bytes internal _params;

    modifier onlyOracle() {
        if (msg.sender != _addresses.oracle) revert NotOracle();
        _;
    }

    constructor() {
        _disableInitializers();
    }

    function initialize(RunParams calldata p, RunAddresses calldata a) external initializer {
        _params = abi.encode(p);
        _addresses = a;
        asset = p.asset;
        createdBlock = uint64(block.number);
        _depositDeadline = p.depositDeadline;
        _goal = uint128(p.goal);
        _cap = uint128(p.cap);
        for (uint256 i = 0; i < p.milestones.length; ++i) {
            Milestone calldata m = p.milestones[i];
            _milestones.push(m);
            if (m.minCredits == 0 && m.maxLossMicro == type(uint64).max) {
                _metMask |= uint16(1 << i);
                _metBps += m.trancheBps;
            }
        }
    }

    /*//////////////////////////////////////////////////////////////
                                FUNDERS
    //////////////////////////////////////////////////////////////*/

    function deposit(uint256 amount) external payable {
        Assets.take(asset, amount);
        _credit(msg.sender, amount);
    }

    /// @dev A permit that someone used before us has left its allowance, so a failing one is no reason to stop.
    function depositWithPermit(uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external {
        if (asset == address(0)) revert OnlyTokens();
        try IERC20Permit(asset).permit(msg.sender, address(this), amount, deadline, v, r, s) {} catch {}
        Assets.take(asset, amount);
        _credit(msg.sender, amount);
    }

    function depositWithAuthorization(
        address funder,
        uint256 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        if (asset == address(0)) revert OnlyTokens();
        uint256 before = IERC20(asset).balanceOf(address(this));
        IERC3009(asset).receiveWithAuthorization(funder, address(this), amount, validAfter, validBefore, nonce, v, r, s);
        uint256 received = IERC20(asset).balanceOf(address(this)) - before;
        if (received != amount) revert Assets.ReceivedOther(amount, received);
        _credit(funder, amount);
    }

    function refund() external {
        if (!failed()) revert NotFailed();
        uint256 amount = _contributions[msg.sender].amount;
        if (amount == 0) revert NothingDue();
        _contributions[msg.sender].amount = 0;
        emit Refunded(msg.sender, amount);
        Assets.give(asset, msg.sender, amount);
    }

    function claimUnspent() external {
        if (!ended) revert NotEnded();
        uint256 amount = unspentOf(msg.sender);
        if (amount == 0) revert NothingDue();
        _contributions[msg.sender].returned = true;
        emit UnspentReturned(msg.sender, amount);
        Assets.give(asset, msg.sender, amount);
    }

    function _credit(address funder, uint256 amount) internal {
        if (amount == 0) revert ZeroAmount();
        if (depositsClosed()) revert DepositsClosed();
        uint256 room = _cap - _raised;
        if (amount > room) revert CapExceeded(room);
        _raised += uint128(amount);
        _contributions[funder].amount += uint128(amount);
        emit Deposited(funder, amount, _raised);
    }

    /*//////////////////////////////////////////////////////////////
                            WAGES AND FEES
    //////////////////////////////////////////////////////////////*/

    function reserve(uint64 epoch) external onlyOracle returns (uint256 unlocked) {
        unlocked = unlockedEscrow();
        _reserved = uint128(unlocked);
        emit EscrowReserved(epoch, unlocked);
    }

    function commitWages(uint64 epoch, uint256 amount) external onlyOracle {
        _reserved = uint128(amount);
        emit WagesCommitted(epoch, amount);
    }

    function settleEpoch(
        uint64 epoch,
        uint256 wages,
        uint256 wagesScaled,
        uint256 feeEach,
        address[] calldata signers,
        uint256 creditSum,
        uint64 lossMicro,
        bool isFinal,
        bool isLast
    ) external onlyOracle {
        _reserved = 0;
        if (wages != 0) {
            _bookWages(epoch, wages, wagesScaled, feeEach, signers);
        }
        if (ended) return;
        bool missed = _judgeMilestones(epoch, creditSum, lossMicro, isFinal);
        if (missed || isLast) {
            ended = true;
            _returnable = _raised - _released;
            emit EscrowEnded(epoch, _returnable);
        }
    }

    function payWages() external {
        uint256 amount = _wagesDue;
        if (amount == 0) return;
        uint256 scaled = _wagesDueScaled;
        _wagesDue = 0;
        _wagesDueScaled = 0;
        emit WagesPaid(amount);
        address distributor = _addresses.distributor;
        uint256 value = Assets.ready(asset, distributor, amount);
        IRevenueDistributor(distributor).receiveWages{value: value}(amount, scaled);
    }

    function claimFee(address signer) external {
        uint256 amount = feeOf[signer];
        if (amount == 0) revert NothingDue();
        feeOf[signer] = 0;
        emit FeePaid(signer, amount);
        Assets.give(asset, signer, amount);
    }

    function _bookWages(uint64 epoch, uint256 wages, uint256 wagesScaled, uint256 feeEach, address[] calldata signers) internal {
        uint256 fee = feeEach * signers.length;
        _released += uint128(wages + fee);
        _wagesDue += uint128(wages);
        _wagesDueScaled += wagesScaled;
        if (feeEach != 0) {
            for (uint256 i = 0; i < signers.length; ++i) {
                feeOf[signers[i]] += feeEach;
            }
        }
        emit WagesDue(epoch, wages, fee);
    }

    /// @dev At most 16 milestones. Epochs are settled in order and a miss ends the escrow, so none is judged after its deadline.
    function _judgeMilestones(uint64 epoch, uint256 creditSum, uint64 lossMicro, bool isFinal) internal returns (bool missed) {
        for (uint256 i = 0; i < _milestones.length; ++i) {
            if (_metMask & (1 << i) != 0) continue;
            Milestone memory m = _milestones[i];
            if (isFinal && creditSum >= m.minCredits && lossMicro <= m.maxLossMicro) {
                _metMask |= uint16(1 << i);
                _metBps += m.trancheBps;
                emit MilestoneMet(i, epoch);
            } else if (epoch >= m.deadlineEpoch) {
                missed = true;
                emit MilestoneMissed(i, epoch);
            }
        }
    }

    /*//////////////////////////////////////////////////////////////
                                 VIEWS
    //////////////////////////////////////////////////////////////*/

    function addresses() external view returns (RunAddresses memory) {
        return _addresses;
    }

    function params() external view returns (RunParams memory) {
        return abi.decode(_params, (RunParams));
    }

    function milestones() external view returns (Milestone[] memory) {
        return _milestones;
    }

    function milestonesMet() external view returns (uint256) {
        return _metMask;
    }

    function raised() external view returns (uint256) {
        return _raised;
    }

    function contributionOf(address funder) external view returns (uint256) {
        return _contributions[funder].amount;
    }

    function depositsClosed() public view returns (bool) {
        return block.timestamp >= _depositDeadline || _raised == _cap;
    }

    function succeeded() public view returns (bool) {
        return _raised >= _goal && depositsClosed();
    }

    function failed() public view returns (bool) {
        return _raised < _goal && block.timestamp >= _depositDeadline;
    }

    function totalShares() external view returns (uint256) {
        if (!succeeded()) revert DepositsOpen();
        return _raised;
    }

    function unlockedEscrow() public view returns (uint256) {
        if (ended) return 0;
        uint256 unlocked = uint256(_raised) * _metBps / BPS;
        uint256 taken = uint256(_released) + _reserved;
        return unlocked > taken ? unlocked - taken : 0;
    }

    function reserved() external view returns (uint256) {
        return _reserved;
    }

    function released() external view returns (uint256) {
        return _released;
    }

    function wagesDue() external view returns (uint256) {
        return _wagesDue;
    }

    function returnable() external view returns (uint256) {
        return _returnable;
    }

    function unspentOf(address funder) public view returns (uint256) {
        Contribution memory c = _contributions[funder];
        if (!ended || c.returned) return 0;
        return uint256(_returnable) * c.amount / _raised;
    }
}
