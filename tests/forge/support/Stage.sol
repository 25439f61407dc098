// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ICampaign} from "../../../contracts/interfaces/ICampaign.sol";
import {ICheckpointRegistry} from "../../../contracts/interfaces/ICheckpointRegistry.sol";
import {ICreditLedger} from "../../../contracts/interfaces/ICreditLedger.sol";
import {IInferencePayments} from "../../../contracts/interfaces/IInferencePayments.sol";
import {IRevenueDistributor} from "../../../contracts/interfaces/IRevenueDistributor.sol";
import {IRunFactory} from "../../../contracts/interfaces/IRunFactory.sol";
import "../../../contracts/interfaces/Types.sol";
import {TreeModel} from "./TreeModel.sol";
import {ICourt, IOracle, IRegistry, World} from "./World.sol";

/// @notice The steps that most tests need. A test borrows them by delegatecall, so that its own code stays small and compiles fast.
/// They use the test's storage, whose layout `World` fixes, and act in its name.
contract Stage is World {
    function deployFactory() public {
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

    function defaultParams() public returns (RunParams memory p) {
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

    function createDefault() public {
        createRun(defaultParams());
    }

    function createRun(RunParams memory p) public {
        bindRun(factory.createRun(p));
        tree = newTree();
    }

    function bindRun(address c) public {
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

    /// @dev Readies `who` to pay `amount` to `to`, and returns the ETH to send with the call.
    function ready(address who, address to, uint256 amount) public returns (uint256 value) {
        give(who, amount);
        if (asset == address(0)) return amount;
        vm.prank(who);
        (bool done,) = asset.call(abi.encodeCall(IERC20.approve, (to, amount)));
        ok(done, "approve");
    }

    function fund(address who, uint256 amount) public {
        uint256 value = ready(who, address(campaign), amount);
        vm.prank(who);
        campaign.deposit{value: value}(amount);
    }

    function pay(uint256 amount) public {
        uint256 value = ready(address(0xBEEF), address(distributor), amount);
        vm.prank(address(0xBEEF));
        distributor.payRevenue{value: value}(amount);
    }

    function postBond(address signer, uint256 amount) public {
        uint256 value = ready(address(0xB04D), address(oracle), amount);
        vm.prank(address(0xB04D));
        oracle.postBond{value: value}(signer, amount);
    }

    function registerOne(uint32 i) public returns (uint32) {
        address account = providerAccount(i);
        uint256 value = ready(account, address(registry), STAKE);
        vm.prank(account);
        return registry.register{value: value}(address(uint160(0x30000 + i)), payoutAddress(i), "peer", STAKE);
    }

    function registerMany(uint32 n) public {
        for (uint32 i = 0; i < n; ++i) {
            registerOne(i);
        }
    }

    function postBonds() public {
        for (uint256 i = 0; i < signerKeys.length; ++i) {
            postBond(vm.addr(signerKeys[i]), BOND);
        }
    }

    /// @dev A funded run with `n` providers and full bonds, after its deposit deadline.
    function launch(uint32 n) public {
        fund(alice, 1_000_000);
        fund(bob, 500_001);
        registerMany(n);
        postBonds();
        vm.warp(T0 + 100);
    }

    function close(uint64 e) public {
        if (block.timestamp < epochEnd(e)) vm.warp(epochEnd(e));
        vm.roll(block.number + 1);
        oracle.closeEpoch(e);
    }

    /// @dev The honest report on the closed epoch with the current list; adds the list to the tree.
    function honestReport(uint64 e) public returns (Report memory r) {
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

    function reportOn(uint64 e, TreeModel t, uint64 credits) public view returns (Report memory r) {
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

    function digestOf(Report memory r) public view returns (bytes32) {
        return typed(address(oracle), structHashModel(r));
    }

    function structHashModel(Report memory r) public pure returns (bytes32) {
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

    function signAll(bytes32 digest, uint256 count) public view returns (bytes[] memory sigs) {
        sigs = new bytes[](count);
        for (uint256 i = 0; i < count; ++i) {
            sigs[i] = signWith(signerKeys[i], digest);
        }
    }

    function submit(Report memory r) public {
        submitWith(r, packedList(), signAll(digestOf(r), 3));
    }

    function submitWith(Report memory r, bytes memory credits, bytes[] memory sigs) public {
        oracle.submitReport(r, credits, sigs);
        accepted = r;
    }

    function finalizeNow(uint64 e) public {
        vm.warp(oracle.epochInfo(e).openUntil);
        oracle.finalizeEpoch(accepted);
    }

    /// @dev Closes, reports the current list honestly and makes it final; clears the list.
    function runEpoch(uint64 e) public {
        close(e);
        submit(honestReport(e));
        finalizeNow(e);
        clearList();
    }

    /// @dev Closes the epoch and lets its report lapse.
    function lapseEpoch(uint64 e) public {
        close(e);
        vm.warp(block.timestamp + 300);
        oracle.voidEpoch(e);
    }

    function claimCompute(uint32 index) public {
        distributor.claimCompute(latestEpoch(), tree.leaf(index), tree.proofOf(lastDepth(), index));
    }
}
