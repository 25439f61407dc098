// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IDues} from "../../../contracts/interfaces/IDues.sol";
import {ICreditOracle} from "../../../contracts/interfaces/ICreditOracle.sol";
import {Vm} from "./Vm.sol";
import {World} from "./World.sol";

/// @notice Compares all that a transaction logs with what the test expects: in full, in order, and nothing beside it. The test emits
/// the expected events itself between `_logged` and `_same`.
abstract contract EventLog is World {
    bytes private heard;
    address[] private emitters;

    /// @dev What is logged from here on counts.
    function _listen() internal {
        vm.recordLogs();
    }

    /// @dev What is emitted from here on is what the test expects.
    function _logged() internal {
        heard = abi.encode(vm.getRecordedLogs());
        delete emitters;
    }

    /// @dev Who must have emitted the event that follows.
    function _by(address emitter) internal {
        emitters.push(emitter);
    }

    function _same() internal {
        Vm.Log[] memory want = vm.getRecordedLogs();
        Vm.Log[] memory got = abi.decode(heard, (Vm.Log[]));
        eq(want.length, emitters.length, "an emitter for each event");
        eq(got.length, want.length, "number of events");
        for (uint256 i = 0; i < got.length; ++i) {
            eq(got[i].topics[0], want[i].topics[0], "kind of event");
            eq(got[i].emitter, emitters[i], "emitter");
            eq(keccak256(abi.encode(got[i].topics)), keccak256(abi.encode(want[i].topics)), "indexed arguments");
            eq(keccak256(got[i].data), keccak256(want[i].data), "other arguments");
        }
    }

    /// @dev The first three signers lose their bonds: a tenth of each to `prover`, the rest to the capital pool.
    function _slashedThree(address prover) internal {
        for (uint256 i = 0; i < 3; ++i) {
            _by(address(oracle));
            emit IDues.Owed(prover, 700);
            _by(address(oracle));
            emit IDues.Owed(address(distributor), 6_300);
            _by(address(oracle));
            emit ICreditOracle.BondSlashed(vm.addr(signerKeys[i]), prover, BOND);
        }
    }
}
