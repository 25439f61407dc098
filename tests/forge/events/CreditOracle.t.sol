// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {EventLog} from "../support/EventLog.sol";
import {RotationSteps} from "../support/RotationSteps.sol";
import {ICampaign} from "../../../contracts/interfaces/ICampaign.sol";
import {ICheckpointRegistry} from "../../../contracts/interfaces/ICheckpointRegistry.sol";
import {ICreditLedger} from "../../../contracts/interfaces/ICreditLedger.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";
import {IDues} from "../../../contracts/interfaces/IDues.sol";
import {IProviderRegistry} from "../../../contracts/interfaces/IProviderRegistry.sol";
import {IRevenueDistributor} from "../../../contracts/interfaces/IRevenueDistributor.sol";
import {Ban, Report, Rotation} from "../../../contracts/interfaces/Types.sol";

/// @notice What the oracle's transactions log, in all contracts that they reach.
contract CreditOracleEventsTest is RotationSteps, EventLog {
    /// @dev 18 credits are final, 600 units of revenue wait for them, and epoch 1 is over.
    function _secondEpoch() internal {
        launch(3);
        list(0, 7);
        list(2, 11);
        runEpoch(0);
        pay(1_000);
        vm.warp(epochEnd(1) + 5);
        vm.roll(block.number + 1);
    }

    function _report() internal returns (Report memory r) {
        vm.warp(block.timestamp + 210);
        list(0, 120);
        r = honestReport(1);
    }

    function test_anchorRound() public {
        uint64 deadline = T0 + 100 + 2 * L + 7;
        vm.warp(deadline + 1);
        _listen();
        vm.prank(address(0x7001));
        oracle.anchorRound(5, deadline, keccak256("root"), 4, keccak256("record"));
        _logged();
        _by(address(oracle));
        emit ICreditOracle.RoundAnchored(5, 2, deadline, keccak256("root"), 4, keccak256("record"), address(0x7001));
        _same();
    }

    function test_closeEpoch() public {
        _secondEpoch();
        uint256 acc = (uint256(600) << 64) / 18;
        // 180 units of wages and 3 times 3 of fees were paid for epoch 0.
        uint256 unlocked = 1_500_001 - 180 - 9;
        _listen();
        oracle.closeEpoch(1);
        _logged();
        _by(address(distributor));
        emit IRevenueDistributor.Distributed(acc, (uint256(600) << 64) % 18);
        _by(address(campaign));
        emit ICampaign.EscrowReserved(1, unlocked);
        _by(address(oracle));
        emit ICreditOracle.EpochClosed(1, acc, unlocked, 3, uint64(epochEnd(1) + 5));
        _same();

        // The next close voids the epoch that nobody reported.
        vm.warp(epochEnd(2));
        oracle.closeEpoch(2);
        _logged();
        _by(address(oracle));
        emit ICreditOracle.EpochVoided(1, false);
        _by(address(campaign));
        emit ICampaign.EscrowReserved(2, unlocked);
        _by(address(oracle));
        emit ICreditOracle.EpochClosed(2, acc, unlocked, 3, uint64(epochEnd(2)));
        _same();
    }

    function test_reportToFinality() public {
        _secondEpoch();
        oracle.closeEpoch(1);
        Report memory r = _report();
        bytes memory credits = packedList();
        bytes[] memory sigs = signAll(digestOf(r), 3);
        address[] memory signed = new address[](3);
        for (uint256 i = 0; i < 3; ++i) {
            signed[i] = vm.addr(signerKeys[i]);
        }
        uint256 wage = uint256(10) << 64;
        _listen();
        submitWith(r, credits, sigs);
        _logged();
        _by(address(oracle));
        emit ICreditOracle.ReportSubmitted(1, 2, digestOf(r), r, credits, signed, sigs, wage);
        _same();

        finalizeNow(1);
        _logged();
        _by(address(ledger));
        emit ICreditLedger.EpochRecorded(1, r.root, 138, 2);
        _by(address(checkpoints));
        emit ICheckpointRegistry.CheckpointAttested(1, 1, 3, r.checkpoint, keccak256(abi.encode("checkpoint", 0)), 3_000_000);
        _by(address(oracle));
        emit ICreditOracle.EpochFinal(1, r.root, 138, 120, (uint256(600) << 64) / 18, wage);
        _by(address(campaign));
        emit ICampaign.WagesDue(1, 1_200, 60);
        _by(address(campaign));
        emit ICampaign.WagesPaid(1_200);
        _by(address(distributor));
        emit IRevenueDistributor.WagesReceived(1_200);
        _same();
    }

    function test_voidEpoch() public {
        launch(1);
        lapseEpoch(0);
        close(1);
        vm.warp(block.timestamp + 300);
        _listen();
        oracle.voidEpoch(1);
        _logged();
        _by(address(oracle));
        emit ICreditOracle.EpochVoided(1, false);
        _same();
    }

    /// The run's last settlement ends the escrow and hands what is pending to the capital pool.
    function test_lastEpochVoid() public {
        launch(1);
        for (uint64 e = 0; e < 7; ++e) {
            lapseEpoch(e);
        }
        pay(1_000);
        close(7);
        vm.warp(block.timestamp + 300);
        _listen();
        oracle.voidEpoch(7);
        _logged();
        _by(address(oracle));
        emit ICreditOracle.EpochVoided(7, false);
        _by(address(campaign));
        emit ICampaign.EscrowEnded(7, 1_500_001);
        _by(address(distributor));
        emit IRevenueDistributor.CapitalReceived(address(distributor), 600);
        _same();
    }

    function test_voidUnanswered() public {
        _secondEpoch();
        oracle.closeEpoch(1);
        submit(_report());
        _listen();
        vm.prank(address(disputes));
        oracle.voidUnanswered();
        _logged();
        _by(address(oracle));
        emit ICreditOracle.EpochVoided(1, false);
        _same();
    }

    function test_voidByFraudAndItsDues() public {
        _secondEpoch();
        oracle.closeEpoch(1);
        submit(_report());
        _listen();
        vm.prank(address(disputes));
        oracle.voidByFraud(carol);
        _logged();
        _slashedThree(carol);
        _by(address(oracle));
        emit ICreditOracle.EpochVoided(1, true);
        _same();

        oracle.payOwed(carol);
        _logged();
        _by(address(oracle));
        emit IDues.OwedPaid(carol, 2_100);
        _same();

        oracle.payOwed(address(distributor));
        _logged();
        _by(address(oracle));
        emit IDues.OwedPaid(address(distributor), 18_900);
        _by(address(distributor));
        emit IRevenueDistributor.CapitalReceived(address(oracle), 18_900);
        _same();
    }

    function test_slashSigners() public {
        launch(1);
        _listen();
        vm.prank(address(disputes));
        oracle.slashSigners(0, 7, carol);
        _logged();
        _slashedThree(carol);
        _same();
    }

    function test_proveEquivocation() public {
        launch(1);
        close(0);
        list(0, 7);
        Report memory a = honestReport(0);
        Report memory b = honestReport(0);
        b.round += 1;
        bytes memory first = signWith(signerKeys[1], digestOf(a));
        bytes memory second = signWith(signerKeys[1], digestOf(b));
        _listen();
        vm.prank(carol);
        oracle.proveEquivocation(a, first, b, second);
        _logged();
        _by(address(oracle));
        emit IDues.Owed(carol, 700);
        _by(address(oracle));
        emit IDues.Owed(address(distributor), 6_300);
        _by(address(oracle));
        emit ICreditOracle.BondSlashed(vm.addr(signerKeys[1]), carol, BOND);
        _same();
    }

    function test_bonds() public {
        address signer = vm.addr(signerKeys[1]);
        postBond(signer, 5);
        _listen();
        postBond(signer, 11);
        _logged();
        _by(address(oracle));
        emit ICreditOracle.BondPosted(signer, 11, 16);
        _same();

        // Nobody funded the run, so that bonds are free after its deadline.
        vm.warp(T0 + 100);
        vm.prank(address(0x7001));
        oracle.withdrawBond(signer);
        _logged();
        _by(address(oracle));
        emit ICreditOracle.BondWithdrawn(signer, 16);
        _same();
    }

    function test_banProvider() public {
        launch(2);
        Ban memory b = Ban(1, keccak256("why"), uint64(block.timestamp + 1_000));
        bytes32 hash = keccak256(
            abi.encode(
                keccak256("Ban(bytes32 configDigest,uint32 index,bytes32 evidenceSha256,uint64 until)"),
                oracle.configDigest(),
                b.index,
                b.evidenceSha256,
                b.until
            )
        );
        bytes[] memory sigs = signAll(typed(address(oracle), hash), 3);
        _listen();
        oracle.banProvider(b, sigs);
        _logged();
        _by(address(registry));
        emit IProviderRegistry.Banned(1, b.evidenceSha256, b.until);
        _same();
    }

    function test_rotation() public {
        launch(1);
        Rotation memory n = _newSet();
        bytes[] memory sigs = signAll(_digest(n), 3);
        _listen();
        oracle.proposeRotation(n, sigs);
        _logged();
        _by(address(oracle));
        emit ICreditOracle.RotationProposed(1, 2, n.signers, n.transmitters, uint64(block.timestamp + 200));
        _same();

        vm.warp(block.timestamp + 200);
        oracle.applyRotation(n);
        _logged();
        bytes32 config = keccak256(
            abi.encode(keccak256("commonweight.config.v1"), keccak256("config"), uint32(1), uint16(2), n.signers)
        );
        _by(address(oracle));
        emit ICreditOracle.SignerSetChanged(1, config, 2, n.signers, n.transmitters);
        _same();
    }
}
