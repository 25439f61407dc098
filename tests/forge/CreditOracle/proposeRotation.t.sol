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
}
