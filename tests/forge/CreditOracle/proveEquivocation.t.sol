// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";
import {IDues} from "../../../contracts/interfaces/IDues.sol";
import {Vm} from "../support/Vm.sol";
import {Report} from "../../../contracts/interfaces/Types.sol";

/// @notice CreditOracle.proveEquivocation: two reports of one signer for one epoch and attempt.
contract OracleProveEquivocationTest is Base {
    function test_equivocationTakesTheBond() public eachAsset {
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
        vm.expectRevert(ICreditOracle.AlreadyProved.selector);
        oracle.proveEquivocation(a, sigA, b, sigB);
        (a.attempt, b.attempt) = (1, 1);
        sigA = signWith(signerKeys[1], digestOf(a));
        sigB = signWith(signerKeys[1], digestOf(b));
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

    /// @dev What the first signer's equivocation books, with a bond of that many units.
    function _slashed(uint256 bond) internal returns (uint256 booked) {
        createRun(defaultParams());
        postBond(vm.addr(signerKeys[0]), bond);
        Report memory a;
        Report memory b;
        a.configDigest = b.configDigest = oracle.configDigest();
        b.lossMicro = 1;
        bytes memory sigA = signWith(signerKeys[0], digestOf(a));
        bytes memory sigB = signWith(signerKeys[0], digestOf(b));
        vm.recordLogs();
        vm.prank(carol);
        oracle.proveEquivocation(a, sigA, b, sigB);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].topics[0] == IDues.Owed.selector) ++booked;
        }
    }

    /// Of a large bond a tenth exactly is the prover's, of a small one what a tenth rounds down to; nothing is booked as nothing.
    function test_shareOfTheProver() public {
        eq(_slashed(1 ether), 2, "prover and pool");
        eq(oracle.owedTo(carol), 0.1 ether, "a tenth");
        eq(_slashed(10), 2, "prover and pool");
        eq(oracle.owedTo(carol), 1, "one unit");
        eq(_slashed(9), 1, "the pool alone");
        eq(oracle.owedTo(address(distributor)), 9, "all of it");
    }

    function test_equivocationNeedsTwoReportsOfOneSignerEpochAndAttempt() public eachAsset {
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
}
