// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {IRunFactory} from "./interfaces/IRunFactory.sol";
import {IRunPart} from "./interfaces/IRunPart.sol";
import {Milestone, RunAddresses, RunParams} from "./interfaces/Types.sol";
import {RunConstants} from "./libraries/RunConstants.sol";

/// @title RunFactory
/// @notice Deploys and wires one run in one transaction.
contract RunFactory is IRunFactory {
    uint256 internal constant BPS = 10_000;
    uint256 internal constant MAX_MILESTONES = 16;
    /// @dev Four answers of five levels each, and the challenger's move before each, settle any game over 2^20 providers.
    uint256 internal constant GAME_MOVES = 8;

    address internal immutable CAMPAIGN;
    address internal immutable REGISTRY;
    address internal immutable ORACLE;
    address internal immutable LEDGER;
    address internal immutable CHECKPOINTS;
    address internal immutable DISTRIBUTOR;
    address internal immutable PAYMENTS;
    address internal immutable DISPUTES;

    /// @dev The number of the next contract that this one creates. It gives the address, which the clones' code has to know beforehand.
    uint24 internal _nonce = 1;
    mapping(address => bool) public isRun;

    constructor(RunAddresses memory a) {
        address[8] memory all =
            [a.campaign, a.registry, a.oracle, a.ledger, a.checkpoints, a.distributor, a.payments, a.disputes];
        for (uint256 i = 0; i < 8; ++i) {
            if (all[i].code.length == 0) revert NoImplementation(i);
        }
        CAMPAIGN = a.campaign;
        REGISTRY = a.registry;
        ORACLE = a.oracle;
        LEDGER = a.ledger;
        CHECKPOINTS = a.checkpoints;
        DISTRIBUTOR = a.distributor;
        PAYMENTS = a.payments;
        DISPUTES = a.disputes;
    }

    function createRun(RunParams calldata p) external returns (address campaign) {
        _checkMoney(p);
        _checkTimes(p);
        _checkMilestones(p);
        RunAddresses memory a = _nextAddresses();
        campaign = a.campaign;
        isRun[campaign] = true;
        emit RunCreated(campaign, msg.sender, a, p);
        bytes memory constants = RunConstants.pack(p, a);
        _clone(CAMPAIGN, bytes.concat(constants, abi.encode(p)), a.campaign);
        _clone(REGISTRY, constants, a.registry);
        _clone(ORACLE, constants, a.oracle);
        _clone(LEDGER, constants, a.ledger);
        _clone(CHECKPOINTS, constants, a.checkpoints);
        _clone(DISTRIBUTOR, constants, a.distributor);
        _clone(PAYMENTS, constants, a.payments);
        _clone(DISPUTES, constants, a.disputes);
        IRunPart(a.campaign).initialize(p);
        IRunPart(a.oracle).initialize(p);
    }

    function _nextAddresses() internal returns (RunAddresses memory) {
        uint24 n = _nonce;
        _nonce = n + 8;
        return RunAddresses({
            campaign: _created(n),
            registry: _created(n + 1),
            oracle: _created(n + 2),
            ledger: _created(n + 3),
            checkpoints: _created(n + 4),
            distributor: _created(n + 5),
            payments: _created(n + 6),
            disputes: _created(n + 7)
        });
    }

    /// @dev The address of this contract's creation number `n`: the hash of the RLP of its address and `n`.
    function _created(uint24 n) internal view returns (address) {
        bytes memory rlp;
        if (n < 0x80) rlp = abi.encodePacked(hex"d694", this, uint8(n));
        else if (n <= 0xff) rlp = abi.encodePacked(hex"d794", this, hex"81", uint8(n));
        else if (n <= 0xffff) rlp = abi.encodePacked(hex"d894", this, hex"82", uint16(n));
        else rlp = abi.encodePacked(hex"d994", this, hex"83", n);
        return address(uint160(uint256(keccak256(rlp))));
    }

    function _clone(address implementation, bytes memory arguments, address expected) internal {
        address made = Clones.cloneWithImmutableArgs(implementation, arguments);
        assert(made == expected);
    }

    function implementations() external view returns (RunAddresses memory) {
        return RunAddresses(CAMPAIGN, REGISTRY, ORACLE, LEDGER, CHECKPOINTS, DISTRIBUTOR, PAYMENTS, DISPUTES);
    }

    /*//////////////////////////////////////////////////////////////
                               PARAMETERS
    //////////////////////////////////////////////////////////////*/

    function _checkMoney(RunParams calldata p) internal view {
        if (p.asset != address(0) && p.asset.code.length == 0) revert BadParameter("asset");
        if (p.goal == 0) revert BadParameter("goal");
        if (p.cap < p.goal || p.cap >= 1 << 127) revert BadParameter("cap");
        if (p.capitalBps > BPS) revert BadParameter("capitalBps");
        if (p.oracleBps > BPS) revert BadParameter("oracleBps");
        if (p.serverBps > BPS) revert BadParameter("serverBps");
        if (p.wagePerCredit >= 1 << 80) revert BadParameter("wagePerCredit");
        if (p.providerStake >= 1 << 127) revert BadParameter("providerStake");
        if (p.signerBond >= 1 << 127) revert BadParameter("signerBond");
        if (p.challengeBond >= 1 << 127) revert BadParameter("challengeBond");
        if (p.disputeBond >= 1 << 127) revert BadParameter("disputeBond");
    }

    function _checkTimes(RunParams calldata p) internal view {
        if (p.depositDeadline <= block.timestamp) revert BadParameter("depositDeadline");
        if (p.epochStart < p.depositDeadline) revert BadParameter("epochStart");
        if (p.tailEpochs < 2) revert BadParameter("tailEpochs");
        if (p.challengeWindow == 0) revert BadParameter("challengeWindow");
        if (p.answerTime == 0) revert BadParameter("answerTime");
        if (p.disputePeriod == 0) revert BadParameter("disputePeriod");
        if (p.anchorWindow == 0) revert BadParameter("anchorWindow");
        if (p.attemptLength == 0 || p.attemptLength > p.reportSpan) revert BadParameter("attemptLength");
        uint256 longest = uint256(p.reportSpan) + p.challengeWindow + GAME_MOVES * p.answerTime;
        if (p.epochLength < longest) revert BadParameter("epochLength");
        // Every time that the run can reach fits 40 bits, which is what storage keeps.
        uint256 end = p.epochStart + (uint256(p.lastEpoch) + p.tailEpochs + 2) * p.epochLength;
        if (end + p.disputePeriod + p.rotationDelay + p.withdrawalDelay >= 1 << 40) revert BadParameter("lastEpoch");
        if (p.maxCreditsPerEpoch == 0) revert BadParameter("maxCreditsPerEpoch");
        if (p.anchorEvery == 0) revert BadParameter("anchorEvery");
    }

    function _checkMilestones(RunParams calldata p) internal pure {
        if (p.milestones.length == 0 || p.milestones.length > MAX_MILESTONES) revert BadParameter("milestones");
        uint256 sum = 0;
        for (uint256 i = 0; i < p.milestones.length; ++i) {
            Milestone calldata m = p.milestones[i];
            sum += m.trancheBps;
            if (m.deadlineEpoch > p.lastEpoch + p.tailEpochs) revert BadParameter("deadlineEpoch");
        }
        if (sum != BPS) revert BadParameter("trancheBps");
    }
}
