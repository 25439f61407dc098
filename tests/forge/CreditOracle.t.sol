// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {Base, TreeModel} from "./Base.sol";
import {ICreditLedger} from "../../contracts/interfaces/ICreditLedger.sol";
import {ICreditOracle} from "../../contracts/interfaces/ICreditOracle.sol";
import {IProviderRegistry} from "../../contracts/interfaces/IProviderRegistry.sol";
import {Ban, EpochInfo, EpochState, FinalEpoch, Report, Rotation, RunParams} from "../../contracts/interfaces/Types.sol";

/// @notice CreditOracle: anchors.
contract AnchorTest is Base {
    address internal transmitter = address(0x7000);

    function _anchor(uint64 round, uint64 deadline, bytes32 root, uint64 recordRound, bytes32 record) internal {
        vm.prank(transmitter);
        oracle.anchorRound(round, deadline, root, recordRound, record);
    }

    function test_anchorWithinTheWindow() public {
        uint64 deadline = T0 + 100 + 500;
        vm.warp(deadline);
        vm.prank(transmitter);
        vm.expectRevert(ICreditOracle.OutsideAnchorWindow.selector);
        oracle.anchorRound(1, deadline, bytes32(uint256(1)), 0, 0);
        vm.warp(deadline + 61);
        vm.prank(transmitter);
        vm.expectRevert(ICreditOracle.OutsideAnchorWindow.selector);
        oracle.anchorRound(1, deadline, bytes32(uint256(1)), 0, 0);
        vm.warp(deadline + 1);
        vm.roll(4321);
        _anchor(1, deadline, bytes32(uint256(1)), 0, 0);
        ok(oracle.isAnchored(1, deadline, bytes32(uint256(1))), "anchored");
        ok(!oracle.isAnchored(2, deadline, bytes32(uint256(1))), "not another round");
        ok(!oracle.isAnchored(1, deadline + 1, bytes32(uint256(1))), "not another deadline");
        (uint64 time, uint64 number) = oracle.anchorOf(1, deadline, bytes32(uint256(1)));
        eq(time, deadline + 1, "time");
        eq(number, 4321, "block");
        vm.warp(deadline + 60);
        vm.roll(5000);
        _anchor(1, deadline, bytes32(uint256(1)), 0, 0);
        (time, number) = oracle.anchorOf(1, deadline, bytes32(uint256(1)));
        eq(number, 4321, "the first one stays");
    }

    function test_anyAnchorCounts() public {
        uint64 deadline = T0 + 200;
        vm.warp(deadline + 1);
        vm.prank(vm.addr(signerKeys[2]));
        oracle.anchorRound(1, deadline, bytes32(uint256(1)), 0, 0);
        _anchor(1, deadline, bytes32(uint256(2)), 0, 0);
        ok(oracle.isAnchored(1, deadline, bytes32(uint256(1))) && oracle.isAnchored(1, deadline, bytes32(uint256(2))), "both");
        vm.prank(alice);
        vm.expectRevert(ICreditOracle.NotAnchorer.selector);
        oracle.anchorRound(1, deadline, bytes32(uint256(1)), 0, 0);
    }

    function test_rootsOnlyForTrainingEpochs() public {
        uint64 deadline = T0 + 99;
        vm.warp(deadline + 1);
        vm.prank(transmitter);
        vm.expectRevert(ICreditOracle.OutsideTraining.selector);
        oracle.anchorRound(1, deadline, bytes32(uint256(1)), 0, 0);
        deadline = T0 + 100 + 6 * L - 1;
        vm.warp(deadline + 1);
        _anchor(1, deadline, bytes32(uint256(1)), 0, 0);
        deadline += 1;
        vm.warp(deadline + 1);
        vm.prank(transmitter);
        vm.expectRevert(ICreditOracle.OutsideTraining.selector);
        oracle.anchorRound(2, deadline, bytes32(uint256(1)), 1, bytes32(uint256(3)));
        _anchor(2, deadline, 0, 1, bytes32(uint256(3)));
        eq(oracle.recordOf(1), bytes32(uint256(3)), "the last record still comes");
    }

    function test_firstRecordIsTheRecord() public {
        uint64 deadline = T0 + 200;
        vm.warp(deadline + 1);
        vm.prank(transmitter);
        vm.expectRevert(ICreditOracle.NothingToAnchor.selector);
        oracle.anchorRound(1, deadline, 0, 0, 0);
        _anchor(1, deadline, bytes32(uint256(1)), 0, bytes32(uint256(9)));
        _anchor(1, deadline, bytes32(uint256(2)), 0, bytes32(uint256(9)));
        vm.prank(transmitter);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.RecordAlreadyAnchored.selector, 0, bytes32(uint256(9))));
        oracle.anchorRound(1, deadline, bytes32(uint256(1)), 0, bytes32(uint256(8)));
        eq(oracle.recordOf(0), bytes32(uint256(9)), "record");
    }
}

/// @notice CreditOracle: the epoch machine.
contract EpochTest is Base {
    function test_closeInOrderAfterTheEnd() public {
        launch(3);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.WrongEpoch.selector, 0));
        oracle.closeEpoch(1);
        vm.warp(epochEnd(0) - 1);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.EpochNotOver.selector, epochEnd(0)));
        oracle.closeEpoch(0);
        vm.warp(epochEnd(0));
        oracle.closeEpoch(0);
        EpochInfo memory info = oracle.epochInfo(0);
        eq(uint256(info.state), uint256(EpochState.Closed), "closed");
        eq(info.providerCount, 3, "providers");
        eq(info.unlockedEscrow, 1_500_001, "escrow");
        eq(oracle.nextEpoch(), 1, "next");
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.WrongEpoch.selector, 1));
        oracle.closeEpoch(0);
    }

    function test_closeNeedsASucceededCampaign() public {
        fund(alice, GOAL - 1);
        vm.warp(epochEnd(0));
        vm.expectRevert(ICreditOracle.CampaignNotSucceeded.selector);
        oracle.closeEpoch(0);
    }

    function test_closeVoidsALapsedEpochBefore() public {
        launch(1);
        list(0, 5);
        close(0);
        submit(honestReport(0));
        clearList();
        finalizeNow(0);
        close(1);
        close(2);
        eq(uint256(oracle.epochInfo(1).state), uint256(EpochState.Void), "void");
    }

    /// Even when nobody acted for long, the next close waits for the open epoch's own windows.
    function test_closeWaitsForAnOpenEpoch() public {
        launch(1);
        vm.warp(epochEnd(3));
        oracle.closeEpoch(0);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.ReportSpanOpen.selector, epochEnd(3) + 300));
        oracle.closeEpoch(1);
        vm.roll(block.number + 1);
        submit(honestReport(0));
        vm.warp(epochEnd(3) + 100);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.NotSettled.selector, 0));
        oracle.closeEpoch(1);
        oracle.finalizeEpoch(accepted);
        oracle.closeEpoch(1);
    }

    function test_noEpochAfterTheTail() public {
        launch(1);
        for (uint64 e = 0; e < 8; ++e) {
            lapseEpoch(e);
        }
        eq(oracle.finishedAt(), block.timestamp, "finished");
        vm.warp(epochEnd(8));
        vm.expectRevert(ICreditOracle.OutsideTraining.selector);
        oracle.closeEpoch(8);
    }

    function test_reportIsStoredAndFinal() public {
        launch(3);
        close(0);
        list(0, 7);
        list(2, 9);
        Report memory r = honestReport(0);
        submit(r);
        EpochInfo memory info = oracle.epochInfo(0);
        eq(uint256(info.state), uint256(EpochState.Reported), "reported");
        eq(info.openUntil, block.timestamp + 100, "window");
        eq(info.epochCredits, 16, "credits");
        eq(info.wage, uint256(10) << 64, "wage");
        eq(info.reportDigest, digestOf(r), "digest");
        eq(oracle.reportHash(r), digestOf(r), "the contract hashes as EIP-712 says");
        eq(info.signerMask, 7, "signers 0, 1 and 2");
        vm.warp(info.openUntil - 1);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.StillOpen.selector, info.openUntil));
        oracle.finalizeEpoch(accepted);
        vm.expectRevert(ICreditOracle.NotClosed.selector);
        oracle.voidEpoch(0);
        vm.warp(info.openUntil);
        oracle.finalizeEpoch(accepted);
        FinalEpoch memory f = ledger.finalEpoch(0);
        eq(f.root, r.root, "root");
        eq(f.sum, 16, "sum");
        eq(f.depth, 2, "depth");
        eq(f.reportDigest, info.reportDigest, "digest kept");
        eq(f.finalAt, block.timestamp, "time");
        eq(oracle.epochInfo(0).wage, f.wage, "snapshot by either view");
        vm.expectRevert(ICreditOracle.NotReported.selector);
        oracle.finalizeEpoch(accepted);
    }

    function test_reportRefusesWrongContent() public {
        launch(3);
        close(0);
        list(0, 7);
        Report memory r = honestReport(0);
        bytes memory credits = packedList();
        r.epoch = 1;
        _refused(r, credits, abi.encodeWithSelector(ICreditOracle.WrongEpoch.selector, 0));
        r.epoch = 0;
        r.attempt = 1;
        _refused(r, credits, abi.encodeWithSelector(ICreditOracle.WrongAttempt.selector, 0));
        r.attempt = 0;
        r.configDigest = keccak256("other");
        _refused(r, credits, abi.encodeWithSelector(ICreditOracle.WrongConfig.selector, oracle.configDigest()));
        r.configDigest = oracle.configDigest();
        r.prevRoot = keccak256("other");
        _refused(r, credits, abi.encodeWithSelector(ICreditOracle.WrongPrevRoot.selector, bytes32(0)));
        r.prevRoot = 0;
        r.depth = 1;
        _refused(r, credits, abi.encodeWithSelector(ICreditOracle.WrongDepth.selector, 2));
        r.depth = 3;
        _refused(r, credits, abi.encodeWithSelector(ICreditOracle.WrongDepth.selector, 2));
        r.depth = 2;
        r.sum = 8;
        _refused(r, credits, abi.encodeWithSelector(ICreditOracle.WrongSum.selector, 7));
        r.sum = 7;
        _refused(r, abi.encodePacked(credits, uint96(0)), abi.encodeWithSelector(ICreditOracle.WrongListHash.selector));
        _refused(r, new bytes(120_001), abi.encodeWithSelector(ICreditOracle.ListTooLong.selector));
        r.blockNumber = uint64(block.number);
        _refused(r, credits, abi.encodeWithSelector(ICreditOracle.WrongBlock.selector));
        r.blockNumber = uint64(block.number - 1);
        r.blockHash = keccak256("other");
        _refused(r, credits, abi.encodeWithSelector(ICreditOracle.WrongBlock.selector));
        r.blockNumber = uint64(block.number - 257);
        r.blockHash = 0;
        _refused(r, credits, abi.encodeWithSelector(ICreditOracle.WrongBlock.selector));
        r.blockNumber = uint64(block.number - 1);
        r.blockHash = blockhash(block.number - 1);
        submit(r);
        bytes[] memory sigs = signAll(digestOf(r), 3);
        vm.expectRevert(ICreditOracle.NotClosed.selector);
        oracle.submitReport(r, credits, sigs);
    }

    function _refused(Report memory r, bytes memory credits, bytes memory with) internal {
        bytes[] memory sigs = signAll(digestOf(r), 3);
        vm.expectRevert(with);
        oracle.submitReport(r, credits, sigs);
    }

    function test_reportBeforeAnyClose() public {
        launch(1);
        Report memory r;
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.WrongEpoch.selector, 0));
        oracle.submitReport(r, "", new bytes[](0));
    }

    function test_creditsNeverAboveTheCap() public {
        launch(1);
        close(0);
        list(0, 1_000_001);
        Report memory r = honestReport(0);
        bytes memory credits = packedList();
        bytes[] memory sigs = signAll(digestOf(r), 3);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.TooManyCredits.selector, 1_000_000));
        oracle.submitReport(r, credits, sigs);
    }

    function test_capAddsUpOverVoidEpochsInARow() public {
        launch(1);
        lapseEpoch(0);
        lapseEpoch(1);
        eq(oracle.creditsLimit(), 3_000_000, "three epochs' worth");
        list(0, 3_000_000);
        runEpoch(2);
        eq(oracle.creditsLimit(), 1_000_000, "and no more");
        eq(ledger.liveCredits(), 3_000_000, "sum");
    }

    function test_totalCreditsStayBelow64Bits() public {
        RunParams memory p = defaultParams();
        p.maxCreditsPerEpoch = type(uint64).max;
        createRun(p);
        launch(1);
        list(0, type(uint64).max - 3);
        runEpoch(0);
        eq(oracle.creditsLimit(), 3, "room left");
    }

    function test_attemptsAdvanceByTime() public {
        launch(1);
        close(0);
        list(0, 7);
        Report memory early = honestReport(0);
        bytes memory credits = packedList();
        vm.warp(block.timestamp + 100);
        eq(oracle.currentAttempt(0), 1, "second attempt");
        bytes[] memory sigs = signAll(digestOf(early), 3);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.WrongAttempt.selector, 1));
        oracle.submitReport(early, credits, sigs);
        vm.warp(block.timestamp + 199);
        eq(oracle.currentAttempt(0), 2, "third attempt");
        Report memory late = reportOn(0, tree, 7);
        vm.warp(block.timestamp + 1);
        vm.expectRevert(ICreditOracle.ReportSpanOver.selector);
        oracle.currentAttempt(0);
        sigs = signAll(digestOf(late), 3);
        vm.expectRevert(ICreditOracle.ReportSpanOver.selector);
        oracle.submitReport(late, credits, sigs);
        oracle.voidEpoch(0);
        vm.expectRevert(ICreditOracle.NotClosed.selector);
        oracle.currentAttempt(0);
        vm.expectRevert(ICreditOracle.NotClosed.selector);
        oracle.voidEpoch(0);
    }

    function test_voidOnlyAfterTheSpan() public {
        launch(1);
        close(0);
        vm.warp(block.timestamp + 299);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.ReportSpanOpen.selector, block.timestamp + 1));
        oracle.voidEpoch(0);
    }

    function test_depthNeverFallsAndGrowsWithProviders() public {
        launch(2);
        runEpoch(0);
        eq(ledger.finalEpoch(0).depth, 1, "two providers");
        for (uint32 i = 2; i < 5; ++i) {
            registerOne(i);
        }
        lapseEpoch(1);
        runEpoch(2);
        eq(ledger.finalEpoch(2).depth, 3, "five providers");
        runEpoch(3);
        eq(ledger.finalEpoch(3).depth, 3, "stays");
    }

    /// A report that needs no credits keeps the chain of roots going.
    function test_emptyEpochIsFine() public {
        launch(0);
        runEpoch(0);
        eq(ledger.finalEpoch(0).sum, 0, "sum");
        eq(oracle.epochInfo(0).wage, 0, "wage");
    }
}

/// @notice CreditOracle: signatures, quorum and bonds.
contract SignatureTest is Base {
    Report internal r;
    bytes internal credits;

    function _prepare() internal {
        launch(2);
        close(0);
        list(0, 7);
        r = honestReport(0);
        credits = packedList();
    }

    function _refused(bytes[] memory sigs, bytes memory with) internal {
        vm.expectRevert(with);
        oracle.submitReport(r, credits, sigs);
    }

    function test_quorumOfDistinctSigners() public {
        _prepare();
        bytes32 digest = digestOf(r);
        _refused(signAll(digest, 2), abi.encodeWithSelector(ICreditOracle.TooFewSignatures.selector, 3));
        bytes[] memory sigs = signAll(digest, 3);
        sigs[2] = sigs[1];
        _refused(sigs, abi.encodeWithSelector(ICreditOracle.WrongSignatureOrder.selector, 2));
        sigs = signAll(digest, 3);
        (sigs[0], sigs[1]) = (sigs[1], sigs[0]);
        _refused(sigs, abi.encodeWithSelector(ICreditOracle.WrongSignatureOrder.selector, 1));
        uint256 stranger = 0xBAD;
        while (vm.addr(stranger) < vm.addr(signerKeys[1])) ++stranger;
        sigs = signAll(digest, 3);
        sigs[2] = signWith(stranger, digest);
        _refused(sigs, abi.encodeWithSelector(ICreditOracle.NotSigner.selector, vm.addr(stranger)));
        sigs = signAll(digest, 4);
        oracle.submitReport(r, credits, sigs);
        eq(oracle.epochInfo(0).signerMask, 15, "all four");
    }

    function test_signatureMalleability() public {
        _prepare();
        bytes32 digest = digestOf(r);
        bytes[] memory sigs = signAll(digest, 3);
        (uint8 v, bytes32 rr, bytes32 s) = vm.sign(signerKeys[1], digest);
        bytes32 high = bytes32(0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141 - uint256(s));
        sigs[1] = abi.encodePacked(rr, high, v == 27 ? uint8(28) : uint8(27));
        _refused(sigs, abi.encodeWithSelector(ECDSA.ECDSAInvalidSignatureS.selector, high));
        sigs[1] = abi.encodePacked(rr, s);
        _refused(sigs, abi.encodeWithSelector(ECDSA.ECDSAInvalidSignatureLength.selector, 64));
    }

    function test_signaturesDieWithContractChainEpochAndConfig() public {
        _prepare();
        bytes[] memory sigs = signAll(typed(address(campaign), structHashModel(r)), 3);
        vm.expectRevert();
        oracle.submitReport(r, credits, sigs);
        sigs = signAll(digestOf(r), 3);
        vm.chainId(777);
        vm.expectRevert();
        oracle.submitReport(r, credits, sigs);
        vm.chainId(31_337);
        oracle.submitReport(r, credits, sigs);
    }

    function test_bondMustBeFull() public {
        fund(alice, GOAL);
        registerMany(2);
        vm.warp(T0 + 100);
        address[] memory set = signerAddresses();
        postBond(set[0], BOND);
        postBond(set[1], BOND - 1);
        postBond(set[2], BOND);
        close(0);
        list(0, 7);
        r = honestReport(0);
        credits = packedList();
        _refused(signAll(digestOf(r), 3), abi.encodeWithSelector(ICreditOracle.BondNotFull.selector, set[1]));
        postBond(set[1], 1);
        eq(oracle.bondOf(set[1]), BOND, "full");
        submitWith(r, credits, signAll(digestOf(r), 3));
        vm.expectRevert(ICreditOracle.ZeroAmount.selector);
        oracle.postBond(set[0], 0);
    }

    function test_banByQuorumOnce() public {
        _prepare();
        Ban memory b = Ban(1, keccak256("why"), uint64(block.timestamp + 1_000));
        bytes32 digest = _banDigest(b);
        bytes[] memory sigs = signAll(digest, 2);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.TooFewSignatures.selector, 3));
        oracle.banProvider(b, sigs);
        sigs = signAll(digest, 3);
        oracle.banProvider(b, sigs);
        ok(registry.isBanned(1), "banned");
        eq(registry.providerAt(1).bannedUntil, b.until, "until");
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.BanNotLonger.selector, b.until));
        oracle.banProvider(b, sigs);
        vm.warp(b.until);
        ok(!registry.isBanned(1), "expired");
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.BanNotLonger.selector, b.until));
        oracle.banProvider(b, sigs);
        b.index = 2;
        b.until += 10;
        sigs = signAll(_banDigest(b), 3);
        vm.expectRevert(IProviderRegistry.UnknownProvider.selector);
        oracle.banProvider(b, sigs);
        b.index = 0;
        b.until = uint64(block.timestamp);
        sigs = signAll(_banDigest(b), 3);
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.BanNotLonger.selector, 0));
        oracle.banProvider(b, sigs);
    }

    function _banDigest(Ban memory b) internal view returns (bytes32) {
        bytes32 hash = keccak256(
            abi.encode(
                keccak256("Ban(bytes32 configDigest,uint32 index,bytes32 evidenceSha256,uint64 until)"),
                oracle.configDigest(),
                b.index,
                b.evidenceSha256,
                b.until
            )
        );
        return typed(address(oracle), hash);
    }

    function test_configDigestIsAsDocumented() public view {
        eq(
            oracle.configDigest(),
            keccak256(abi.encode(keccak256("commonweight.config.v1"), keccak256("config"), uint32(0), uint16(3), signerAddresses())),
            "digest"
        );
        eq(oracle.signers().length, 4, "signers");
        eq(oracle.signersAt(0).length, 4, "signers of rotation 0");
        eq(oracle.transmitterOf(signerAddresses()[1]), address(0x7001), "transmitter");
        ok(oracle.domainSeparator() != bytes32(0), "domain");
    }

    function test_requireQuorum() public {
        launch(1);
        bytes32 hash = keccak256("anything");
        oracle.requireQuorum(hash, signAll(typed(address(oracle), hash), 3));
        bytes[] memory sigs = signAll(typed(address(oracle), hash), 2);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.TooFewSignatures.selector, 3));
        oracle.requireQuorum(hash, sigs);
    }
}

/// @notice CreditOracle: rotation, bonds that stay locked, equivocation.
contract RotationTest is Base {
    uint256[] internal newKeys;

    function _newSet() internal returns (Rotation memory n) {
        uint256 candidate = 9_000;
        while (newKeys.length < 3) {
            ++candidate;
            if (newKeys.length == 0 || vm.addr(candidate) > vm.addr(newKeys[newKeys.length - 1])) newKeys.push(candidate);
        }
        n.quorum = 2;
        n.signers = new address[](3);
        n.transmitters = new address[](3);
        for (uint256 i = 0; i < 3; ++i) {
            n.signers[i] = vm.addr(newKeys[i]);
            n.transmitters[i] = address(uint160(0x8000 + i));
        }
    }

    function _digest(Rotation memory n) internal view returns (bytes32) {
        bytes memory signers_;
        bytes memory transmitters_;
        for (uint256 i = 0; i < n.signers.length; ++i) {
            signers_ = abi.encodePacked(signers_, abi.encode(n.signers[i]));
            transmitters_ = abi.encodePacked(transmitters_, abi.encode(n.transmitters[i]));
        }
        bytes32 hash = keccak256(
            abi.encode(
                keccak256("Rotation(bytes32 configDigest,uint16 quorum,address[] signers,address[] transmitters)"),
                oracle.configDigest(),
                n.quorum,
                keccak256(signers_),
                keccak256(transmitters_)
            )
        );
        return typed(address(oracle), hash);
    }

    function test_rotationByQuorumWithDelay() public {
        launch(1);
        Rotation memory n = _newSet();
        bytes[] memory sigs = signAll(_digest(n), 2);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.TooFewSignatures.selector, 3));
        oracle.proposeRotation(n, sigs);
        sigs = signAll(_digest(n), 3);
        vm.expectRevert(ICreditOracle.NotProposed.selector);
        oracle.applyRotation(n);
        oracle.proposeRotation(n, sigs);
        vm.expectRevert(ICreditOracle.RotationPending.selector);
        oracle.proposeRotation(n, sigs);
        vm.warp(block.timestamp + 199);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.RotationNotDue.selector, block.timestamp + 1));
        oracle.applyRotation(n);
        vm.warp(block.timestamp + 1);
        Rotation memory other = _newSet();
        other.quorum = 3;
        vm.expectRevert(ICreditOracle.NotProposed.selector);
        oracle.applyRotation(other);
        bytes32 before = oracle.configDigest();
        oracle.applyRotation(n);
        eq(oracle.rotation(), 1, "rotation");
        eq(oracle.quorum(), 2, "quorum");
        eq(oracle.signers().length, 3, "signers");
        eq(oracle.signersAt(0).length, 4, "the old set stays known");
        ok(oracle.configDigest() != before, "config digest");
        // The old signatures died with the old set.
        vm.expectPartialRevert(ICreditOracle.NotSigner.selector);
        oracle.proposeRotation(n, sigs);
        vm.expectRevert(ICreditOracle.NotProposed.selector);
        oracle.applyRotation(n);
    }

    function test_rotationRefusesBadSets() public {
        launch(1);
        Rotation memory n = _newSet();
        n.quorum = 1;
        bytes[] memory sigs = signAll(_digest(n), 3);
        vm.expectRevert(ICreditOracle.BadSignerSet.selector);
        oracle.proposeRotation(n, sigs);
    }

    function _rotate() internal {
        Rotation memory n = _newSet();
        oracle.proposeRotation(n, signAll(_digest(n), 3));
        vm.warp(block.timestamp + 200);
        oracle.applyRotation(n);
    }

    function test_newSetReportsAndOldOneDoesNot() public {
        launch(1);
        _rotate();
        for (uint256 i = 0; i < 3; ++i) {
            postBond(vm.addr(newKeys[i]), BOND);
        }
        close(0);
        list(0, 7);
        Report memory r = honestReport(0);
        bytes memory credits = packedList();
        bytes[] memory sigs = signAll(digestOf(r), 3);
        vm.expectPartialRevert(ICreditOracle.NotSigner.selector);
        oracle.submitReport(r, credits, sigs);
        sigs = new bytes[](2);
        sigs[0] = signWith(newKeys[0], digestOf(r));
        sigs[1] = signWith(newKeys[1], digestOf(r));
        submitWith(r, credits, sigs);
        finalizeNow(0);
        campaign.claimFee(vm.addr(newKeys[0]));
        vm.prank(address(0x7000));
        vm.expectRevert(ICreditOracle.NotAnchorer.selector);
        oracle.anchorRound(0, T0 + 100, bytes32(uint256(1)), 0, 0);
    }

    function test_bondStaysLockedOverRotation() public {
        launch(1);
        address signer = vm.addr(signerKeys[0]);
        vm.prank(signer);
        vm.expectRevert(ICreditOracle.BondLocked.selector);
        oracle.withdrawBond(signer);
        close(0);
        list(0, 7);
        Report memory r = honestReport(0);
        submit(r);
        _rotate();
        oracle.finalizeEpoch(accepted);
        uint256 settled = block.timestamp;
        vm.prank(address(0x7000));
        vm.expectRevert(ICreditOracle.BondLocked.selector);
        oracle.withdrawBond(signer);
        vm.warp(settled + 499);
        vm.prank(signer);
        vm.expectRevert(ICreditOracle.BondLocked.selector);
        oracle.withdrawBond(signer);
        vm.warp(settled + 500);
        vm.prank(alice);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.NotSigner.selector, alice));
        oracle.withdrawBond(signer);
        vm.prank(address(0x7000));
        oracle.withdrawBond(signer);
        eq(balance(signer), BOND, "paid to the signer");
        vm.prank(signer);
        vm.expectRevert(ICreditOracle.NothingDue.selector);
        oracle.withdrawBond(signer);
    }

    function test_bondIsFreeAfterAnEarlyRotation() public {
        launch(1);
        _rotate();
        address signer = vm.addr(signerKeys[0]);
        vm.prank(signer);
        oracle.withdrawBond(signer);
        eq(balance(signer), BOND, "no report yet");
        signer = vm.addr(newKeys[0]);
        postBond(signer, BOND);
        for (uint64 e = 0; e < 8; ++e) {
            lapseEpoch(e);
        }
        vm.prank(signer);
        vm.expectRevert(ICreditOracle.BondLocked.selector);
        oracle.withdrawBond(signer);
        vm.warp(block.timestamp + 500);
        vm.prank(signer);
        oracle.withdrawBond(signer);
        eq(balance(signer), BOND, "a dispute period after the run");
    }

    function test_bondIsFreeWhenTheCampaignFails() public {
        postBonds();
        vm.warp(T0 + 100);
        address signer = vm.addr(signerKeys[0]);
        vm.prank(signer);
        oracle.withdrawBond(signer);
        eq(balance(signer), BOND, "bond back");
    }

    function test_equivocationTakesTheBond() public {
        launch(2);
        close(0);
        list(0, 7);
        Report memory a = honestReport(0);
        Report memory b = honestReport(0);
        b.lossMicro += 1;
        submit(a);
        bytes memory sigA = signWith(signerKeys[1], digestOf(a));
        bytes memory sigB = signWith(signerKeys[1], digestOf(b));
        vm.prank(carol);
        oracle.proveEquivocation(a, sigA, b, sigB);
        address signer = vm.addr(signerKeys[1]);
        eq(oracle.bondOf(signer), 0, "whole bond");
        oracle.payOwed(carol);
        eq(balance(carol), BOND / 10, "a tenth to the prover");
        oracle.payOwed(address(distributor));
        eq(distributor.capitalReceived(), BOND - BOND / 10, "the rest to the capital pool");
        vm.prank(carol);
        vm.expectRevert(ICreditOracle.NothingDue.selector);
        oracle.proveEquivocation(a, sigA, b, sigB);
        // It voids nothing, and the signer signs again only with a full bond.
        finalizeNow(0);
        clearList();
        close(1);
        Report memory r = honestReport(1);
        bytes[] memory sigs = signAll(digestOf(r), 3);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.BondNotFull.selector, signer));
        oracle.submitReport(r, "", sigs);
        postBond(signer, BOND);
        submit(r);
    }

    function test_equivocationNeedsTwoReportsOfOneSignerEpochAndAttempt() public {
        launch(2);
        close(0);
        Report memory a = honestReport(0);
        bytes memory sigA = signWith(signerKeys[1], digestOf(a));
        vm.expectRevert(ICreditOracle.NotEquivocation.selector);
        oracle.proveEquivocation(a, sigA, a, sigA);
        Report memory b = honestReport(0);
        b.lossMicro += 1;
        bytes memory other = signWith(signerKeys[2], digestOf(b));
        vm.expectRevert(ICreditOracle.NotEquivocation.selector);
        oracle.proveEquivocation(a, sigA, b, other);
        b.attempt = 1;
        bytes memory sigB = signWith(signerKeys[1], digestOf(b));
        vm.expectRevert(ICreditOracle.NotEquivocation.selector);
        oracle.proveEquivocation(a, sigA, b, sigB);
        b.attempt = 0;
        b.epoch = 1;
        sigB = signWith(signerKeys[1], digestOf(b));
        vm.expectRevert(ICreditOracle.NotEquivocation.selector);
        oracle.proveEquivocation(a, sigA, b, sigB);
    }

    function test_onlyDisputesVoid() public {
        vm.expectRevert(ICreditOracle.NotDisputes.selector);
        oracle.voidByFraud(alice);
    }

    function test_voidByFraudNeedsAPendingReport() public {
        launch(1);
        close(0);
        vm.prank(address(disputes));
        vm.expectRevert(ICreditOracle.NotReported.selector);
        oracle.voidByFraud(alice);
    }
}

/// @notice CreditLedger: final epochs, leaves, revocations.
contract LedgerTest is Base {
    function test_verifyLeafOfAnyFinalEpoch() public {
        launch(3);
        list(0, 10);
        list(1, 20);
        runEpoch(0);
        TreeModel old = new TreeModel();
        old.copyFrom(tree);
        list(1, 5);
        runEpoch(1);
        ok(ledger.verifyLeaf(0, old.leaf(1), old.proofOf(2, 1)), "old root");
        ok(ledger.verifyLeaf(1, tree.leaf(1), tree.proofOf(2, 1)), "new root");
        ok(!ledger.verifyLeaf(1, old.leaf(1), old.proofOf(2, 1)), "not across");
        ok(ledger.verifyLeaf(1, tree.leaf(2), tree.proofOf(2, 2)), "empty leaf");
        eq(ledger.liveCredits(), 35, "live");
        eq(ledger.rootOf(1), ledger.finalEpoch(1).root, "root");
        vm.expectRevert(abi.encodeWithSelector(ICreditLedger.NotFinal.selector, 2));
        ledger.rootOf(2);
        eq(ledger.finalAt(2), 0, "not final");
    }

    function test_latestBeforeAnyReport() public view {
        (uint64 epoch, bool any, bytes32 root, uint256 sum, uint8 depth) = ledger.latest();
        eq(epoch, 0, "epoch");
        ok(!any, "none");
        eq(root, bytes32(0), "root");
        eq(sum + depth, 0, "sum and depth");
    }

    function test_onlyOthersOfTheRun() public {
        FinalEpoch memory f;
        vm.expectRevert(ICreditLedger.NotOracle.selector);
        ledger.record(0, f);
        vm.expectRevert(ICreditLedger.NotDisputes.selector);
        ledger.revoke(0, 0, 1, 1);
    }

    function test_voidEpochIsNotInTheLedger() public {
        launch(1);
        lapseEpoch(0);
        vm.expectRevert(abi.encodeWithSelector(ICreditLedger.NotFinal.selector, 0));
        ledger.finalEpoch(0);
        EpochInfo memory info = oracle.epochInfo(0);
        eq(info.wage + info.acc + info.epochCredits, 0, "a void epoch keeps none");
    }
}
