// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {RotationSteps} from "../support/RotationSteps.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";
import {Rotation} from "../../../contracts/interfaces/Types.sol";

/// @notice CreditOracle.proposeRotation: a quorum names the next set.
contract OracleProposeRotationTest is RotationSteps {
    function test_rotationRefusesBadSets() public {
        launch(1);
        Rotation memory n = _newSet();
        n.quorum = 1;
        bytes[] memory sigs = signAll(_digest(n), 3);
        vm.expectRevert(ICreditOracle.BadSignerSet.selector);
        oracle.proposeRotation(n, sigs);
    }

    /// Signers ascend; who sends for them need not.
    function test_transmittersComeInAnyOrder() public {
        launch(1);
        Rotation memory n = _newSet();
        (n.transmitters[0], n.transmitters[2]) = (n.transmitters[2], n.transmitters[0]);
        oracle.proposeRotation(n, signAll(_digest(n), 3));
        vm.warp(block.timestamp + 200);
        oracle.applyRotation(n);
        eq(oracle.rotation(), 1, "applied");
        (n.signers[0], n.signers[2]) = (n.signers[2], n.signers[0]);
        bytes[] memory sigs = new bytes[](0);
        vm.expectRevert(ICreditOracle.BadSignerSet.selector);
        oracle.proposeRotation(n, sigs);
    }
}
