// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ICampaign} from "../../../contracts/interfaces/ICampaign.sol";
import {ICheckpointRegistry} from "../../../contracts/interfaces/ICheckpointRegistry.sol";
import {ICreditLedger} from "../../../contracts/interfaces/ICreditLedger.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";
import {IDisputes} from "../../../contracts/interfaces/IDisputes.sol";
import {IDues} from "../../../contracts/interfaces/IDues.sol";
import {IInferencePayments} from "../../../contracts/interfaces/IInferencePayments.sol";
import {IProviderRegistry} from "../../../contracts/interfaces/IProviderRegistry.sol";
import {IRevenueDistributor} from "../../../contracts/interfaces/IRevenueDistributor.sol";
import {IRunFactory} from "../../../contracts/interfaces/IRunFactory.sol";
import "../../../contracts/interfaces/Types.sol";
import {TreeModel} from "./TreeModel.sol";
import {Vm} from "./Vm.sol";
import {PlainToken} from "../../../contracts/mocks/Tokens.sol";

/// @dev The tests know the contracts by their interfaces alone, so that a change of a contract compiles no test again.
interface IRegistry is IProviderRegistry, IDues {}

interface IOracle is ICreditOracle, IDues {}

interface ICourt is IDisputes, IDues {}

/// @notice A run with four signers (quorum three) and the steps that most tests need.
abstract contract Base {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    uint64 internal constant T0 = 1_000_000;
    uint64 internal constant L = 1_000;
    uint256 internal constant GOAL = 1_000_000;
    uint256 internal constant CAP = 3_000_000;
    uint256 internal constant STAKE = 5_000;
    uint256 internal constant BOND = 7_000;

    IRunFactory internal factory;
    ICampaign internal campaign;
    IRegistry internal registry;
    IOracle internal oracle;
    ICreditLedger internal ledger;
    ICheckpointRegistry internal checkpoints;
    IRevenueDistributor internal distributor;
    IInferencePayments internal payments;
    ICourt internal disputes;
    TreeModel internal tree;

    uint256[] internal signerKeys;
    address internal asset;
    address internal alice = address(0xA11CE);
    address internal bob = address(0xB0B);
    address internal carol = address(0xCA401);
    uint32[] internal listIndices;
    uint64[] internal listCredits;
    bool private _inner;

    /*//////////////////////////////////////////////////////////////
                                 SET-UP
    //////////////////////////////////////////////////////////////*/

    function setUp() public virtual {
        vm.warp(T0);
        vm.roll(1000);
        deployFactory();
        arrange();
    }

    /// @dev What a test starts from; once for each asset it runs with.
    function arrange() internal virtual {
        createRun(defaultParams());
    }

    /// @dev Runs a test with ETH and then, from the same state, with a token. A contract of its own for each asset would be compiled twice.
    modifier eachAsset() {
        if (_inner) {
            _;
        } else {
            _runForEach();
        }
    }

    function _runForEach() private {
        _inner = true;
        uint256 start = vm.snapshotState();
        _runAgain();
        vm.revertToState(start);
        asset = address(new PlainToken());
        arrange();
        _runAgain();
    }

    function _runAgain() private {
        (bool passed, bytes memory why) = address(this).call(msg.data);
        if (passed) return;
        assembly ("memory-safe") {
            revert(add(why, 0x20), mload(why))
        }
    }

    function deployFactory() internal {
        RunAddresses memory impl = RunAddresses({
            campaign: deployCode("Campaign", ""),
            registry: deployCode("ProviderRegistry", ""),
            oracle: deployCode("CreditOracle", ""),
            ledger: deployCode("CreditLedger", ""),
            checkpoints: deployCode("CheckpointRegistry", ""),
            distributor: deployCode("RevenueDistributor", ""),
            payments: deployCode("InferencePayments", ""),
            disputes: deployCode("Disputes", "")
        });
        factory = IRunFactory(deployCode("RunFactory", abi.encode(impl)));
    }

    /// @dev From the artifact, so that no test contract carries the code of all others.
    function deployCode(string memory name, bytes memory arguments) internal returns (address made) {
        bytes memory code = abi.encodePacked(vm.getCode(string(abi.encodePacked(name, ".sol:", name))), arguments);
        assembly ("memory-safe") {
            made := create(0, add(code, 0x20), mload(code))
        }
        if (made == address(0)) revert NotTrue(name);
    }

    function defaultParams() internal returns (RunParams memory p) {
        p.asset = asset;
        p.goal = GOAL;
        p.cap = CAP;
        p.depositDeadline = T0 + 100;
        p.capitalBps = 4_000;
        p.wagePerCredit = 10;
        p.oracleBps = 500;
        p.serverBps = 2_000;
        p.epochStart = T0 + 100;
        p.epochLength = L;
        p.lastEpoch = 5;
        p.tailEpochs = 2;
        p.reportSpan = 300;
        p.attemptLength = 100;
        p.challengeWindow = 100;
        p.answerTime = 20;
        p.disputePeriod = 500;
        p.anchorWindow = 60;
        p.rotationDelay = 200;
        p.withdrawalDelay = 50;
        p.maxCreditsPerEpoch = 1_000_000;
        p.anchorEvery = 1;
        p.evidenceRetention = 100_000;
        p.providerStake = STAKE;
        p.signerBond = BOND;
        p.challengeBond = 1_000;
        p.disputeBond = 1_000;
        p.quorum = 3;
        if (signerKeys.length == 0) _makeSigners(4);
        p.signers = signerAddresses();
        p.transmitters = new address[](p.signers.length);
        for (uint256 i = 0; i < p.signers.length; ++i) {
            p.transmitters[i] = address(uint160(0x7000 + i));
        }
        p.configSha256 = keccak256("config");
        p.configCid = "bafkreiconfig";
        p.name = "test run";
        p.dataLicence = "CC0-1.0";
        p.weightsLicence = "Apache-2.0";
        p.milestones = new Milestone[](1);
        p.milestones[0] = Milestone(7, 0, type(uint64).max, 10_000);
    }

    function createRun(RunParams memory p) internal {
        bindRun(factory.createRun(p));
        tree = new TreeModel();
    }

    function bindRun(address c) internal {
        campaign = ICampaign(c);
        RunAddresses memory a = campaign.addresses();
        registry = IRegistry(a.registry);
        oracle = IOracle(a.oracle);
        ledger = ICreditLedger(a.ledger);
        checkpoints = ICheckpointRegistry(a.checkpoints);
        distributor = IRevenueDistributor(a.distributor);
        payments = IInferencePayments(a.payments);
        disputes = ICourt(a.disputes);
    }

    /// @dev Keys whose addresses ascend.
    function _makeSigners(uint256 n) internal {
        uint256 candidate = 1000;
        while (signerKeys.length < n) {
            ++candidate;
            if (signerKeys.length == 0 || vm.addr(candidate) > vm.addr(signerKeys[signerKeys.length - 1])) {
                signerKeys.push(candidate);
            }
        }
    }

    function signerAddresses() internal view returns (address[] memory set) {
        set = new address[](signerKeys.length);
        for (uint256 i = 0; i < set.length; ++i) {
            set[i] = vm.addr(signerKeys[i]);
        }
    }

    /*//////////////////////////////////////////////////////////////
                                 MONEY
    //////////////////////////////////////////////////////////////*/

    function give(address to, uint256 amount) internal {
        if (asset == address(0)) vm.deal(to, to.balance + amount);
        else PlainToken(asset).mint(to, amount);
    }

    function balance(address who) internal view returns (uint256) {
        return asset == address(0) ? who.balance : PlainToken(asset).balanceOf(who);
    }

    /// @dev Readies `who` to pay `amount` to `to`, and returns the ETH to send with the call.
    function ready(address who, address to, uint256 amount) internal returns (uint256 value) {
        give(who, amount);
        if (asset == address(0)) return amount;
        vm.prank(who);
        (bool done,) = asset.call(abi.encodeCall(IERC20.approve, (to, amount)));
        ok(done, "approve");
    }

    function fund(address who, uint256 amount) internal {
        uint256 value = ready(who, address(campaign), amount);
        vm.prank(who);
        campaign.deposit{value: value}(amount);
    }

    function pay(uint256 amount) internal {
        uint256 value = ready(address(0xBEEF), address(distributor), amount);
        vm.prank(address(0xBEEF));
        distributor.payRevenue{value: value}(amount);
    }

    function postBond(address signer, uint256 amount) internal {
        uint256 value = ready(address(0xB04D), address(oracle), amount);
        vm.prank(address(0xB04D));
        oracle.postBond{value: value}(signer, amount);
    }

    /*//////////////////////////////////////////////////////////////
                                 STEPS
    //////////////////////////////////////////////////////////////*/

    function providerAccount(uint32 i) internal pure returns (address) {
        return address(uint160(0x10000 + i));
    }

    function payoutAddress(uint32 i) internal pure returns (address) {
        return address(uint160(0x20000 + i));
    }

    function registerOne(uint32 i) internal returns (uint32) {
        address account = providerAccount(i);
        uint256 value = ready(account, address(registry), STAKE);
        vm.prank(account);
        return registry.register{value: value}(address(uint160(0x30000 + i)), payoutAddress(i), "peer", STAKE);
    }

    function registerMany(uint32 n) internal {
        for (uint32 i = 0; i < n; ++i) {
            registerOne(i);
        }
    }

    function postBonds() internal {
        for (uint256 i = 0; i < signerKeys.length; ++i) {
            postBond(vm.addr(signerKeys[i]), BOND);
        }
    }

    /// @dev A funded run with `n` providers and full bonds, after its deposit deadline.
    function launch(uint32 n) internal {
        fund(alice, 1_000_000);
        fund(bob, 500_001);
        registerMany(n);
        postBonds();
        vm.warp(T0 + 100);
    }

    function epochEnd(uint64 e) internal pure returns (uint256) {
        return T0 + 100 + (uint256(e) + 1) * L;
    }

    function close(uint64 e) internal {
        if (block.timestamp < epochEnd(e)) vm.warp(epochEnd(e));
        vm.roll(block.number + 1);
        oracle.closeEpoch(e);
    }

    function list(uint32 index, uint64 credits) internal {
        listIndices.push(index);
        listCredits.push(credits);
    }

    function packedList() internal view returns (bytes memory out) {
        for (uint256 i = 0; i < listIndices.length; ++i) {
            out = abi.encodePacked(out, listIndices[i], listCredits[i]);
        }
    }

    function clearList() internal {
        delete listIndices;
        delete listCredits;
    }

    /// @dev Scaled wage of an epoch, from the specification's formula.
    function wageModel(uint256 unlocked, uint256 credits) internal pure returns (uint256) {
        if (credits == 0) return 0;
        uint256 b = unlocked * 10_000 / 10_500;
        uint256 full = uint256(10) << 64;
        uint256 fits = (b << 64) / credits;
        return fits < full ? fits : full;
    }

    /// @dev The honest report on the closed epoch with the current list; adds the list to the tree.
    function honestReport(uint64 e) internal returns (Report memory r) {
        EpochInfo memory info = oracle.epochInfo(e);
        uint64 credits = 0;
        for (uint256 i = 0; i < listCredits.length; ++i) {
            credits += listCredits[i];
        }
        uint256 wage = wageModel(info.unlockedEscrow, credits);
        for (uint256 i = 0; i < listIndices.length; ++i) {
            tree.add(listIndices[i], providerAccount(listIndices[i]), listCredits[i], info.acc, wage);
        }
        r = reportOn(e, tree, credits);
    }

    function reportOn(uint64 e, TreeModel t, uint64 credits) internal view returns (Report memory r) {
        EpochInfo memory info = oracle.epochInfo(e);
        (,, bytes32 prev, uint256 sum, uint8 depth) = ledger.latest();
        r.configDigest = oracle.configDigest();
        r.epoch = e;
        r.attempt = uint32((block.timestamp - info.closedAt) / 100);
        r.prevRoot = prev;
        r.depth = depthModel(info.providerCount, depth);
        (r.root,) = t.rootOf(r.depth);
        r.sum = sum + credits;
        r.epochCredits = credits;
        r.creditsHash = keccak256(packedList());
        r.evidenceCid = "bafybeievidence";
        r.evidenceSha256 = keccak256(abi.encode("evidence", e));
        r.checkpoint = keccak256(abi.encode("checkpoint", e));
        r.checkpointCid = "bafybeicheckpoint";
        r.round = e * 3;
        r.lossMicro = 3_000_000;
        r.blockNumber = uint64(block.number - 1);
        r.blockHash = blockhash(block.number - 1);
    }

    function depthModel(uint32 providers, uint8 before) internal pure returns (uint8 d) {
        d = before == 0 ? 1 : before;
        while ((uint256(1) << d) < providers) ++d;
    }

    function digestOf(Report memory r) internal view returns (bytes32) {
        return typed(address(oracle), structHashModel(r));
    }

    function typed(address verifying, bytes32 structHash) internal view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Commonweight"),
                keccak256("1"),
                block.chainid,
                verifying
            )
        );
        return keccak256(abi.encodePacked("\x19\x01", domain, structHash));
    }

    function structHashModel(Report memory r) internal pure returns (bytes32) {
        bytes memory a = abi.encode(
            keccak256(
                "Report(bytes32 configDigest,uint64 epoch,uint32 attempt,bytes32 prevRoot,bytes32 root,uint256 sum,uint8 depth,uint64 epochCredits,bytes32 creditsHash,string evidenceCid,bytes32 evidenceSha256,bytes32 checkpoint,string checkpointCid,uint64 round,uint64 lossMicro,uint64 blockNumber,bytes32 blockHash)"
            ),
            r.configDigest,
            uint256(r.epoch),
            uint256(r.attempt),
            r.prevRoot,
            r.root,
            r.sum
        );
        bytes memory b = abi.encode(
            uint256(r.depth),
            uint256(r.epochCredits),
            r.creditsHash,
            keccak256(bytes(r.evidenceCid)),
            r.evidenceSha256,
            r.checkpoint,
            keccak256(bytes(r.checkpointCid))
        );
        bytes memory c = abi.encode(uint256(r.round), uint256(r.lossMicro), uint256(r.blockNumber), r.blockHash);
        return keccak256(abi.encodePacked(a, b, c));
    }

    function signWith(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function signAll(bytes32 digest, uint256 count) internal view returns (bytes[] memory sigs) {
        sigs = new bytes[](count);
        for (uint256 i = 0; i < count; ++i) {
            sigs[i] = signWith(signerKeys[i], digest);
        }
    }

    function submit(Report memory r) internal {
        submitWith(r, packedList(), signAll(digestOf(r), 3));
    }

    function submitWith(Report memory r, bytes memory credits, bytes[] memory sigs) internal {
        oracle.submitReport(r, credits, sigs);
    }

    function finalizeNow(uint64 e) internal {
        vm.warp(oracle.epochInfo(e).openUntil);
        oracle.finalizeEpoch(e);
    }

    /// @dev Closes, reports the current list honestly and makes it final; clears the list.
    function runEpoch(uint64 e) internal {
        close(e);
        submit(honestReport(e));
        finalizeNow(e);
        clearList();
    }

    /// @dev Closes the epoch and lets its report lapse.
    function lapseEpoch(uint64 e) internal {
        close(e);
        vm.warp(block.timestamp + 300);
        oracle.voidEpoch(e);
    }

    function lastDepth() internal view returns (uint8 depth) {
        (,,,, depth) = ledger.latest();
    }

    function latestEpoch() internal view returns (uint64 e) {
        (e,,,,) = ledger.latest();
    }

    function claimCompute(uint32 index) internal {
        distributor.claimCompute(latestEpoch(), tree.leaf(index), tree.proofOf(lastDepth(), index));
    }

    /*//////////////////////////////////////////////////////////////
                               ASSERTIONS
    //////////////////////////////////////////////////////////////*/

    error NotEqual(string what, uint256 a, uint256 b);
    error NotTrue(string what);

    function eq(uint256 a, uint256 b, string memory what) internal pure {
        if (a != b) revert NotEqual(what, a, b);
    }

    function eq(address a, address b, string memory what) internal pure {
        if (a != b) revert NotEqual(what, uint160(a), uint160(b));
    }

    function eq(bytes32 a, bytes32 b, string memory what) internal pure {
        if (a != b) revert NotEqual(what, uint256(a), uint256(b));
    }

    function ok(bool value, string memory what) internal pure {
        if (!value) revert NotTrue(what);
    }

    function bound(uint256 x, uint256 low, uint256 high) internal pure returns (uint256) {
        return low + x % (high - low + 1);
    }

    /// @dev Expects the next call to revert with an error of this selector, whatever its arguments.
    function refuses(bytes4 selector) internal {
        vm.expectPartialRevert(selector);
    }
}
