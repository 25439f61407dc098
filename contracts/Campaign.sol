// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {ICampaign} from "./interfaces/ICampaign.sol";
import {ICreditOracle} from "./interfaces/ICreditOracle.sol";
import {IERC3009} from "./interfaces/IERC3009.sol";
import {IRevenueDistributor} from "./interfaces/IRevenueDistributor.sol";
import {IRunPart} from "./interfaces/IRunPart.sol";
import {Milestone, RunAddresses, RunParams} from "./interfaces/Types.sol";
import {Assets} from "./libraries/Assets.sol";
import {RunConstants} from "./libraries/RunConstants.sol";

/// @title Campaign
/// @notice Contributions and the escrow of one run. Its address names the run.
contract Campaign is ICampaign, IRunPart, Initializable {
    uint256 internal constant BPS = 10_000;

    struct Contribution {
        uint128 amount;
        bool returned;
    }

    uint128 internal _raised;
    uint64 public createdBlock;
    uint16 internal _metBps;
    uint16 internal _metMask;
    bool public ended;
    uint128 internal _released;
    uint128 internal _returnable;
    /// @dev Wages of final epochs that have not moved to the distributor, and what rounding up has added to them, scaled.
    uint128 internal _wagesDue;
    uint128 internal _wagesExcess;
    Milestone[] internal _milestones;
    mapping(address => Contribution) internal _contributions;
    mapping(address => uint256) public feeOf;

    modifier onlyOracle() {
        if (msg.sender != RunConstants.oracle()) revert NotOracle();
        _;
    }

    constructor() {
        _disableInitializers();
    }

    function initialize(RunParams calldata p) external initializer {
        createdBlock = uint64(block.number);
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
        Assets.take(RunConstants.asset(), amount);
        _credit(msg.sender, amount);
    }

    /// @dev A permit that someone used before us has left its allowance, so a failing one is no reason to stop.
    function depositWithPermit(uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external {
        address asset_ = _token();
        try IERC20Permit(asset_).permit(msg.sender, address(this), amount, deadline, v, r, s) {} catch {}
        Assets.take(asset_, amount);
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
        address asset_ = _token();
        uint256 before = IERC20(asset_).balanceOf(address(this));
        IERC3009(asset_).receiveWithAuthorization(funder, address(this), amount, validAfter, validBefore, nonce, v, r, s);
        uint256 received = IERC20(asset_).balanceOf(address(this)) - before;
        if (received != amount) revert Assets.ReceivedOther(amount, received);
        _credit(funder, amount);
    }

    function refund() external {
        if (!failed()) revert NotFailed();
        uint256 amount = _contributions[msg.sender].amount;
        if (amount == 0) revert NothingDue();
        _contributions[msg.sender].amount = 0;
        emit Refunded(msg.sender, amount);
        Assets.give(RunConstants.asset(), msg.sender, amount);
    }

    function claimUnspent() external {
        if (!ended) revert NotEnded();
        uint256 amount = unspentOf(msg.sender);
        if (amount == 0) revert NothingDue();
        _contributions[msg.sender].returned = true;
        emit UnspentReturned(msg.sender, amount);
        Assets.give(RunConstants.asset(), msg.sender, amount);
    }

    function _credit(address funder, uint256 amount) internal {
        if (amount == 0) revert ZeroAmount();
        uint256 before = _raised;
        uint256 room = RunConstants.cap() - before;
        if (room == 0 || block.timestamp >= RunConstants.depositDeadline()) revert DepositsClosed();
        if (amount > room) revert CapExceeded(room);
        uint256 total = before + amount;
        _raised = uint128(total);
        _contributions[funder].amount += uint128(amount);
        emit Deposited(funder, amount, total);
    }

    function _token() internal view returns (address token) {
        token = RunConstants.asset();
        if (token == address(0)) revert OnlyTokens();
    }

    /*//////////////////////////////////////////////////////////////
                            WAGES AND FEES
    //////////////////////////////////////////////////////////////*/

    function reserve(uint64 epoch) external onlyOracle returns (uint256 unlocked) {
        unlocked = _unspent();
        emit EscrowReserved(epoch, unlocked);
    }

    function settleEpoch(
        uint64 epoch,
        uint256 wages,
        uint256 excess,
        uint256 feeEach,
        address[] calldata signers,
        uint256 creditSum,
        uint64 lossMicro,
        bool isFinal,
        bool isLast
    ) external onlyOracle {
        if (wages != 0) _bookWages(epoch, wages, excess, feeEach, signers);
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
        uint256 excess = _wagesExcess;
        _wagesDue = 0;
        _wagesExcess = 0;
        emit WagesPaid(amount);
        address distributor = RunConstants.distributor();
        uint256 value = Assets.ready(RunConstants.asset(), distributor, amount);
        IRevenueDistributor(distributor).receiveWages{value: value}(amount, excess);
    }

    function claimFee(address signer) external {
        uint256 amount = feeOf[signer];
        if (amount == 0) revert NothingDue();
        feeOf[signer] = 0;
        emit FeePaid(signer, amount);
        Assets.give(RunConstants.asset(), signer, amount);
    }

    function _bookWages(uint64 epoch, uint256 wages, uint256 excess, uint256 feeEach, address[] calldata signers) internal {
        uint256 fee = feeEach * signers.length;
        _released += uint128(wages + fee);
        _wagesDue += uint128(wages);
        _wagesExcess += uint128(excess);
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
        return RunAddresses({
            campaign: RunConstants.campaign(),
            registry: RunConstants.registry(),
            oracle: RunConstants.oracle(),
            ledger: RunConstants.ledger(),
            checkpoints: RunConstants.checkpoints(),
            distributor: RunConstants.distributor(),
            payments: RunConstants.payments(),
            disputes: RunConstants.disputes()
        });
    }

    function params() external view returns (RunParams memory) {
        return RunConstants.params();
    }

    function asset() external view returns (address) {
        return RunConstants.asset();
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
        return block.timestamp >= RunConstants.depositDeadline() || _raised == RunConstants.cap();
    }

    function succeeded() public view returns (bool) {
        return _raised >= RunConstants.goal() && depositsClosed();
    }

    function failed() public view returns (bool) {
        return _raised < RunConstants.goal() && block.timestamp >= RunConstants.depositDeadline();
    }

    function totalShares() external view returns (uint256) {
        if (!succeeded()) revert DepositsOpen();
        return _raised;
    }

    function unlockedEscrow() external view returns (uint256) {
        return _unspent() - reserved();
    }

    function reserved() public view returns (uint256) {
        return ICreditOracle(RunConstants.oracle()).reservedEscrow();
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

    /// @dev What met milestones have unlocked, less what final epochs have taken. Each took from what was unlocked at its close.
    function _unspent() internal view returns (uint256) {
        return ended ? 0 : uint256(_raised) * _metBps / BPS - _released;
    }
}
