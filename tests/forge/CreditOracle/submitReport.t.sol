// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ReportSteps} from "../support/ReportSteps.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";
import {IDisputes} from "../../../contracts/interfaces/IDisputes.sol";
import {EpochState, Leaf, Report, RunParams, Sibling} from "../../../contracts/interfaces/Types.sol";

/// @notice CreditOracle.submitReport: what a report must say, and who must have signed it.
contract OracleSubmitReportTest is ReportSteps {
    function test_reportRefusesWrongContent() public {
        launch(3);
        close(0);
        list(0, 7);
        Report memory r = honestReport(0);
        bytes memory credits = packedList();
        r.epoch = 1;
        _refusedReport(r, credits, abi.encodeWithSelector(ICreditOracle.WrongEpoch.selector, 0));
        r.epoch = 0;
        r.attempt = 1;
        _refusedReport(r, credits, abi.encodeWithSelector(ICreditOracle.WrongAttempt.selector, 0));
        r.attempt = 0;
        r.configDigest = keccak256("other");
        _refusedReport(r, credits, abi.encodeWithSelector(ICreditOracle.WrongConfig.selector, oracle.configDigest()));
        r.configDigest = oracle.configDigest();
        r.prevRoot = keccak256("other");
        _refusedReport(r, credits, abi.encodeWithSelector(ICreditOracle.WrongPrevRoot.selector, bytes32(0)));
        r.prevRoot = 0;
        r.depth = 1;
        _refusedReport(r, credits, abi.encodeWithSelector(ICreditOracle.WrongDepth.selector, 2));
        r.depth = 3;
        _refusedReport(r, credits, abi.encodeWithSelector(ICreditOracle.WrongDepth.selector, 2));
        r.depth = 2;
        r.sum = 8;
        _refusedReport(r, credits, abi.encodeWithSelector(ICreditOracle.WrongSum.selector, 7));
        r.sum = 7;
        _refusedReport(r, abi.encodePacked(credits, uint96(0)), abi.encodeWithSelector(ICreditOracle.WrongListHash.selector));
        _refusedReport(r, new bytes(120_001), abi.encodeWithSelector(ICreditOracle.ListTooLong.selector));
        r.blockNumber = uint64(block.number);
        _refusedReport(r, credits, abi.encodeWithSelector(ICreditOracle.WrongBlock.selector));
        r.blockHash = blockhash(block.number);
        _refusedReport(r, credits, abi.encodeWithSelector(ICreditOracle.WrongBlock.selector));
        r.blockNumber = uint64(block.number + 1);
        _refusedReport(r, credits, abi.encodeWithSelector(ICreditOracle.WrongBlock.selector));
        r.blockNumber = uint64(block.number - 1);
        r.blockHash = keccak256("other");
        _refusedReport(r, credits, abi.encodeWithSelector(ICreditOracle.WrongBlock.selector));
        r.blockNumber = uint64(block.number - 257);
        r.blockHash = 0;
        _refusedReport(r, credits, abi.encodeWithSelector(ICreditOracle.WrongBlock.selector));
        r.blockNumber = uint64(block.number - 1);
        r.blockHash = blockhash(block.number - 1);
        submit(r);
        bytes[] memory sigs = signAll(digestOf(r), 3);
        vm.expectRevert(ICreditOracle.NotClosed.selector);
        oracle.submitReport(r, credits, sigs);
    }

    function _refusedReport(Report memory r, bytes memory credits, bytes memory with) internal {
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

    function test_attemptIsKept() public {
        launch(1);
        close(0);
        list(0, 7);
        vm.warp(block.timestamp + 100);
        submit(honestReport(0));
        eq(oracle.epochInfo(0).attempt, 1, "second attempt");
    }

    function test_blockOf256BlocksAgo() public {
        launch(1);
        close(0);
        vm.roll(1_000);
        Report memory r = honestReport(0);
        r.blockNumber = 744;
        r.blockHash = blockhash(744);
        ok(r.blockHash != 0, "still known");
        submit(r);
    }

    /// What is in the list is not looked at here: a false one falls by a proof.
    function test_listOfTenThousandEntries() public {
        launch(1);
        close(0);
        Report memory r = honestReport(0);
        bytes memory credits = new bytes(120_012);
        r.creditsHash = keccak256(credits);
        _refusedReport(r, credits, abi.encodeWithSelector(ICreditOracle.ListTooLong.selector));
        credits = new bytes(120_000);
        r.creditsHash = keccak256(credits);
        submitWith(r, credits, signAll(digestOf(r), 3));
        eq(uint256(oracle.epochInfo(0).state), uint256(EpochState.Reported), "taken");
    }

    /// Texts as long as the calldata allows would leave no room for the proof that the report is false.
    function test_longestCids() public {
        launch(1);
        close(0);
        for (uint256 i = 0; i < 2; ++i) {
            Report memory r = honestReport(0);
            if (i == 0) r.evidenceCid = string(new bytes(129));
            else r.checkpointCid = string(new bytes(129));
            _refusedReport(r, "", abi.encodeWithSelector(ICreditOracle.CidTooLong.selector));
        }
        Report memory longest = honestReport(0);
        longest.evidenceCid = string(new bytes(128));
        longest.checkpointCid = string(new bytes(128));
        submit(longest);
        // The largest proof against the largest report: a transaction that nodes pass on, which is one below 128 KiB.
        Sibling[] memory siblings = new Sibling[](20);
        Leaf memory last;
        bytes memory proof =
            abi.encodeCall(IDisputes.proveWrongLeaf, (longest, new bytes(120_000), 0, 0, 0, siblings, last, siblings));
        ok(proof.length + 500 < 128 * 1024, "fits");
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
}
