// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {ReportSteps} from "../support/ReportSteps.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";
import {Report, RunParams} from "../../../contracts/interfaces/Types.sol";

/// @notice Attacks on reports: old, late, foreign, or not signed as they should be.
contract ReportAttackTest is ReportSteps {
    /// A final report, or one that fell, cannot be brought again.
    function test_attack_resubmittedReport() public {
        launch(2);
        close(0);
        list(0, 7);
        r = honestReport(0);
        credits = packedList();
        bytes[] memory sigs = signAll(digestOf(r), 3);
        submitWith(r, credits, sigs);
        vm.expectRevert(ICreditOracle.NotClosed.selector);
        oracle.submitReport(r, credits, sigs);
        finalizeNow(0);
        vm.expectRevert(ICreditOracle.NotClosed.selector);
        oracle.submitReport(r, credits, sigs);
        close(1);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.WrongEpoch.selector, 1));
        oracle.submitReport(r, credits, sigs);
        r.epoch = 1;
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.WrongPrevRoot.selector, r.root));
        oracle.submitReport(r, credits, sigs);
    }

    /// A report for a lapsed attempt is refused although its signatures are good, and after the span none is accepted.
    function test_attack_lateReport() public {
        _prepare();
        bytes[] memory sigs = signAll(digestOf(r), 3);
        vm.warp(block.timestamp + 100);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.WrongAttempt.selector, 1));
        oracle.submitReport(r, credits, sigs);
        vm.warp(block.timestamp + 200);
        vm.expectRevert(ICreditOracle.ReportSpanOver.selector);
        oracle.submitReport(r, credits, sigs);
        oracle.voidEpoch(0);
        vm.expectRevert(ICreditOracle.NotClosed.selector);
        oracle.submitReport(r, credits, sigs);
    }

    /// An oracle that stops for good holds nobody's money: epochs lapse, the unspent returns, final credits are claimed.
    function test_attack_lapsedOracle() public {
        launch(2);
        list(0, 100);
        runEpoch(0);
        for (uint64 e = 1; e < 8; ++e) {
            vm.warp(epochEnd(e) + 301);
            oracle.closeEpoch(e);
        }
        vm.warp(block.timestamp + 300);
        oracle.voidEpoch(7);
        ok(campaign.ended(), "ended");
        vm.prank(alice);
        campaign.claimUnspent();
        vm.prank(bob);
        campaign.claimUnspent();
        pay(10_000);
        claimCompute(0);
        distributor.claimCapital(alice);
        ok(balance(payoutAddress(0)) == 1_000 + 6_000, "wages and revenue");
    }

    /// A report of one run does not pass in another with the same signers and parameters.
    function test_attack_replayAcrossRuns() public {
        launch(2);
        address other = factory.createRun(_sameParams());
        close(0);
        list(0, 7);
        r = honestReport(0);
        bytes[] memory sigs = signAll(digestOf(r), 3);
        credits = packedList();
        address first = address(campaign);
        bindRun(other);
        fund(alice, GOAL);
        registerMany(2);
        postBonds();
        vm.warp(epochEnd(3));
        vm.roll(block.number + 1);
        oracle.closeEpoch(0);
        r.attempt = 0;
        // Under this run's domain the same signatures are those of other, unknown keys.
        vm.expectPartialRevert(ICreditOracle.NotSigner.selector);
        oracle.submitReport(r, credits, sigs);
        bindRun(first);
    }

    function _sameParams() internal returns (RunParams memory p) {
        p = defaultParams();
        p.depositDeadline = uint64(epochEnd(2));
        p.epochStart = uint64(epochEnd(2));
    }

    /// After a fork of the chain, what was signed on the one branch is nothing on the other.
    function test_attack_replayAcrossChains() public {
        _prepare();
        bytes[] memory sigs = signAll(digestOf(r), 3);
        vm.chainId(777);
        _refusesAll(sigs);
        vm.chainId(31_337);
        oracle.submitReport(r, credits, sigs);
    }

    /// Signatures for another contract of the same run do not count here.
    function test_attack_replayAcrossContracts() public {
        _prepare();
        _refusesAll(signAll(typed(address(campaign), structHashModel(r)), 3));
    }

    function _refusesAll(bytes[] memory sigs) internal {
        (bool accepted, bytes memory why) = address(oracle).call(abi.encodeCall(ICreditOracle.submitReport, (r, credits, sigs)));
        deadSignatures(accepted, why);
    }

    /// Epoch, attempt and configuration are signed: changed in the report, its signatures are worth nothing; unchanged, they are refused by name.
    function test_attack_replayAcrossEpochsAttemptsAndConfigs() public {
        _prepare();
        bytes[] memory sigs = signAll(digestOf(r), 3);
        Report memory old = r;
        vm.warp(block.timestamp + 300);
        oracle.voidEpoch(0);
        close(1);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.WrongEpoch.selector, 1));
        oracle.submitReport(old, credits, sigs);
        r.epoch = 1;
        r.blockNumber = uint64(block.number - 1);
        r.blockHash = blockhash(block.number - 1);
        _refusesAll(sigs);
        vm.warp(block.timestamp + 100);
        r.attempt = 1;
        _refusesAll(sigs);
        r.configDigest = keccak256("another set");
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.WrongConfig.selector, oracle.configDigest()));
        this.submitIt(sigs);
    }

    function submitIt(bytes[] memory sigs) external {
        oracle.submitReport(r, credits, sigs);
    }

    function test_attack_malleableSignature() public {
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

    /// A report whose words are wider than their fields, signed as it is, could be taken and never be settled.
    function test_attack_reportOfWordsTooWide() public {
        _prepare();
        uint8[7] memory narrow = [1, 2, 6, 7, 13, 14, 15];
        for (uint256 i = 0; i < narrow.length; ++i) {
            bytes memory asked = _widen(abi.encodeCall(ICreditOracle.reportHash, (r)), narrow[i]);
            (bool hashed, bytes memory digest) = address(oracle).call(asked);
            ok(hashed, "the hash is that of the words");
            bytes[] memory sigs = signAll(abi.decode(digest, (bytes32)), 3);
            bytes memory sent = _widen(abi.encodeCall(ICreditOracle.submitReport, (r, credits, sigs)), narrow[i]);
            (bool taken,) = address(oracle).call(sent);
            ok(!taken, "taken");
        }
        submit(r);
    }

    /// @dev The call with one bit set above the widest field that is no whole word, in that word of the report, which comes first in it.
    function _widen(bytes memory call_, uint256 word) internal pure returns (bytes memory) {
        assembly ("memory-safe") {
            let arguments := add(call_, 0x24)
            let at := add(add(arguments, mload(arguments)), shl(5, word))
            mstore(at, or(mload(at), shl(64, 1)))
        }
        return call_;
    }

    /// One signer cannot fill a quorum, not even with its signature in a second shape.
    function test_attack_oneSignatureTwice() public {
        _prepare();
        bytes32 digest = digestOf(r);
        bytes[] memory sigs = signAll(digest, 3);
        sigs[2] = sigs[1];
        _refused(sigs, abi.encodeWithSelector(ICreditOracle.WrongSignatureOrder.selector, 2));
    }

    /// Nobody can put off an epoch by calling things: closing twice, voiding early, finalising early.
    function test_attack_timersDoNotReset() public {
        launch(1);
        close(0);
        uint256 closedAt = oracle.epochInfo(0).closedAt;
        vm.warp(closedAt + 299);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.WrongEpoch.selector, 1));
        oracle.closeEpoch(0);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.EpochNotOver.selector, epochEnd(1)));
        oracle.closeEpoch(1);
        eq(oracle.epochInfo(0).closedAt, closedAt, "unchanged");
        vm.warp(closedAt + 300);
        oracle.voidEpoch(0);
    }
}
