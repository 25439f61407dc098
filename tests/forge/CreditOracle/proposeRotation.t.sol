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

    function test_rotationRefusesATransmitterTooMany() public {
        launch(1);
        Rotation memory n = _newSet();
        n.transmitters = new address[](4);
        for (uint256 i = 0; i < 4; ++i) {
            n.transmitters[i] = address(uint160(0x8000 + i));
        }
        vm.expectRevert(ICreditOracle.BadSignerSet.selector);
        oracle.proposeRotation(n, new bytes[](0));
    }

    function test_oneSignerAloneAndAllOfThemAreQuorums() public {
        launch(1);
        Rotation memory n = _newSet();
        n.quorum = 3;
        uint256 start = vm.snapshotState();
        oracle.proposeRotation(n, signAll(_digest(n), 3));
        vm.revertToState(start);
        (address signer, address transmitter) = (n.signers[0], n.transmitters[0]);
        (n.signers, n.transmitters, n.quorum) = (new address[](1), new address[](1), 1);
        (n.signers[0], n.transmitters[0]) = (signer, transmitter);
        oracle.proposeRotation(n, signAll(_digest(n), 3));
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
