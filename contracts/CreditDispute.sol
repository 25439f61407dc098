// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {DisputesBase} from "./DisputesBase.sol";
import {ICreditLedger} from "./interfaces/ICreditLedger.sol";
import {ICreditOracle} from "./interfaces/ICreditOracle.sol";
import {IProviderRegistry} from "./interfaces/IProviderRegistry.sol";
import {IRevenueDistributor} from "./interfaces/IRevenueDistributor.sol";
import {EpochInfo, EpochState, FinalEpoch, Report, Verdict} from "./interfaces/Types.sol";
import {Assets} from "./libraries/Assets.sol";
import {CreditList} from "./libraries/CreditList.sol";
import {ReportHash} from "./libraries/ReportHash.sol";
import {RunConstants} from "./libraries/RunConstants.sol";

/// @title CreditDispute
/// @notice How many credits an honest verifier would have listed: a judgement of the signers, with bonds and a time limit.
abstract contract CreditDispute is DisputesBase {
    uint256 internal constant SCALE_BITS = 64;

    struct Challenge {
        address challenger;
        uint40 until;
        bool judged;
        bool convicted;
    }

    mapping(uint64 => mapping(uint32 => Challenge)) internal _challenges;

    function challengeCredits(uint64 epoch, uint32 index, bytes32 evidenceSha256) external payable {
        Assets.take(RunConstants.asset(), RunConstants.disputeBond());
        EpochInfo memory info = ICreditOracle(RunConstants.oracle()).epochInfo(epoch);
        bool open = info.state == EpochState.Reported
            || (info.state == EpochState.Final && block.timestamp < uint256(info.settledAt) + RunConstants.disputePeriod());
        if (!open || index >= info.providerCount) revert NotJudgeable();
        Challenge storage c = _challenges[epoch][index];
        if (c.challenger != address(0) || c.judged) revert AlreadyChallenged();
        uint64 until = uint64(block.timestamp + RunConstants.disputePeriod());
        c.challenger = msg.sender;
        c.until = uint40(until);
        IProviderRegistry(RunConstants.registry()).setChallenged(index, true);
        emit CreditsChallenged(epoch, index, msg.sender, evidenceSha256, until);
    }

    function answerChallenge(uint64 epoch, uint32 index, bytes32 evidenceSha256) external {
        Challenge storage c = _challenges[epoch][index];
        if (c.challenger == address(0) || c.judged || block.timestamp > c.until) revert NotChallenged();
        if (IProviderRegistry(RunConstants.registry()).accountOf(index) != msg.sender) revert NotProvider();
        emit ChallengeAnswered(epoch, index, evidenceSha256);
    }

    function submitVerdict(Verdict calldata v, bytes[] calldata signatures) external {
        Challenge storage c = _challenges[v.epoch][v.index];
        if (c.challenger == address(0) || c.judged || block.timestamp > c.until) revert NotChallenged();
        bytes32 config = ICreditOracle(RunConstants.oracle()).configDigest();
        ICreditOracle(RunConstants.oracle()).requireQuorum(ReportHash.verdict(config, v), signatures);
        c.judged = true;
        emit VerdictGiven(v.epoch, v.index, v.convicted, v.evidenceSha256);
        if (v.convicted) {
            c.convicted = true;
        } else {
            _close(c, v.epoch, v.index, IProviderRegistry(RunConstants.registry()).payoutOf(v.index));
        }
    }

    function enforceVerdict(Report calldata report, bytes calldata credits, uint32 index) external {
        uint64 epoch = report.epoch;
        Challenge storage c = _challenges[epoch][index];
        if (!c.convicted) revert NotConvicted();
        FinalEpoch memory f = ICreditLedger(RunConstants.ledger()).finalEpoch(epoch);
        if (_reportDigest(report) != f.reportDigest) revert WrongReport();
        if (keccak256(credits) != report.creditsHash) revert WrongList();
        // No more than the epoch's sum can have entered the tree, whatever a false list says.
        uint64 listed = uint64(Math.min(CreditList.creditsOf(credits, index), f.epochCredits));
        address challenger = c.challenger;
        c.convicted = false;
        uint256 debt = 0;
        uint256 slashed = 0;
        if (listed != 0) {
            uint256 acc = IRevenueDistributor(RunConstants.distributor()).accCompute();
            debt = (uint256(listed) * (acc - f.acc + f.wage)) >> SCALE_BITS;
            ICreditLedger(RunConstants.ledger()).revoke(index, epoch, listed, acc);
            IRevenueDistributor(RunConstants.distributor()).addDebt(index, debt);
            slashed = IProviderRegistry(RunConstants.registry()).slash(index, challenger);
        }
        emit Convicted(epoch, index, listed, debt, slashed);
        _close(c, epoch, index, challenger);
    }

    function closeChallenge(uint64 epoch, uint32 index) external {
        Challenge storage c = _challenges[epoch][index];
        if (c.challenger == address(0)) revert NotChallenged();
        bool void = ICreditOracle(RunConstants.oracle()).epochInfo(epoch).state == EpochState.Void;
        if (!void && (c.judged || block.timestamp <= c.until)) revert TooEarly();
        c.convicted = false;
        _close(c, epoch, index, c.challenger);
    }

    /// @dev Gives the bond to `receiver`; the index may be challenged again only if it was not judged.
    function _close(Challenge storage c, uint64 epoch, uint32 index, address receiver) internal {
        c.challenger = address(0);
        _owe(receiver, RunConstants.disputeBond());
        IProviderRegistry(RunConstants.registry()).setChallenged(index, false);
        emit ChallengeClosed(epoch, index);
    }

    function challengeOf(uint64 epoch, uint32 index)
        external
        view
        returns (address challenger, uint64 until, bool judged, bool convicted)
    {
        Challenge storage c = _challenges[epoch][index];
        return (c.challenger, c.until, c.judged, c.convicted);
    }
}
