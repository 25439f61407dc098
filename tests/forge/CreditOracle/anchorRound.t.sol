// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Base} from "../support/Base.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";

/// @notice CreditOracle.anchorRound: roots within their window, the first record for good.
contract OracleAnchorRoundTest is Base {
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
        deadline += 1;
        vm.warp(deadline + 1);
        _anchor(1, deadline, bytes32(uint256(1)), 0, 0);
        ok(oracle.isAnchored(1, deadline, bytes32(uint256(1))), "the first second of the first epoch");
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

    function test_firstRecordIsKept() public {
        uint64 deadline = T0 + 200;
        vm.warp(deadline + 1);
        vm.prank(transmitter);
        vm.expectRevert(ICreditOracle.NothingToAnchor.selector);
        oracle.anchorRound(1, deadline, 0, 0, 0);
        _anchor(1, deadline, bytes32(uint256(1)), 0, bytes32(uint256(9)));
        _anchor(1, deadline, bytes32(uint256(2)), 0, bytes32(uint256(9)));
        _anchor(1, deadline, bytes32(uint256(1)), 0, bytes32(uint256(8)));
        eq(oracle.recordOf(0), bytes32(uint256(9)), "record");
    }
}
