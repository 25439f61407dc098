// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {HostileSuite} from "../support/HostileSuite.sol";
import {IDisputes} from "../../../contracts/interfaces/IDisputes.sol";
import {IDues} from "../../../contracts/interfaces/IDues.sol";
import {RunParams} from "../../../contracts/interfaces/Types.sol";
import {Actor} from "../../../contracts/mocks/Receivers.sol";

/// @notice Disputes against hostile tokens and receivers: bonds of challenges.
contract DisputesHostileTest is HostileSuite {
    function target() internal view override returns (address) {
        return address(disputes);
    }

    function before_() internal override {
        RunParams memory p = defaultParams();
        p.disputeBond = AMOUNT;
        createRun(p);
        launch(2);
        close(0);
        submit(honestReport(0));
    }

    function payInCall(Actor who) internal view override returns (bytes memory) {
        return abi.encodeCall(IDisputes.challengeCredits, (0, who == hostile ? 0 : 1, bytes32(0)));
    }

    /// @dev Nobody judges in time.
    function ripen() internal override {
        vm.warp(block.timestamp + 501);
        disputes.closeChallenge(0, 0);
        disputes.closeChallenge(0, 1);
    }

    function payOutCall(Actor who) internal pure override returns (bytes memory) {
        return abi.encodeCall(IDues.payOwed, (address(who)));
    }
}
