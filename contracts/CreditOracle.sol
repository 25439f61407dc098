// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Dues} from "./Dues.sol";
import {ICampaign} from "./interfaces/ICampaign.sol";
import {ICheckpointRegistry} from "./interfaces/ICheckpointRegistry.sol";
import {ICreditLedger} from "./interfaces/ICreditLedger.sol";
import {ICreditOracle} from "./interfaces/ICreditOracle.sol";
import {IDisputes} from "./interfaces/IDisputes.sol";
import {IProviderRegistry} from "./interfaces/IProviderRegistry.sol";
import {IRevenueDistributor} from "./interfaces/IRevenueDistributor.sol";
import {IRunPart} from "./interfaces/IRunPart.sol";
import {Ban, EpochInfo, EpochState, FinalEpoch, Report, Rotation, RunParams} from "./interfaces/Types.sol";
import {Assets} from "./libraries/Assets.sol";
import {CreditList} from "./libraries/CreditList.sol";
import {Eip712} from "./libraries/Eip712.sol";
import {ReportHash} from "./libraries/ReportHash.sol";
import {RunConstants} from "./libraries/RunConstants.sol";
import {SumTree} from "./libraries/SumTree.sol";
import {Wages} from "./libraries/Wages.sol";

/// @title CreditOracle
/// @notice Signers, anchors and the epoch machine of one run.
contract CreditOracle is ICreditOracle, IRunPart, Dues, Initializable {
    uint256 internal constant MAX_SIGNERS = 31;
    uint256 internal constant BLOCK_AGE = 256;
    /// @dev A report comes back in calldata whenever it is proved false, which its texts must not make impossible.
    uint256 internal constant MAX_CID_BYTES = 128;
    bytes32 internal constant CONFIG_TAG = keccak256("commonweight.config.v1");

    struct Epoch {
        EpochState state;
        uint40 closedAt;
        uint40 openUntil;
        uint40 settledAt;
        uint32 providerCount;
        uint32 attempt;
        uint32 rotation;
        uint32 signerMask;
    }

    /// @dev The one open epoch: what its closing fixed, and of its report what settling needs besides the report itself, which comes
    /// back in calldata. The slots are reused from epoch to epoch, which keeps a report cheap.
    struct Pending {
        uint128 unlockedEscrow;
        uint64 epochCredits;
        uint192 acc;
        bytes32 digest;
    }

    /// @dev `member` is one more than the last rotation whose set the signer is in, 0 if none.
    struct Signer {
        uint128 bond;
        uint32 member;
        uint8 position;
        address transmitter;
    }

    struct Anchor {
        uint64 time;
        uint64 blockNumber;
    }

    struct Proposal {
        bytes32 hash;
        uint40 at;
    }

    /// @dev One slot that every report reads: where the epochs stand, who signs, and sum and depth of the tree.
    uint64 public nextEpoch;
    uint64 internal _lastSum;
    uint40 internal _finishedAt;
    uint32 public rotation;
    uint32 internal _voidsInRow;
    uint16 public quorum;
    uint8 internal _depth;
    bytes32 internal _lastRoot;
    bytes32 public configDigest;
    Pending internal _pending;
    Proposal internal _proposal;
    mapping(uint64 => Epoch) internal _epochs;
    mapping(address => Signer) internal _signers;
    mapping(address => uint32) internal _transmitterMember;
    mapping(uint32 => address[]) internal _sets;
    mapping(uint32 => uint64) internal _appliedBefore;
    mapping(bytes32 => Anchor) internal _anchors;
    mapping(uint64 => bytes32) public recordOf;
    /// @dev Signer, epoch and attempt of each equivocation that has cost a full bond.
    mapping(bytes32 => bool) internal _equivocations;

    modifier onlyDisputes() {
        if (msg.sender != RunConstants.disputes()) revert NotDisputes();
        _;
    }

    constructor() {
        _disableInitializers();
    }

    function initialize(RunParams calldata p) external initializer {
        _checkSet(p.quorum, p.signers, p.transmitters);
        _installSet(p.quorum, p.signers, p.transmitters);
    }

    /*//////////////////////////////////////////////////////////////
                                ANCHORS
    //////////////////////////////////////////////////////////////*/

    function anchorRound(uint64 round, uint64 deadline, bytes32 commitmentsRoot, uint64 recordRound, bytes32 recordHash) external {
        uint32 member = rotation + 1;
        if (_signers[msg.sender].member != member && _transmitterMember[msg.sender] != member) revert NotAnchorer();
        if (commitmentsRoot == bytes32(0) && recordHash == bytes32(0)) revert NothingToAnchor();
        if (block.timestamp <= deadline || block.timestamp > uint256(deadline) + RunConstants.anchorWindow()) revert OutsideAnchorWindow();
        uint64 start = RunConstants.epochStart();
        if (deadline < start) revert OutsideTraining();
        uint64 epoch = (deadline - start) / RunConstants.epochLength();
        if (commitmentsRoot != bytes32(0)) {
            if (epoch > RunConstants.lastEpoch()) revert OutsideTraining();
            Anchor storage anchor = _anchors[_anchorKey(round, deadline, commitmentsRoot)];
            if (anchor.time == 0) {
                anchor.time = uint64(block.timestamp);
                anchor.blockNumber = uint64(block.number);
            }
        }
        if (recordHash != bytes32(0)) {
            if (recordOf[recordRound] == bytes32(0)) recordOf[recordRound] = recordHash;
        }
        emit RoundAnchored(round, epoch, deadline, commitmentsRoot, recordRound, recordHash, msg.sender);
    }

    function _anchorKey(uint64 round, uint64 deadline, bytes32 commitmentsRoot) internal pure returns (bytes32) {
        return keccak256(abi.encode(round, deadline, commitmentsRoot));
    }

    /*//////////////////////////////////////////////////////////////
                                 EPOCHS
    //////////////////////////////////////////////////////////////*/

    function closeEpoch(uint64 epoch) external {
        if (epoch != nextEpoch) revert WrongEpoch(nextEpoch);
        if (epoch > _finalEpoch()) revert OutsideTraining();
        uint256 end = RunConstants.epochStart() + (uint256(epoch) + 1) * RunConstants.epochLength();
        if (block.timestamp < end) revert EpochNotOver(uint64(end));
        if (epoch == 0) {
            if (!ICampaign(RunConstants.campaign()).succeeded()) revert CampaignNotSucceeded();
        } else {
            EpochState before = _epochs[epoch - 1].state;
            if (before == EpochState.Reported) revert NotSettled(epoch - 1);
            if (before == EpochState.Closed) _voidLapsed(epoch - 1);
        }
        uint32 providers = IProviderRegistry(RunConstants.registry()).providerCount();
        uint256 acc = IRevenueDistributor(RunConstants.distributor()).closeEpoch();
        uint256 unlocked = ICampaign(RunConstants.campaign()).reserve(epoch);
        nextEpoch = epoch + 1;
        // Never falls, since the number of providers never does.
        _depth = SumTree.depthFor(providers);
        Epoch storage e = _epochs[epoch];
        e.state = EpochState.Closed;
        e.closedAt = uint40(block.timestamp);
        e.providerCount = providers;
        _pending.acc = uint192(acc);
        _pending.unlockedEscrow = uint128(unlocked);
        emit EpochClosed(epoch, acc, unlocked, providers, uint64(block.timestamp));
    }

    function submitReport(Report calldata r, bytes calldata credits, bytes[] calldata signatures) external {
        uint64 epoch = r.epoch;
        Epoch memory e = _epochs[epoch];
        if (epoch + 1 != nextEpoch) revert WrongEpoch(nextEpoch == 0 ? 0 : nextEpoch - 1);
        if (e.state != EpochState.Closed) revert NotClosed();
        _checkReport(r, e.closedAt);
        if (credits.length > CreditList.MAX_ENTRIES * CreditList.ENTRY) revert ListTooLong();
        if (keccak256(credits) != r.creditsHash) revert WrongListHash();
        bytes32 digest = Eip712.digest(ReportHash.report(r));
        address[] memory signed;
        (signed, e.signerMask) = _checkQuorum(digest, signatures);
        e.state = EpochState.Reported;
        e.openUntil = uint40(block.timestamp + RunConstants.challengeWindow());
        e.attempt = r.attempt;
        e.rotation = rotation;
        _epochs[epoch] = e;
        _pending.epochCredits = r.epochCredits;
        _pending.digest = digest;
        uint256 wage = _wageFor(_pending.unlockedEscrow, r.epochCredits);
        emit ReportSubmitted(epoch, r.attempt, digest, r, credits, signed, signatures, wage);
    }

    function finalizeEpoch(Report calldata r) external {
        uint64 epoch = r.epoch;
        Epoch storage e = _epochs[epoch];
        if (e.state != EpochState.Reported) revert NotReported();
        if (block.timestamp < e.openUntil) revert StillOpen(e.openUntil);
        Pending memory p = _pending;
        if (reportHash(r) != p.digest) revert WrongReport();
        e.state = EpochState.Final;
        e.settledAt = uint40(block.timestamp);
        _voidsInRow = 0;
        _lastRoot = r.root;
        _lastSum = uint64(r.sum);
        uint256 wage = _wageFor(p.unlockedEscrow, p.epochCredits);
        ICreditLedger(RunConstants.ledger()).record(
            epoch, FinalEpoch(r.root, r.sum, r.depth, p.epochCredits, uint64(block.timestamp), p.acc, wage, p.digest)
        );
        ICheckpointRegistry(RunConstants.checkpoints()).append(epoch, r.round, r.checkpoint, r.lossMicro);
        emit EpochFinal(epoch, r.root, r.sum, p.epochCredits, p.acc, wage);
        _payEpoch(r, wage, _signersOf(e.rotation, e.signerMask));
    }

    /// @dev Wages move if the asset lets them; if not, they stay due, anyone can try again, and no provider is paid until they have.
    function _payEpoch(Report calldata r, uint256 wage, address[] memory signed) internal {
        (uint256 wages, uint256 excess, uint256 feeEach) = _payFor(r.epochCredits, wage, signed.length);
        ICampaign campaign = ICampaign(RunConstants.campaign());
        bool isLast = r.epoch == _finalEpoch();
        campaign.settleEpoch(r.epoch, wages, excess, feeEach, signed, r.sum, r.lossMicro, true, isLast);
        if (isLast) _finish();
        if (wages != 0) {
            try campaign.payWages() {}
            catch {
                IRevenueDistributor(RunConstants.distributor()).awaitWages();
            }
        }
    }

    function voidEpoch(uint64 epoch) external {
        _voidLapsed(epoch);
    }

    function _voidLapsed(uint64 epoch) internal {
        Epoch storage e = _epochs[epoch];
        if (e.state != EpochState.Closed) revert NotClosed();
        uint256 until = uint256(e.closedAt) + RunConstants.reportSpan();
        if (block.timestamp < until) revert ReportSpanOpen(uint64(until));
        _void(epoch, e, false);
    }

    function _void(uint64 epoch, Epoch storage e, bool fraud) internal {
        e.state = EpochState.Void;
        e.settledAt = uint40(block.timestamp);
        ++_voidsInRow;
        emit EpochVoided(epoch, fraud);
        bool isLast = epoch == _finalEpoch();
        ICampaign(RunConstants.campaign()).settleEpoch(epoch, 0, 0, 0, new address[](0), _lastSum, type(uint64).max, false, isLast);
        if (isLast) _finish();
    }

    function _finish() internal {
        _finishedAt = uint40(block.timestamp);
        IRevenueDistributor(RunConstants.distributor()).finish();
    }

    function _finalEpoch() internal view returns (uint64) {
        return RunConstants.lastEpoch() + RunConstants.tailEpochs();
    }

    function _checkReport(Report calldata r, uint256 closedAt) internal view {
        if (block.timestamp >= closedAt + RunConstants.reportSpan()) revert ReportSpanOver();
        uint32 attempt = uint32((block.timestamp - closedAt) / RunConstants.attemptLength());
        if (r.attempt != attempt) revert WrongAttempt(attempt);
        if (r.configDigest != configDigest) revert WrongConfig(configDigest);
        if (r.prevRoot != _lastRoot) revert WrongPrevRoot(_lastRoot);
        if (r.depth != _depth) revert WrongDepth(_depth);
        uint256 limit = creditsLimit();
        if (r.epochCredits > limit) revert TooManyCredits(limit);
        uint256 sum = uint256(_lastSum) + r.epochCredits;
        if (r.sum != sum) revert WrongSum(sum);
        if (bytes(r.evidenceCid).length > MAX_CID_BYTES || bytes(r.checkpointCid).length > MAX_CID_BYTES) revert CidTooLong();
        if (
            r.blockNumber >= block.number || block.number - r.blockNumber > BLOCK_AGE
                || blockhash(r.blockNumber) != r.blockHash
        ) revert WrongBlock();
    }

    function _wageFor(uint256 unlocked, uint256 epochCredits) internal view returns (uint256) {
        return Wages.perCredit(unlocked, epochCredits, RunConstants.wagePerCredit(), RunConstants.oracleBps());
    }

    function _payFor(uint256 epochCredits, uint256 wage, uint256 signed)
        internal
        view
        returns (uint256 wages, uint256 excess, uint256 feeEach)
    {
        (wages, excess) = Wages.total(epochCredits, wage);
        feeEach = Wages.feeEach(wages, RunConstants.oracleBps(), signed);
    }

    /*//////////////////////////////////////////////////////////////
                             BONDS AND BANS
    //////////////////////////////////////////////////////////////*/

    function postBond(address signer, uint256 amount) external payable {
        Assets.take(RunConstants.asset(), amount);
        if (amount == 0) revert ZeroAmount();
        uint128 bond = _signers[signer].bond + SafeCast.toUint128(amount);
        _signers[signer].bond = bond;
        emit BondPosted(signer, amount, bond);
    }

    function withdrawBond(address signer) external {
        if (msg.sender != signer && msg.sender != _signers[signer].transmitter) revert NotSigner(msg.sender);
        if (!_bondFree(_signers[signer].member) || IDisputes(RunConstants.disputes()).openGames() != 0) revert BondLocked();
        uint256 amount = _signers[signer].bond;
        if (amount == 0) revert NothingDue();
        _signers[signer].bond = 0;
        emit BondWithdrawn(signer, amount);
        Assets.give(RunConstants.asset(), signer, amount);
    }

    /// @dev `member` numbers the set that followed the signer's last one, were there any.
    function _bondFree(uint32 member) internal view returns (bool) {
        if (member == 0 || ICampaign(RunConstants.campaign()).failed()) return true;
        uint256 period = RunConstants.disputePeriod();
        if (_finishedAt != 0 && block.timestamp >= _finishedAt + period) return true;
        if (member > rotation) return false;
        uint64 closed = _appliedBefore[member];
        if (closed == 0) return true;
        uint256 settledAt = _epochs[closed - 1].settledAt;
        return settledAt != 0 && block.timestamp >= settledAt + period;
    }

    function _slash(address signer, address prover) internal {
        uint256 bond = _signers[signer].bond;
        _signers[signer].bond = 0;
        _share(bond, prover);
        emit BondSlashed(signer, prover, bond);
    }

    function banProvider(Ban calldata b, bytes[] calldata signatures) external {
        _checkQuorum(Eip712.digest(ReportHash.ban(configDigest, b)), signatures);
        IProviderRegistry(RunConstants.registry()).ban(b.index, b.evidenceSha256, b.until);
    }

    /*//////////////////////////////////////////////////////////////
                         ROTATION, EQUIVOCATION
    //////////////////////////////////////////////////////////////*/

    function proposeRotation(Rotation calldata r, bytes[] calldata signatures) external {
        if (_proposal.at != 0) revert RotationPending();
        _checkSet(r.quorum, r.signers, r.transmitters);
        bytes32 hash = ReportHash.rotation(configDigest, r);
        _checkQuorum(Eip712.digest(hash), signatures);
        uint40 at = uint40(block.timestamp + RunConstants.rotationDelay());
        _proposal = Proposal(hash, at);
        emit RotationProposed(rotation + 1, r.quorum, r.signers, r.transmitters, at);
    }

    function applyRotation(Rotation calldata r) external {
        if (_proposal.at == 0 || _proposal.hash != ReportHash.rotation(configDigest, r)) revert NotProposed();
        if (block.timestamp < _proposal.at) revert RotationNotDue(_proposal.at);
        delete _proposal;
        ++rotation;
        // A closed epoch without a report is the new set's to report.
        uint64 closed = nextEpoch;
        if (closed != 0 && _epochs[closed - 1].state == EpochState.Closed) --closed;
        _appliedBefore[rotation] = closed;
        _installSet(r.quorum, r.signers, r.transmitters);
    }

    function proveEquivocation(Report calldata a, bytes calldata signatureA, Report calldata b, bytes calldata signatureB) external {
        bytes32 digestA = reportHash(a);
        bytes32 digestB = reportHash(b);
        address signer = ECDSA.recoverCalldata(digestA, signatureA);
        if (
            a.epoch != b.epoch || a.attempt != b.attempt || digestA == digestB
                || ECDSA.recoverCalldata(digestB, signatureB) != signer
        ) revert NotEquivocation();
        bytes32 key = keccak256(abi.encode(signer, a.epoch, a.attempt));
        if (_equivocations[key]) revert AlreadyProved();
        uint256 bond = _signers[signer].bond;
        if (bond == 0) revert NothingDue();
        // Or a signer could clear itself beforehand, an epoch and attempt for one unit.
        if (bond >= RunConstants.signerBond()) _equivocations[key] = true;
        _slash(signer, msg.sender);
    }

    function _checkSet(uint16 quorum_, address[] calldata set, address[] calldata transmitters) internal pure {
        uint256 n = set.length;
        if (n == 0 || n > MAX_SIGNERS || transmitters.length != n) revert BadSignerSet();
        if (uint256(quorum_) * 2 <= n || quorum_ > n) revert BadSignerSet();
        for (uint256 i = 0; i < n; ++i) {
            if (set[i] == address(0) || transmitters[i] == address(0)) revert BadSignerSet();
            if (i != 0 && set[i] <= set[i - 1]) revert BadSignerSet();
        }
    }

    function _installSet(uint16 quorum_, address[] calldata set, address[] calldata transmitters) internal {
        uint32 member = rotation + 1;
        quorum = quorum_;
        _sets[rotation] = set;
        for (uint256 i = 0; i < set.length; ++i) {
            Signer storage s = _signers[set[i]];
            s.member = member;
            s.position = uint8(i);
            s.transmitter = transmitters[i];
            _transmitterMember[transmitters[i]] = member;
        }
        configDigest = keccak256(abi.encode(CONFIG_TAG, RunConstants.configSha256(), rotation, quorum_, set));
        emit SignerSetChanged(rotation, configDigest, quorum_, set, transmitters);
    }

    /// @dev Signers of a quorum: of the current set, fully bonded, in ascending order. The order also makes each count once.
    function _checkQuorum(bytes32 digest, bytes[] calldata signatures)
        internal
        view
        returns (address[] memory signed, uint32 mask)
    {
        if (signatures.length < quorum) revert TooFewSignatures(quorum);
        signed = new address[](signatures.length);
        uint32 member = rotation + 1;
        uint128 required = RunConstants.signerBond();
        address last = address(0);
        for (uint256 i = 0; i < signatures.length; ++i) {
            address signer = ECDSA.recoverCalldata(digest, signatures[i]);
            if (signer <= last) revert WrongSignatureOrder(i);
            Signer storage s = _signers[signer];
            if (s.member != member) revert NotSigner(signer);
            if (s.bond < required) revert BondNotFull(signer);
            signed[i] = signer;
            mask |= uint32(1) << s.position;
            last = signer;
        }
    }

    function _signersOf(uint32 rotation_, uint32 mask) internal view returns (address[] memory signed) {
        address[] storage set = _sets[rotation_];
        uint256 count = 0;
        for (uint256 i = 0; i < set.length; ++i) {
            count += (mask >> i) & 1;
        }
        signed = new address[](count);
        for (uint256 i = set.length; i != 0; --i) {
            if ((mask >> (i - 1)) & 1 == 1) signed[--count] = set[i - 1];
        }
    }

    /*//////////////////////////////////////////////////////////////
                                DISPUTES
    //////////////////////////////////////////////////////////////*/

    function voidByFraud(address prover) external onlyDisputes {
        (uint64 epoch, Epoch storage e) = _reported();
        _slashSet(e.rotation, e.signerMask, prover);
        _void(epoch, e, true);
    }

    function voidUnanswered() external onlyDisputes {
        (uint64 epoch, Epoch storage e) = _reported();
        _void(epoch, e, false);
    }

    function holdReport(uint64 until) external onlyDisputes {
        (, Epoch storage e) = _reported();
        if (until > e.openUntil) e.openUntil = uint40(until);
    }

    function slashSigners(uint32 rotation_, uint32 mask, address prover) external onlyDisputes {
        _slashSet(rotation_, mask, prover);
    }

    function _reported() internal view returns (uint64 epoch, Epoch storage e) {
        epoch = nextEpoch - 1;
        e = _epochs[epoch];
        if (e.state != EpochState.Reported) revert NotReported();
    }

    function _slashSet(uint32 rotation_, uint32 mask, address prover) internal {
        address[] memory signed = _signersOf(rotation_, mask);
        for (uint256 i = 0; i < signed.length; ++i) {
            _slash(signed[i], prover);
        }
    }

    /*//////////////////////////////////////////////////////////////
                                 VIEWS
    //////////////////////////////////////////////////////////////*/

    function requireQuorum(bytes32 structHash, bytes[] calldata signatures) external view {
        _checkQuorum(Eip712.digest(structHash), signatures);
    }

    function epochInfo(uint64 epoch) external view returns (EpochInfo memory info) {
        Epoch memory e = _epochs[epoch];
        info.state = e.state;
        info.closedAt = e.closedAt;
        info.openUntil = e.openUntil;
        info.settledAt = e.settledAt;
        info.providerCount = e.providerCount;
        info.attempt = e.attempt;
        info.rotation = e.rotation;
        info.signerMask = e.signerMask;
        if (e.state == EpochState.Final) {
            FinalEpoch memory f = ICreditLedger(RunConstants.ledger()).finalEpoch(epoch);
            (info.epochCredits, info.acc, info.wage, info.reportDigest) = (f.epochCredits, f.acc, f.wage, f.reportDigest);
        } else if (e.state == EpochState.Closed || e.state == EpochState.Reported) {
            info.acc = _pending.acc;
            info.unlockedEscrow = _pending.unlockedEscrow;
            if (e.state == EpochState.Reported) {
                info.epochCredits = _pending.epochCredits;
                info.wage = _wageFor(_pending.unlockedEscrow, _pending.epochCredits);
                info.reportDigest = _pending.digest;
            }
        }
    }

    function reservedEscrow() external view returns (uint256) {
        if (nextEpoch == 0) return 0;
        Epoch memory e = _epochs[nextEpoch - 1];
        uint256 unlocked = _pending.unlockedEscrow;
        if (e.state == EpochState.Closed) return unlocked;
        if (e.state != EpochState.Reported) return 0;
        uint256 signed = _signersOf(e.rotation, e.signerMask).length;
        uint256 credits = _pending.epochCredits;
        (uint256 wages,, uint256 feeEach) = _payFor(credits, _wageFor(unlocked, credits), signed);
        return wages + feeEach * signed;
    }

    function finishedAt() external view returns (uint64) {
        return _finishedAt;
    }

    function currentAttempt(uint64 epoch) external view returns (uint32) {
        Epoch storage e = _epochs[epoch];
        if (e.state != EpochState.Closed) revert NotClosed();
        if (block.timestamp >= uint256(e.closedAt) + RunConstants.reportSpan()) revert ReportSpanOver();
        return uint32((block.timestamp - e.closedAt) / RunConstants.attemptLength());
    }

    function creditsLimit() public view returns (uint256) {
        uint256 cap = (uint256(_voidsInRow) + 1) * RunConstants.maxCreditsPerEpoch();
        return Math.min(cap, type(uint64).max - _lastSum);
    }

    function isAnchored(uint64 round, uint64 deadline, bytes32 commitmentsRoot) external view returns (bool) {
        return _anchors[_anchorKey(round, deadline, commitmentsRoot)].time != 0;
    }

    function anchorOf(uint64 round, uint64 deadline, bytes32 commitmentsRoot) external view returns (uint64 time, uint64 blockNumber) {
        Anchor storage anchor = _anchors[_anchorKey(round, deadline, commitmentsRoot)];
        return (anchor.time, anchor.blockNumber);
    }

    function signers() external view returns (address[] memory) {
        return _sets[rotation];
    }

    function signersAt(uint32 rotation_) external view returns (address[] memory) {
        return _sets[rotation_];
    }

    function transmitterOf(address signer) external view returns (address) {
        return _signers[signer].transmitter;
    }

    function bondOf(address signer) external view returns (uint256) {
        return _signers[signer].bond;
    }

    function reportHash(Report calldata r) public view returns (bytes32) {
        return Eip712.digest(ReportHash.report(r));
    }

    function domainSeparator() external view returns (bytes32) {
        return Eip712.domainSeparator();
    }
}
