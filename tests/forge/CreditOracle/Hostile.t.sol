// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {HostileSuite} from "../support/HostileSuite.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";
import {Actor} from "../../../contracts/mocks/Receivers.sol";

/// @notice CreditOracle against hostile tokens and receivers: bonds.
contract OracleHostileTest is HostileSuite {
    function target() internal view override returns (address) {
        return address(oracle);
    }

    function payInCall(Actor who) internal pure override returns (bytes memory) {
        return abi.encodeCall(ICreditOracle.postBond, (address(who), AMOUNT));
    }

    /// @dev Neither was ever in a signer set: nothing locks its bond.
    function ripen() internal override {}

    function payOutCall(Actor who) internal pure override returns (bytes memory) {
        return abi.encodeCall(ICreditOracle.withdrawBond, (address(who)));
    }
}
