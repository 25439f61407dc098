// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {RotationSteps} from "../support/RotationSteps.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";
import {Report, Rotation} from "../../../contracts/interfaces/Types.sol";

/// @notice CreditOracle.applyRotation: after its delay the new set signs and the old one does not.
contract OracleApplyRotationTest is RotationSteps {
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
}
