// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {Base} from "../support/Base.sol";
import {ICampaign} from "../../../contracts/interfaces/ICampaign.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";
import {IInferencePayments} from "../../../contracts/interfaces/IInferencePayments.sol";
import {IProviderRegistry} from "../../../contracts/interfaces/IProviderRegistry.sol";
import {Report, RunAddresses, RunParams} from "../../../contracts/interfaces/Types.sol";
import {Assets} from "../../../contracts/libraries/Assets.sol";
import {RunConstants} from "../../../contracts/libraries/RunConstants.sol";

/// @dev Reads each constant from its own code, as a part of a run does.
contract ConstantsReader {
    function pack(RunParams calldata p, RunAddresses calldata a) external pure returns (bytes memory) {
        return RunConstants.pack(p, a);
    }

    function addresses() external view returns (RunAddresses memory a) {
        a.campaign = RunConstants.campaign();
        a.registry = RunConstants.registry();
        a.oracle = RunConstants.oracle();
        a.ledger = RunConstants.ledger();
        a.checkpoints = RunConstants.checkpoints();
        a.distributor = RunConstants.distributor();
        a.payments = RunConstants.payments();
        a.disputes = RunConstants.disputes();
    }

    /// @dev The parameters that are packed; the others stay empty.
    function packed() external view returns (RunParams memory p) {
        p.asset = RunConstants.asset();
        p.goal = RunConstants.goal();
        p.cap = RunConstants.cap();
        p.wagePerCredit = RunConstants.wagePerCredit();
        p.providerStake = RunConstants.providerStake();
        p.signerBond = RunConstants.signerBond();
        p.challengeBond = RunConstants.challengeBond();
        p.disputeBond = RunConstants.disputeBond();
        p.capitalBps = RunConstants.capitalBps();
        p.oracleBps = RunConstants.oracleBps();
        p.serverBps = RunConstants.serverBps();
        p.depositDeadline = RunConstants.depositDeadline();
        p.epochStart = RunConstants.epochStart();
        p.epochLength = RunConstants.epochLength();
        p.lastEpoch = RunConstants.lastEpoch();
        p.tailEpochs = RunConstants.tailEpochs();
        p.reportSpan = RunConstants.reportSpan();
        p.attemptLength = RunConstants.attemptLength();
        p.challengeWindow = RunConstants.challengeWindow();
        p.answerTime = RunConstants.answerTime();
        p.disputePeriod = RunConstants.disputePeriod();
        p.anchorWindow = RunConstants.anchorWindow();
        p.rotationDelay = RunConstants.rotationDelay();
        p.withdrawalDelay = RunConstants.withdrawalDelay();
        p.maxCreditsPerEpoch = RunConstants.maxCreditsPerEpoch();
        p.configSha256 = RunConstants.configSha256();
    }

    function whole() external view returns (RunParams memory) {
        return RunConstants.params();
    }
}

/// @notice The constants in a clone's code, and that a run's parts go by them: no two of them are equal here.
contract RunConstantsTest is Base {
    function arrange() internal override {
        RunParams memory p = defaultParams();
        p.depositDeadline = T0 + 90;
        p.attemptLength = 70;
        p.challengeWindow = 110;
        p.challengeBond = 1_100;
        p.disputeBond = 900;
        p.maxCreditsPerEpoch = 1_234;
        createRun(p);
    }

    /// @dev Every byte of a packed field is its own, so that a field read a byte aside differs.
    function _all() internal pure returns (RunParams memory p) {
        p.asset = 0x0102030405060708090a0B0c0d0e0f1011121314;
        p.goal = 0x1112131415161718191a1b1c1d1e1f10;
        p.cap = 0x2122232425262728292a2b2c2d2e2f20;
        p.wagePerCredit = 0x3132333435363738393a3b3c3d3e3f30;
        p.providerStake = 0x4142434445464748494a4b4c4d4e4f40;
        p.signerBond = 0x5152535455565758595a5b5c5d5e5f50;
        p.challengeBond = 0x6162636465666768696a6b6c6d6e6f60;
        p.disputeBond = 0x7172737475767778797a7b7c7d7e7f70;
        (p.capitalBps, p.oracleBps, p.serverBps) = (0x8182, 0x8384, 0x8586);
        (p.depositDeadline, p.epochStart) = (0x9192939495969798, 0xa1a2a3a4a5a6a7a8);
        (p.epochLength, p.lastEpoch, p.tailEpochs) = (0xb1b2b3b4b5b6b7b8, 0xc1c2c3c4c5c6c7c8, 0xd1d2d3d4d5d6d7d8);
        (p.reportSpan, p.attemptLength) = (0xe1e2e3e4e5e6e7e8, 0xf1f2f3f4f5f6f7f8);
        (p.challengeWindow, p.answerTime) = (0x0f1f2f3f4f5f6f7f, 0x0e1e2e3e4e5e6e7e);
        (p.disputePeriod, p.anchorWindow) = (0x0d1d2d3d4d5d6d7d, 0x0c1c2c3c4c5c6c7c);
        (p.rotationDelay, p.withdrawalDelay) = (0x0b1b2b3b4b5b6b7b, 0x0a1a2a3a4a5a6a7a);
        p.maxCreditsPerEpoch = 0x0919293949596979;
        p.configSha256 = keccak256("config");
    }

    function test_everyConstantIsReadAsItWasPacked() public {
        RunParams memory p = _all();
        RunAddresses memory a;
        (a.campaign, a.registry, a.oracle, a.ledger) = (vm.addr(1), vm.addr(2), vm.addr(3), vm.addr(4));
        (a.checkpoints, a.distributor, a.payments, a.disputes) = (vm.addr(5), vm.addr(6), vm.addr(7), vm.addr(8));
        ConstantsReader reader = new ConstantsReader();
        bytes memory arguments = bytes.concat(reader.pack(p, a), abi.encode(p));
        reader = ConstantsReader(Clones.cloneWithImmutableArgs(address(reader), arguments));
        eq(keccak256(abi.encode(reader.addresses())), keccak256(abi.encode(a)), "addresses");
        eq(keccak256(abi.encode(reader.packed())), keccak256(abi.encode(p)), "parameters");
        eq(keccak256(abi.encode(reader.whole())), keccak256(abi.encode(p)), "all parameters, behind the constants");
    }

    function test_moneyOfTheRun() public {
        fund(alice, GOAL);
        uint256 value = ready(bob, address(campaign), CAP);
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(ICampaign.CapExceeded.selector, CAP - GOAL));
        campaign.deposit{value: value}(CAP);
        vm.expectRevert(abi.encodeWithSelector(IProviderRegistry.StakeTooLow.selector, STAKE));
        registry.register(address(1), address(2), "", 0);
        Report memory r;
        vm.expectRevert(abi.encodeWithSelector(Assets.WrongValue.selector, 1_100));
        disputes.openGame(r);
        vm.expectRevert(abi.encodeWithSelector(Assets.WrongValue.selector, 900));
        disputes.challengeCredits(0, 0, 0);
        eq(oracle.creditsLimit(), 1_234, "credits of an epoch");
    }

    function test_timesOfTheRun() public {
        fund(alice, GOAL);
        registerMany(3);
        postBonds();
        vm.warp(T0 + 89);
        fund(bob, 1);
        vm.warp(T0 + 90);
        uint256 value = ready(bob, address(campaign), 1);
        vm.prank(bob);
        vm.expectRevert(ICampaign.DepositsClosed.selector);
        campaign.deposit{value: value}(1);
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.EpochNotOver.selector, T0 + 100 + L));
        oracle.closeEpoch(0);
        value = ready(bob, address(payments), 1);
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(IInferencePayments.DelayOutOfRange.selector, 50));
        payments.deposit{value: value}(bob, alice, 49, 1);

        close(0);
        uint256 closedAt = block.timestamp;
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.ReportSpanOpen.selector, closedAt + 300));
        oracle.voidEpoch(0);
        vm.warp(closedAt + 70);
        eq(oracle.currentAttempt(0), 1, "second attempt");
        vm.warp(closedAt + 69);
        eq(oracle.currentAttempt(0), 0, "first attempt");
        list(0, 7);
        submit(honestReport(0));
        vm.expectRevert(abi.encodeWithSelector(ICreditOracle.StillOpen.selector, closedAt + 69 + 110));
        oracle.finalizeEpoch(accepted);
        value = ready(carol, address(disputes), 900);
        vm.prank(carol);
        disputes.challengeCredits{value: value}(0, 0, 0);
        (, uint64 until,,) = disputes.challengeOf(0, 0);
        eq(until, closedAt + 69 + 500, "dispute period");
        vm.warp(closedAt + 69 + 109);
        value = ready(carol, address(disputes), 1_100);
        vm.prank(carol);
        disputes.openGame{value: value}(accepted);
        eq(oracle.epochInfo(0).openUntil, closedAt + 69 + 109 + 2 * 20, "two answer times");
    }
}
