// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {HostileSuite} from "../support/HostileSuite.sol";
import {ICampaign} from "../../../contracts/interfaces/ICampaign.sol";
import {Milestone, RunParams} from "../../../contracts/interfaces/Types.sol";
import {Actor} from "../../../contracts/mocks/Receivers.sol";

/// @notice Campaign against hostile tokens and receivers: deposit and what is not spent.
contract CampaignHostileUnspentTest is HostileSuite {
    function target() internal view override returns (address) {
        return address(campaign);
    }

    function before_() internal override {
        RunParams memory p = defaultParams();
        p.goal = AMOUNT;
        p.milestones[0] = Milestone(0, 1, 0, 10_000);
        createRun(p);
    }

    function payInCall(Actor) internal pure override returns (bytes memory) {
        return abi.encodeCall(ICampaign.deposit, (AMOUNT));
    }

    /// @dev The only milestone is missed.
    function ripen() internal override {
        vm.warp(T0 + 100);
        lapseEpoch(0);
    }

    function payOutCall(Actor) internal pure override returns (bytes memory) {
        return abi.encodeCall(ICampaign.claimUnspent, ());
    }
}
