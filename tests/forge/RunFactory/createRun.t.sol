// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {ICampaign} from "../../../contracts/interfaces/ICampaign.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";
import {IRevenueDistributor} from "../../../contracts/interfaces/IRevenueDistributor.sol";
import {IRunFactory} from "../../../contracts/interfaces/IRunFactory.sol";
import {Milestone, RunAddresses, RunParams} from "../../../contracts/interfaces/Types.sol";

/// @notice RunFactory.createRun: one transaction makes a whole run, and parameters that break a promise are refused.
contract RunFactoryCreateRunTest is Base {
    function test_createsRunInOneTransaction() public {
        RunParams memory p = defaultParams();
        uint256 before = gasleft();
        address c = factory.createRun(p);
        ok(before - gasleft() < 16_700_000, "gas");
        ok(factory.isRun(c), "known");
        ok(!factory.isRun(address(this)), "others are not");
        ICampaign campaign_ = ICampaign(c);
        RunAddresses memory a = campaign_.addresses();
        eq(a.campaign, c, "named by its campaign");
        address[8] memory all =
            [a.campaign, a.registry, a.oracle, a.ledger, a.checkpoints, a.distributor, a.payments, a.disputes];
        eq(keccak256(abi.encode(campaign_.params())), keccak256(abi.encode(p)), "parameters");
        for (uint256 i = 0; i < 8; ++i) {
            uint256 parameters = i == 0 ? abi.encode(p).length : 0;
            eq(all[i].code.length, 45 + 442 + parameters, "EIP-1167 clone and constants");
        }
    }

    /// The clones' code holds their addresses, which follow from the factory's nonce: one, two and three bytes of it are encoded
    /// differently.
    function test_clonesKnowEachOtherAtAnyNonce() public {
        uint24[3] memory nonces = [uint24(0x7c), 0xfc, 0xfffc];
        for (uint256 i = 0; i < 3; ++i) {
            vm.setNonceUnsafe(address(factory), nonces[i]);
            vm.store(address(factory), 0, bytes32(uint256(nonces[i])));
            address c = factory.createRun(defaultParams());
            RunAddresses memory a = ICampaign(c).addresses();
            eq(a.campaign, c, "campaign");
            eq(IRevenueDistributor(a.distributor).accCapital(), 0, "distributor is there");
            eq(ICreditOracle(a.oracle).signers().length, 4, "oracle is there");
        }
    }

    /// Beyond the nonces that are provided for, a factory makes no more runs; anyone can deploy another.
    function test_factoryEndsWithItsNonces() public {
        vm.setNonceUnsafe(address(factory), 0xfffff9);
        vm.store(address(factory), 0, bytes32(uint256(0xfffff9)));
        RunParams memory p = defaultParams();
        // The number that follows would not fit.
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", 0x11));
        factory.createRun(p);
    }

    function _refused(RunParams memory p, bytes32 name) internal {
        vm.expectRevert(abi.encodeWithSelector(IRunFactory.BadParameter.selector, name));
        factory.createRun(p);
    }

    function test_refusesMoneyOutOfRange() public {
        RunParams memory p = defaultParams();
        p.asset = address(0x1234);
        _refused(p, "asset");
        p = defaultParams();
        p.goal = 0;
        _refused(p, "goal");
        p = defaultParams();
        p.cap = GOAL - 1;
        _refused(p, "cap");
        p.cap = 1 << 127;
        _refused(p, "cap");
        p = defaultParams();
        p.capitalBps = 10_001;
        _refused(p, "capitalBps");
        p = defaultParams();
        p.oracleBps = 10_001;
        _refused(p, "oracleBps");
        p = defaultParams();
        p.serverBps = 10_001;
        _refused(p, "serverBps");
        p = defaultParams();
        p.wagePerCredit = 1 << 80;
        _refused(p, "wagePerCredit");
        p = defaultParams();
        p.providerStake = 1 << 127;
        _refused(p, "providerStake");
        p = defaultParams();
        p.signerBond = 1 << 127;
        _refused(p, "signerBond");
        p = defaultParams();
        p.challengeBond = 1 << 127;
        _refused(p, "challengeBond");
        p = defaultParams();
        p.disputeBond = 1 << 127;
        _refused(p, "disputeBond");
    }

    function test_refusesTimesThatLag() public {
        RunParams memory p = defaultParams();
        p.depositDeadline = T0;
        _refused(p, "depositDeadline");
        p = defaultParams();
        p.epochStart = p.depositDeadline - 1;
        _refused(p, "epochStart");
        p = defaultParams();
        p.tailEpochs = 1;
        _refused(p, "tailEpochs");
        p = defaultParams();
        p.challengeWindow = 0;
        _refused(p, "challengeWindow");
        p = defaultParams();
        p.answerTime = 0;
        _refused(p, "answerTime");
        p = defaultParams();
        p.disputePeriod = 0;
        _refused(p, "disputePeriod");
        p = defaultParams();
        p.anchorWindow = 0;
        _refused(p, "anchorWindow");
        p = defaultParams();
        p.attemptLength = 0;
        _refused(p, "attemptLength");
        p.attemptLength = 301;
        _refused(p, "attemptLength");
        p = defaultParams();
        p.epochLength = 300 + 100 + 8 * 20 - 1;
        _refused(p, "epochLength");
        p.epochLength += 1;
        factory.createRun(p);
        p = defaultParams();
        p.lastEpoch = 1 << 40;
        _refused(p, "lastEpoch");
        p = defaultParams();
        p.maxCreditsPerEpoch = 0;
        _refused(p, "maxCreditsPerEpoch");
        p = defaultParams();
        p.anchorEvery = 0;
        _refused(p, "anchorEvery");
    }

    function test_takesTheEndsOfTheRanges() public {
        RunParams memory p = defaultParams();
        uint256 most = (1 << 127) - 1;
        (p.goal, p.cap) = (most, most);
        (p.capitalBps, p.oracleBps, p.serverBps) = (10_000, 10_000, 10_000);
        p.wagePerCredit = (1 << 80) - 1;
        (p.providerStake, p.signerBond, p.challengeBond, p.disputeBond) = (most, most, most, most);
        (p.depositDeadline, p.epochStart) = (T0 + 1, T0 + 1);
        (p.attemptLength, p.challengeWindow, p.answerTime) = (300, 1, 1);
        (p.disputePeriod, p.anchorWindow, p.maxCreditsPerEpoch) = (1, 1, 1);
        p.epochLength = 300 + 1 + 8;
        p.milestones = new Milestone[](16);
        for (uint256 i = 0; i < 16; ++i) {
            p.milestones[i] = Milestone(7, 0, 0, 625);
        }
        factory.createRun(p);
        // The last second that fits 40 bits, and the first that does not.
        p.withdrawalDelay = 50;
        p.rotationDelay = uint64((1 << 40) - 1 - (T0 + 1 + 9 * 309 + 1 + 50));
        factory.createRun(p);
        p.rotationDelay += 1;
        _refused(p, "lastEpoch");
    }

    function test_refusesMilestonesThatDoNotAddUp() public {
        RunParams memory p = defaultParams();
        p.milestones = new Milestone[](0);
        _refused(p, "milestones");
        p.milestones = new Milestone[](17);
        _refused(p, "milestones");
        p.milestones = new Milestone[](2);
        p.milestones[0] = Milestone(0, 0, 0, 5_000);
        p.milestones[1] = Milestone(8, 0, 0, 5_000);
        _refused(p, "deadlineEpoch");
        p.milestones[1] = Milestone(7, 0, 0, 4_999);
        _refused(p, "trancheBps");
        p.milestones[1].trancheBps = 5_000;
        factory.createRun(p);
    }

    function test_refusesSignerSets() public {
        RunParams memory p = defaultParams();
        p.quorum = 2;
        _setRefused(p);
        p.quorum = 5;
        _setRefused(p);
        p = defaultParams();
        (p.signers[0], p.signers[1]) = (p.signers[1], p.signers[0]);
        _setRefused(p);
        p = defaultParams();
        p.signers[1] = p.signers[0];
        _setRefused(p);
        p = defaultParams();
        p.signers[0] = address(0);
        _setRefused(p);
        p = defaultParams();
        p.transmitters[2] = address(0);
        _setRefused(p);
        p = defaultParams();
        p.transmitters = new address[](3);
        _setRefused(p);
        p.signers = new address[](0);
        p.transmitters = new address[](0);
        p.quorum = 0;
        _setRefused(p);
        p.signers = new address[](32);
        p.transmitters = new address[](32);
        for (uint160 i = 0; i < 32; ++i) {
            p.signers[i] = address(i + 1);
            p.transmitters[i] = address(i + 1);
        }
        p.quorum = 17;
        _setRefused(p);
    }

    function _setRefused(RunParams memory p) internal {
        vm.expectRevert(ICreditOracle.BadSignerSet.selector);
        factory.createRun(p);
    }

    function test_thirtyOneSignersFit() public {
        RunParams memory p = defaultParams();
        p.signers = new address[](31);
        p.transmitters = new address[](31);
        for (uint160 i = 0; i < 31; ++i) {
            p.signers[i] = address(i + 1);
            p.transmitters[i] = address(i + 1);
        }
        p.quorum = 21;
        uint256 before = gasleft();
        factory.createRun(p);
        ok(before - gasleft() < 16_700_000, "gas");
    }
}
